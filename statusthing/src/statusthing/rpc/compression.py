"""gzip, both ways: what requests bring, and what is worth compressing in answers."""

from __future__ import annotations

import asyncio
import gzip
import zlib

from connectrpc.code import Code
from connectrpc.compression import Compression
from connectrpc.errors import ConnectError

from statusthing import limits

WORTHWHILE_BYTES = 1024
"""Below this size, compressing costs more than sending does."""

_LEVEL = 6
_LARGE_BYTES = 64 * 1024
"""From this size on, another thread compresses.

Measured: 1 to 4 ms for this size, and 35 to 140 ms for a list of 10 000 items, depending on the
text. Level 1 would take 12 to 70 ms, and make it up to a fifth larger.
"""

_GZIP_FORMAT = 31  # https://docs.python.org/3/library/zlib.html#zlib.decompressobj
_PIECE_BYTES = 4096


def is_wanted(accepted: str) -> bool:
    """Return whether a client wants gzip, by its list of encodings, the preferred first."""
    names = (name.strip() for name in accepted.split(","))
    return next((name for name in names if name in {"gzip", "identity"}), "") == "gzip"


def compress(data: bytes) -> bytes:
    """Compress, without the time in the header, so that equal answers stay equal."""
    return gzip.compress(data, compresslevel=_LEVEL, mtime=0)


async def compress_aside(data: bytes) -> bytes:
    """Compress, without keeping other calls waiting: zlib does not hold the interpreter's lock."""
    if len(data) < _LARGE_BYTES:
        return compress(data)
    return await asyncio.to_thread(compress, data)


class Gzip(Compression):
    """How connectrpc decompresses requests; answers are compressed as they are sent."""

    def name(self) -> str:
        """Return how headers name this encoding."""
        return "gzip"

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Compress a message."""
        return compress(bytes(data))

    def decompress(
        self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None
    ) -> bytes:
        """Decompress a message of one or several members (RFC 1952, section 2.2).

        Fed in pieces, because zlib copies what follows a member, and 4 MiB hold 200 000 members.

        Args:
            data: what was sent.
            read_max_bytes: how long the message may be.

        Raises:
            ConnectError: the message is longer.
            EOFError: the data ends within a member.
            zlib.error: the data is not gzip.
        """
        room = 1 + (limits.MESSAGE_BYTES if read_max_bytes is None else read_max_bytes)
        message = bytearray()
        member = zlib.decompressobj(_GZIP_FORMAT)
        for start in range(0, len(data), _PIECE_BYTES):
            piece = bytes(data[start : start + _PIECE_BYTES])
            while piece:
                if member.eof:
                    member = zlib.decompressobj(_GZIP_FORMAT)
                part = member.decompress(piece, room)
                room -= len(part)
                if not room:
                    raise ConnectError(Code.RESOURCE_EXHAUSTED, "the message is too large")
                message += part
                piece = member.unused_data
        if data and not member.eof:
            raise EOFError("the data is incomplete")
        return bytes(message)
