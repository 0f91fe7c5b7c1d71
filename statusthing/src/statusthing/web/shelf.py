"""Keeps the last board in a file, so that it can be shown after a restart without the store."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from pathlib import Path

import msgspec

from statusthing.errors import UserMistake
from statusthing.service.board import Board

FILE = "board.json"

FORMAT = 1
"""Of the file; another number is left alone."""

_log = logging.getLogger("statusthing.web")


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int
    store: str
    board: Board


class Shelf:
    """A folder with the last board of one store.

    Several processes may share it: a file takes the place of another whole, and the last counts.

    Args:
        folder: is made if it is not there.
        store: the URL of the store, without a password.

    Raises:
        UserMistake: it is no folder that can be written to.
    """

    def __init__(self, folder: Path, store: str) -> None:
        self._path = folder / FILE
        self._store = store
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            usable = os.access(folder, os.W_OK | os.X_OK)
        except OSError:
            usable = False
        if not usable:
            msg = f"cannot keep pages in {folder}: it is no folder that this program may write to"
            raise UserMistake(msg)

    def load(self) -> Board | None:
        """Return the board, or None if there is none of this store that can be read."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            _log.warning("%s is ignored: %s", self._path, error)
            return None
        if (kept.format, kept.store) != (FORMAT, self._store):
            _log.warning("%s is ignored: it is of another store or version", self._path)
            return None
        return kept.board

    async def save(self, board: Board) -> None:
        """Put the board in the place of the one before; a failure is logged, and harms nobody."""
        try:
            await asyncio.to_thread(self._write, board)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._path, error)

    def _write(self, board: Board) -> None:
        data = msgspec.json.encode(_Kept(format=FORMAT, store=self._store, board=board))
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".board-")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
