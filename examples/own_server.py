"""A server of one's own: StatusThing at the root, a page of yours beside it.

It needs `statusthing` and `statusthing-sqlite`:

    python own_server.py [HOST:PORT]

It answers all that `statusthing serve` answers, gRPC too, and `/hello`. It listens at
127.0.0.1:9000 unless told otherwise, and keeps its data in `statusthing.db`. Callers need a token
for writing: `statusthing token create NAME --role editor` makes one.
"""

from __future__ import annotations

import sys

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from statusthing import build_app, open_store
from statusthing.server import run

store = open_store("sqlite:///statusthing.db")
status = build_app(store, defaults=True, migrate=True)


async def hello(_: Request) -> PlainTextResponse:
    """Answer with the number of items, taken from the same store without a detour over HTTP."""
    return PlainTextResponse(f"Items: {len(await status.st.items.list())}\n")


app = Starlette(
    routes=[Route("/hello", hello), Mount("/", status)],
    lifespan=lambda _: status,  # opens and closes the store with the server
)

if __name__ == "__main__":
    run(
        app,
        addr=sys.argv[1] if sys.argv[1:] else "127.0.0.1:9000",
        on_start=lambda url: print(f"listening on {url}\ndata in {store.url}", flush=True),
    )
