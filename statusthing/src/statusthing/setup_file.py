"""The file with the link to make the first admin, for those who do not see what a server prints.

Only its owner can read it. It never takes the place of another file, and no other file is ever
removed for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from pathlib import Path

_LINK = re.compile(rb"https?://[!-~]{1,300}/setup\?token=([!-~]{1,100})\n")
_LONGEST = 500


def write(path: Path, link: str) -> None:
    """Write the file, in the place of one that was left behind if there is one.

    Args:
        path: where.
        link: the URL, which ends with `/setup?token=` and a token.

    Raises:
        OSError: that is not possible, or there is a file that is none of these.
    """
    if os.path.lexists(path) and not _token(path):
        raise FileExistsError("another file is there")
    # Made for its owner only, under a name that nobody knows before. What is at the path is
    # replaced, never followed or written to.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.absolute().parent)
    made = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"{link}\n".encode())
        made.replace(path)
    except BaseException:
        made.unlink()
        raise


def remove(path: Path, token: str) -> None:
    """Remove the file if it is the one with this token; it is dead in any case."""
    with contextlib.suppress(OSError):
        if token and _token(path) == token:
            path.unlink()


def _token(path: Path) -> str:
    """Return the token in the file; empty for any other file, and for what is none."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return ""
    with path.open("rb") as file:
        found = _LINK.fullmatch(file.read(_LONGEST))
    return found[1].decode("ascii") if found else ""
