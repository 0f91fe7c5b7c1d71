"""Our stylesheet, script and icons, each at a URL that names its content.

Such a URL can be kept for ever: another content has another URL.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from statusthing.web.answers import IMMUTABLE, REVALIDATED, Kept, compress

FOLDER = Path(__file__).parent / "static"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NAMED = re.compile(r"(?P<stem>[a-z-]+)\.(?P<digest>[0-9a-f]{12})(?P<suffix>\.[a-z]+)")


class Assets:
    """The files in `static/`.

    Args:
        reload: read a file each time that it is asked for, and have nobody keep it.
    """

    def __init__(self, *, reload: bool) -> None:
        self._reload = reload
        self._kept: dict[str, tuple[str, Kept]] = {}

    def name(self, file: str) -> str:
        """Return a file's name with the digest of its content, as in `site.0123456789ab.css`."""
        return self._load(file)[0]

    def get(self, name: str) -> Kept | None:
        """Return a file by its name with a digest; None if there is none.

        A digest of another version of this software leads to the file as it is here, which nobody
        keeps under that name: while servers are being replaced, a page of one may ask another.
        """
        match = _NAMED.fullmatch(name)
        if match is None:
            return None
        file = match["stem"] + match["suffix"]
        if match["suffix"] not in _TYPES or not (FOLDER / file).is_file():
            return None
        current, kept = self._load(file)
        return kept if current == name else self._answer(file, cache_control=REVALIDATED)

    def _load(self, file: str) -> tuple[str, Kept]:
        if self._reload or file not in self._kept:
            content = (FOLDER / file).read_bytes()
            digest = hashlib.blake2b(content, digest_size=6).hexdigest()
            stem, _, suffix = file.rpartition(".")
            caching = REVALIDATED if self._reload else IMMUTABLE
            self._kept[file] = f"{stem}.{digest}.{suffix}", self._answer(file, caching)
        return self._kept[file]

    def _answer(self, file: str, cache_control: str) -> Kept:
        content = (FOLDER / file).read_bytes()
        return Kept(
            content,
            content_type=_TYPES[Path(file).suffix],
            cache_control=cache_control,
            compressed=compress(content),
        )
