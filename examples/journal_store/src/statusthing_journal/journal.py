"""The file of a journal: locked while it is open, and durable to the last whole line.

A last line without an end was cut short by a crash, before anybody was told that its unit had
succeeded.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from statusthing.errors import SchemaOutdated, StoreError, StoreUnavailable, UserMistake
from statusthing.memory import State
from statusthing_journal.lines import LAYOUT, Layout, Unit, encode, replay


class Journal:
    """A journal file, which is made if it is not there.

    Args:
        path: the file.

    Raises:
        UserMistake: there can be none at this place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = 0  # of the last whole line, in bytes
        self._torn = False  # whether a part of a line may be behind it
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            msg = f"the journal {path} cannot be opened: {error.strerror}"
            raise UserMistake(msg) from error

    def load(self, *, upgrade: bool = False) -> tuple[State, bool]:
        """Take the file for this process, and read it. What is raised leaves it as it is.

        Args:
            upgrade: bring a journal of older software up to date, instead of refusing it.

        Returns:
            The state behind the last line, and whether the journal is new.

        Raises:
            StoreUnavailable: another process has it, or it cannot be read.
            SchemaOutdated, SchemaTooNew: other software made it.
            StoreError: a line is damaged.
        """
        lines, rest = self._read()
        try:
            state, layout = replay(lines)
        except StoreError as error:
            raise type(error)(f"{self._path}: {error}") from error
        self._end = sum(len(line) + 1 for line in lines)
        self._torn = bool(rest)
        if layout not in (LAYOUT, None) and not upgrade:
            msg = f"an older version made {self._path}: run `statusthing migrate`"
            raise SchemaOutdated(msg)
        if layout != LAYOUT:
            self.append(LAYOUT)
        return state, layout is None

    def append(self, line: Layout | Unit) -> None:
        """Add a line, and return once it is durable.

        Raises:
            StoreUnavailable: it is not, and the file is as it was.
        """
        text = rest = encode(line)
        try:
            if self._torn:
                self._cut()
            self._torn = True
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            # If this fails as well, nothing is added before it succeeds.
            with contextlib.suppress(OSError):
                self._cut()
            raise StoreUnavailable("the journal cannot be written") from error
        self._end += len(text)
        self._torn = False

    def close(self) -> None:
        """Let others have the file."""
        # Closing is not enough: a child that was forked meanwhile shares the lock.
        with contextlib.suppress(OSError):
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()

    def _read(self) -> tuple[list[bytes], bytes]:
        """Return the lines, and what is behind the end of the last one."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            *lines, rest = self._file.readall().split(b"\n")
            _sync_folder(self._path.parent)
        except BlockingIOError:
            msg = f"the journal {self._path} is in use by another process"
            raise StoreUnavailable(msg) from None
        except OSError as error:
            raise StoreUnavailable("the journal cannot be read") from error
        if not lines and not encode(LAYOUT).startswith(rest):
            return [rest], b""  # the file of another program, which is not ours to cut
        return lines, rest

    def _cut(self) -> None:
        self._file.truncate(self._end)
        os.fsync(self._file.fileno())
        self._torn = False


def _sync_folder(folder: Path) -> None:
    """Make the names of the files in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
