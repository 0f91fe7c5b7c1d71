"""The baseline: a stock connectrpc application that answers one RPC, always with one message.

Codecs, compressions and interceptors are those of generated code. Its JSON is StatusThing's, spread
over indented lines. It is served by `statusthing.server`, for the same settings of Hypercorn.

    python -m bench.echo GetItem FILE    the file has the answer, a binary message
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from statusthing import server
from statusthing.v1 import services_connect, services_pb2


class _Items(services_connect.ItemsService):
    async def get_item(self, request: Any, ctx: Any, /) -> services_pb2.GetItemResponse:
        return _ITEM


class _Notes(services_connect.NotesService):
    async def add_note(self, request: Any, ctx: Any, /) -> services_pb2.AddNoteResponse:
        return _NOTE


if __name__ == "__main__":
    rpc, answer = sys.argv[1], Path(sys.argv[2]).read_bytes()
    app: Any
    if rpc == "GetItem":
        _ITEM = services_pb2.GetItemResponse.FromString(answer)
        app = services_connect.ItemsServiceASGIApplication(_Items())
    else:
        _NOTE = services_pb2.AddNoteResponse.FromString(answer)
        app = services_connect.NotesServiceASGIApplication(_Notes())
    server.run(app, addr="127.0.0.1:0", on_start=lambda url: print("listening on", url, flush=True))
