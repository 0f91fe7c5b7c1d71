"""A site, each of whose pages does one thing that no page of ours may do: `sinner.py`."""

from __future__ import annotations

from typing import Any

from statusthing.server import run

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A page</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<main>
<h1>A page</h1>
{}
</main>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark }
h1 { width: 200px }
.pale { color: #ddd; background: #fff }
.small { display: block; width: 8px; height: 8px; overflow: hidden }
@media (prefers-reduced-motion: reduce) { h1 { width: 100px } }
"""

SINS = {
    "clean": "<p>Nothing is wrong here.</p>",
    # What `tests.browser` sees
    "complaint": "<script>console.error('oh no')</script>",
    "exception": "<script>nothing.at.all()</script>",
    "rejection": "<script>Promise.reject(new Error('oh no'))</script>",
    "missing": "<img src='gone.png' alt=''>",
    "style": "<p style='color: red'>red</p>",
    "script": "<script>document.title = 'set'</script>",
    "dialog": "<script>alert(1)</script>",
    "question": "<script>confirm('Are you sure?')</script>",
    "payload": "<img src='gone.png' alt='' onerror='window.__pwned = 1'>",
    "origin": "<img src='http://elsewhere.example/x.png' alt=''>",
    "socket": "<script>new WebSocket('ws://127.0.0.1:9/')</script>",
    "popup": "<button onclick='window.open(`dialog`)'>open</button>",
    # What `tests.accessibility` sees
    "contrast": "<p class='pale'>pale</p>",
    "nameless": "<button></button>",
    "target": "<a class='small' href='clean'>x</a><a class='small' href='clean'>y</a>",
}
"""What is on each page, by its path."""

POLICY = b"default-src 'none'; style-src 'self'"
UNDER_POLICY = {"style", "script"}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer for the page of a path; every other path is a clean page that is not found."""
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    path = scope["path"].removeprefix("/")
    found = path in SINS or path == "style.css"
    body = STYLE if path == "style.css" else PAGE.format(SINS.get(path, SINS["clean"]))
    headers = [(b"content-type", b"text/css" if path == "style.css" else b"text/html")]
    if path in UNDER_POLICY:
        headers.append((b"content-security-policy", POLICY))
    start = {"type": "http.response.start", "status": 200 if found else 404, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body.encode()})


def announce(url: str) -> None:
    """Print what `tests.conftest.serving` waits for."""
    print("listening on", url, flush=True)  # noqa: T201 - for the tests
    print("data in nothing", flush=True)  # noqa: T201 - for the tests


if __name__ == "__main__":
    run(app, addr="127.0.0.1:0", on_start=announce)
