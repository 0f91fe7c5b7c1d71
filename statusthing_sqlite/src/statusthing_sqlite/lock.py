"""A lock between processes, on a file beside the database."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from statusthing.errors import StoreUnavailable

_PAUSE_SECONDS = 0.001

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextlib.contextmanager
def held(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock on a file, which is made if it is not there and stays.

    It belongs to this call, not to the process: it keeps threads apart as well.

    Raises:
        StoreUnavailable: others held it for all of `seconds`, or the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StoreUnavailable("the lock file cannot be opened") from error
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                _lock(descriptor)
                break
            except (BlockingIOError, PermissionError):  # what the two systems call "taken"
                if time.monotonic() > end:
                    raise StoreUnavailable("another process is writing for too long") from None
                time.sleep(_PAUSE_SECONDS)
        try:
            yield
        finally:
            # Closing is not enough: a child forked meanwhile shares the lock.
            _unlock(descriptor)
    finally:
        os.close(descriptor)
