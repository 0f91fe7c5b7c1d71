"""What a client may cost the server: every limit of the wire, always on.

The lengths of texts and the sizes of pages are in `statusthing.service.checks` and
`statusthing.service.pages`: they belong to the API, and hold for callers in this process too.
Limits that count something count it per process.
"""

from __future__ import annotations

MESSAGE_BYTES = 4 * 1024 * 1024
"""The most bytes of a request message, before and after decompression."""

ELEMENTS = 1_000
"""How many elements a list in a request may have; a field mask is a list too."""

HEADER_BYTES = 16 * 1024
"""The most that the request line and all headers of a request may take."""

HEADER_SECONDS = 30.0
"""How long the request line and the headers of a request may take to arrive, over HTTP/1.1."""

BODY_SECONDS = 30.0
"""How long the body of a request may take to arrive."""

UNFINISHED_SECONDS = 60.0
"""After how long a request is cut off whose client has not ended it.

That is a stream half open over HTTP/2, whether it was answered or not, or the only request of a
connection over HTTP/1.1.
"""

STALLED_SECONDS = 60.0
"""After how long an answer is given up of which the client takes nothing.

And after how long a call is `unavailable` that waits until its client has taken earlier answers.
"""

UNREAD_BYTES = 64 * 1024
"""How much of a body may wait for the application; the client has to wait with the rest."""

UNSENT_BYTES = 4 * 1024 * 1024
"""How much of earlier answers may wait for a client when its next call on a connection begins.

If there is more, the call waits.
"""

BODIES_BYTES = 64 * 1024 * 1024
"""How much the bodies that are arriving may take up; beyond it, large ones are `unavailable`.

Those are the ones of which more than `UNREAD_BYTES` has come.
"""

CALLS = 1024
"""How many calls may be in flight; any further one is `unavailable`.

A call is in flight once all of its request has come: clients that send half of one keep nobody out.
"""

STREAMS = 256
"""How many streaming calls may be open, counted apart; any further one is `unavailable`."""

EVENT_STREAMS = 256
"""How many pages may listen for changes, counted apart; any further one is told to come back."""

CALLS_OF_A_CONNECTION = 100
"""How many calls may be in flight on one HTTP/2 connection; clients queue the others."""

CANCELLED_CALLS = 200
"""More cancelled calls than this on one HTTP/2 connection within `CANCELLED_SECONDS` close it."""

CANCELLED_SECONDS = 10.0

FRAME_BYTES = 16 * 1024
"""The most that an HTTP/2 frame may carry, which is what clients assume unless they are told."""

CONTROL_FRAMES = 1000
"""How many HTTP/2 frames that carry neither a request nor data a client may send at once."""

CONTROL_FRAMES_SAVED = 10_000
"""How many of them a client may send at once that has long sent fewer than it might."""

CONTROL_FRAMES_PER_SECOND = 100
"""How many more of them it may send with each second."""

CONTROL_FRAMES_EARNED = 10
"""How many more of them it may send for each request, and for each frame of an answer."""

CONNECTIONS = 4096
"""How many connections may be open; a further one is closed at once.

They count from the moment they are accepted, so TLS handshakes in progress do too. There may be
fewer where the process may not open so many files.
"""

BACKLOG = 128
"""How many connections the kernel holds until they are accepted."""

IDLE_SECONDS = 75.0
"""After how long a connection without a call is closed.

Longer than the 60 s for which reverse proxies usually keep a connection: the side that reuses a
connection should be the one that closes it, or a request meets a connection that is just closing.
"""

HANDSHAKE_SECONDS = 10.0
"""How long a TLS handshake may take."""

DROPPED_BYTES = 32 * 1024 * 1024
"""How many bytes of a body that nobody reads are dropped so that the client reads the answer."""

DROPPED_SECONDS = 2.0
"""The longest time spent on that."""

GRACE_SECONDS = 7.0
"""How long calls in flight may go on once the server has been told to stop.

With the two waits of CUT_SECONDS that may follow, below the 10 s after which containers are
usually killed.
"""

CUT_SECONDS = 1.0
"""How long the answers to calls that were cut off after that may take to leave."""
