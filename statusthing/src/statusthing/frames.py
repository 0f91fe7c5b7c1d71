"""What the frames of an HTTP/2 client would cost, read off their headers before h2 works on them.

h2 takes any number of frames that carry nothing, collects a frame of any announced length, and
unpacks headers of up to a megabyte; each of these is much cheaper to send than to receive.
"""

from __future__ import annotations

from h2.errors import ErrorCodes

from statusthing import limits

_PREFACE_BYTES = 24  # RFC 9113, section 3.4
_HEADER_BYTES = 9  # section 4.1
_DATA, _HEADERS, _CONTINUATION = 0, 1, 9
_END_STREAM, _END_HEADERS = 1, 4
_SMALL_BYTES = 256


class FrameGuard:
    """Follows the frames of one connection.

    Each frame that brings neither a request nor a good part of a body takes from a credit, which
    grows with time, with each request, and with each frame that is sent to the client: whoever
    receives much has much to acknowledge.
    """

    def __init__(self, now: float) -> None:
        self._skip = _PREFACE_BYTES  # until the next frame header
        self._start = b""  # of a frame header, the rest of which is to come
        self._block = 0  # bytes of a header block that is not complete
        self._credit = float(limits.CONTROL_FRAMES)
        self._now = now

    def earn(self) -> None:
        """Note that a frame was sent."""
        self._credit += limits.CONTROL_FRAMES_EARNED

    def fault(self, data: bytes, now: float) -> ErrorCodes | None:
        """Return why the connection is to be closed before this data is worked on, if it is.

        Args:
            data: what has come.
            now: the loop's clock, in seconds.
        """
        self._credit += (now - self._now) * limits.CONTROL_FRAMES_PER_SECOND
        self._credit = min(self._credit, limits.CONTROL_FRAMES_SAVED)
        self._now = now
        data = self._start + data
        place = self._skip
        while place + _HEADER_BYTES <= len(data):
            length = int.from_bytes(data[place : place + 3], "big")
            fault = self._frame(length, kind=data[place + 3], flags=data[place + 4])
            if fault is not None:
                return fault
            place += _HEADER_BYTES + length
        self._start = data[place:]
        self._skip = max(0, place - len(data))
        return None

    def _frame(self, length: int, *, kind: int, flags: int) -> ErrorCodes | None:
        if length > limits.FRAME_BYTES:
            return ErrorCodes.FRAME_SIZE_ERROR
        if kind in {_HEADERS, _CONTINUATION}:
            self._block += length
            if self._block > limits.HEADER_BYTES:
                return ErrorCodes.ENHANCE_YOUR_CALM
            if flags & _END_HEADERS:
                self._block = 0
        if kind == _HEADERS:
            self.earn()
        elif kind != _DATA or (length < _SMALL_BYTES and not flags & _END_STREAM):
            self._credit -= 1
            if self._credit < 0:
                return ErrorCodes.ENHANCE_YOUR_CALM
        return None
