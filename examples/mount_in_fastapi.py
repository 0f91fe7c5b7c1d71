"""StatusThing in a FastAPI application, under a prefix, with the application's own login.

It needs `statusthing`, `statusthing-sqlite`, `fastapi` and `uvicorn`:

    uvicorn mount_in_fastapi:app --timeout-graceful-shutdown 5

Everybody may read below `/status`, and whoever signs in may write. The routes of the application
know the same users: `curl --user ada:lovelace http://localhost:8000/whoami`. The data is in
`statusthing.db`.
"""

from __future__ import annotations

from secrets import compare_digest
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPBasic
from starlette.types import Scope

from statusthing import Principal, Role, build_app, open_store

PASSWORDS = {"ada": "lovelace"}  # an application of yours has a better place for them

basic = HTTPBasic()


async def signed_in(request: Request) -> str:
    """Return who sends a request, or refuse it: the dependency that the application has anyway."""
    sent = await basic(request)
    known = PASSWORDS.get(sent.username, "") if sent else ""
    if sent is None or not known or not compare_digest(sent.password.encode(), known.encode()):
        raise HTTPException(401, "wrong user or password", {"www-authenticate": "Basic"})
    return sent.username


async def identify(scope: Scope) -> Principal | None:
    """Tell StatusThing who asks: whoever has signed in may write, and strangers may read."""
    try:
        name = await signed_in(Request(scope))
    except HTTPException:
        return None
    return Principal(name=name, role=Role.EDITOR)


status = build_app(open_store("sqlite:///statusthing.db"), identify=identify, defaults=True)

app = FastAPI(lifespan=lambda _: status)  # opens and closes the store with the application
app.mount("/status", status)


@app.get("/whoami")
async def whoami(user: Annotated[str, Depends(signed_in)]) -> str:
    """Answer with the user's name."""
    return user
