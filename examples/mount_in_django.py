"""StatusThing in Django's ASGI stack, under a prefix, with the users of the project.

It needs `statusthing`, `statusthing-sqlite`, `django` and `uvicorn`, or another ASGI server:

    python mount_in_django.py migrate
    python mount_in_django.py createsuperuser
    uvicorn mount_in_django:application --timeout-graceful-shutdown 5

Requests below `/status` go to StatusThing, and all others to Django. Everybody may read; who has
signed in at `/login/`, and is staff, may write. StatusThing's data is in `statusthing.db`, and
Django's in `django.db`. A project that exists already has all of this but `identify` and what
follows it, which belong in its `asgi.py`.
"""

from __future__ import annotations

import secrets
import sys
from importlib import import_module
from io import BytesIO

from django.conf import settings
from django.contrib.auth import aget_user
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from starlette.types import Receive, Scope, Send

from statusthing import Principal, Role, build_app, open_store

TEMPLATES = {
    "registration/login.html": (
        '<form method="post">{% csrf_token %}{{ form }}<button>Sign in</button></form>'
    )
}

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.db"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    LOGIN_REDIRECT_URL="/hello/",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_urlsafe(),
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [("django.template.loaders.locmem.Loader", TEMPLATES)],
            },
        }
    ],
)


def hello(request: HttpRequest) -> HttpResponse:
    """Answer as a view of the project does."""
    return HttpResponse(f"Hello from Django, {request.user}.\n", content_type="text/plain")


django = get_asgi_application()
urlpatterns = [
    path("hello/", hello),
    path("", include("django.contrib.auth.urls")),
]


async def identify(scope: Scope) -> Principal | None:
    """Tell StatusThing who asks: the user of the session that Django's cookie names."""
    request = ASGIRequest(scope, BytesIO())
    session = import_module(settings.SESSION_ENGINE).SessionStore
    request.session = session(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    user = await aget_user(request)
    if not user.is_authenticated:
        return None
    role = Role.ADMIN if user.is_superuser else Role.EDITOR if user.is_staff else Role.VIEWER
    return Principal(name=user.get_username(), role=role)


status = build_app(open_store("sqlite:///statusthing.db"), identify=identify, defaults=True)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand a request to StatusThing or to Django, by its path."""
    if scope["type"] == "lifespan":  # unknown to Django; opens and closes the store
        await status(scope, receive, send)
    elif scope["path"].startswith("/status/"):
        await status({**scope, "root_path": "/status"}, receive, send)
    else:
        await django(scope, receive, send)


if __name__ == "__main__":
    execute_from_command_line(sys.argv)
