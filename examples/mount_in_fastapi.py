"""StatusThing in a FastAPI application, under a prefix, with the application's own login.

It needs `statusthing`, `statusthing-sqlite`, `fastapi` and `uvicorn`:

    uvicorn mount_in_fastapi:app

Everybody may read below `/status`, and whoever signs in may write. The application beside it knows
the same users: `curl --user ada:lovelace http://localhost:8000/whoami`. The data is in
`statusthing.db`.
"""

from __future__ import annotations

from base64 import b64encode
from secrets import compare_digest

from fastapi import FastAPI, Request
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    SimpleUser,
)
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.types import Scope

from statusthing import Principal, Role, build_app, open_store

PASSWORDS = {"ada": "lovelace"}  # an application of yours has a better place for them


class Login(AuthenticationBackend):
    """The login that the application has anyway; here, users and passwords over HTTP Basic."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Find out who sends a request."""
        header = conn.headers.get("authorization")
        if header is None:
            return None
        sent = header.removeprefix("Basic ").encode()
        for user, password in PASSWORDS.items():
            if compare_digest(sent, b64encode(f"{user}:{password}".encode())):
                return AuthCredentials(), SimpleUser(user)
        raise AuthenticationError("wrong user or password")


async def identify(scope: Scope) -> Principal | None:
    """Tell StatusThing who asks: whoever has signed in may write."""
    user: BaseUser = scope["user"]
    return Principal(name=user.display_name, role=Role.EDITOR) if user.is_authenticated else None


status = build_app(open_store("sqlite:///statusthing.db"), identify=identify, defaults=True)

app = FastAPI(lifespan=lambda _: status)  # opens and closes the store with the application
app.add_middleware(AuthenticationMiddleware, backend=Login())
app.mount("/status", status)


@app.get("/whoami")
async def whoami(request: Request) -> str:
    """Answer with the user's name, which is empty if nobody is signed in."""
    return str(request.user.display_name)
