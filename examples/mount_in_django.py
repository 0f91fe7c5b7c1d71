"""StatusThing in Django's ASGI stack, under a prefix.

It needs `statusthing`, `statusthing-sqlite`, `django` and `uvicorn`, or another ASGI server:

    uvicorn mount_in_django:application

Requests below `/status` go to StatusThing, and all others to Django. The data is in
`statusthing.db`. A project that exists already has all of this but the end, which belongs in its
`asgi.py`.
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from starlette.types import Receive, Scope, Send

from statusthing import build_app, open_store

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_urlsafe(),
)


def hello(_: HttpRequest) -> HttpResponse:
    """Answer as a view of the project does."""
    return HttpResponse("Hello from Django.\n", content_type="text/plain")


urlpatterns = [path("hello/", hello)]

django = get_asgi_application()
status = build_app(open_store("sqlite:///statusthing.db"), defaults=True)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand a request to StatusThing or to Django, by its path."""
    if scope["type"] == "lifespan":  # unknown to Django; opens and closes the store
        await status(scope, receive, send)
    elif scope["path"].startswith("/status/"):
        await status({**scope, "root_path": "/status"}, receive, send)
    else:
        await django(scope, receive, send)
