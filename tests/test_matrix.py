"""Who may do what: every RPC and every route, for everybody who may ask.

What is there is read from the running application and from the descriptors; what has to happen is
written here, and knows nothing of the table in `statusthing.access`. What has no row here fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest
from connectrpc.method import IdempotencyLevel
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.accounts import awaited
from tests.conftest import METHODS
from tests.sites import COOKIE, SAME, Answer, Site, ask, site, unsafe

from statusthing import Principal, Role, access
from statusthing.model import Session
from statusthing.service.credentials import digest

PUBLIC, PRIVATE = "public", "private"

# What guards each RPC. `read` is for everybody unless everything is private.
RPCS = {
    "grpc.health.v1.Health/Check": "open",
    "grpc.health.v1.Health/List": "open",
    "grpc.health.v1.Health/Watch": "stream",
    "statusthing.v1.ItemsService/GetItem": "read",
    "statusthing.v1.ItemsService/ListItems": "read",
    "statusthing.v1.ItemsService/AddItem": "edit",
    "statusthing.v1.ItemsService/UpdateItem": "edit",
    "statusthing.v1.ItemsService/DeleteItem": "edit",
    "statusthing.v1.StatusService/GetStatus": "read",
    "statusthing.v1.StatusService/ListStatus": "read",
    "statusthing.v1.StatusService/AddStatus": "edit",
    "statusthing.v1.StatusService/UpdateStatus": "edit",
    "statusthing.v1.StatusService/DeleteStatus": "edit",
    "statusthing.v1.NotesService/GetNote": "read",
    "statusthing.v1.NotesService/ListNotes": "read",
    "statusthing.v1.NotesService/AddNote": "edit",
    "statusthing.v1.NotesService/UpdateNote": "edit",
    "statusthing.v1.NotesService/DeleteNote": "edit",
    "statusthing.v1.UsersService/GetUser": "admin",
    "statusthing.v1.UsersService/ListUsers": "admin",
    "statusthing.v1.UsersService/AddUser": "admin",
    "statusthing.v1.UsersService/UpdateUser": "admin",
    "statusthing.v1.UsersService/DeleteUser": "admin",
    "statusthing.v1.UsersService/ChangePassword": "known",
    "statusthing.v1.UsersService/WhoAmI": "known",
    "statusthing.v1.TokensService/ListTokens": "admin",
    "statusthing.v1.TokensService/AddToken": "admin",
    "statusthing.v1.TokensService/RevokeToken": "admin",
    "statusthing.v1.AuditService/ListAuditEntries": "admin",
}

# What guards each page, and the form that is sent to it: `own` is for whoever is signed in here,
# `editing` for editors, `ruling` for admins; `door` and `push` are the pages to sign in.
PAGES = {
    "/": ("page",),
    "/items/{id}": ("page",),
    "/status.json": ("page",),
    "/events": ("page",),
    "/palette.css": ("open",),
    "/static/{name}": ("open",),
    "/devmode/reloads": ("open",),
    "/healthz": ("open",),
    "/readyz": ("open",),
    "/admin": ("inside",),
    "/admin/login": ("door", "push"),
    "/admin/logout": ("", "push"),
    "/admin/items/new": ("editing", "edited"),
    "/admin/items/{id}/edit": ("editing", "edited"),
    "/admin/items/{id}/delete": ("editing", "edited"),
    "/admin/items/{id}/update": ("editing", "edited"),
    "/admin/items/{id}/move": ("", "edited"),
    "/admin/items/{id}/notes": ("inside",),
    "/admin/notes/{id}/edit": ("editing", "edited"),
    "/admin/notes/{id}/delete": ("editing", "edited"),
    "/admin/changes": ("ruling",),
    "/admin/statuses": ("inside",),
    "/admin/statuses/new": ("editing", "edited"),
    "/admin/statuses/{id}/edit": ("editing", "edited"),
    "/admin/statuses/{id}/delete": ("editing", "edited"),
    "/admin/users": ("ruling",),
    "/admin/users/new": ("ruling", "ruled"),
    "/admin/users/{id}/edit": ("ruling", "ruled"),
    "/admin/users/{id}/delete": ("ruling", "ruled"),
    "/admin/tokens": ("ruling",),
    "/admin/tokens/new": ("ruling", "ruled"),
    "/admin/tokens/{id}/revoke": ("ruling", "ruled"),
    "/admin/settings": ("ruling", "ruled"),
    "/admin/profile": ("inside", "own"),
    "/admin/profile/sessions": ("", "own"),
    "/admin/profile/others": ("", "own"),
    "/setup": ("door", "push"),
}

ROUTES = {
    f"{method} {path}": guard
    for path, guards in PAGES.items()
    for method, guard in (("GET", guards[0]), ("HEAD", guards[0]), ("POST", "".join(guards[1:])))
    if guard
}

# `in`: the guard lets it pass, and what is wrong then is the request itself.
_RPC_COLUMNS = ("open", "read", "read in private", "known", "edit", "admin")
_ANONYMOUS = "in in 401 401 401 401"
_DEAD_TOKEN = "in 401 401 401 401 401"
_CROSS_SITE = "in 403 403 403 403 403"
RPC_CELLS = {
    "anonymous": _ANONYMOUS,
    "viewer's token": "in in in in 403 403",
    "editor's token": "in in in in in 403",
    "admin's token": "in in in in in in",
    "editor token of an admin": "in in in in in 403",
    "viewer token of an admin": "in in in in 403 403",
    "admin token of an editor": "in in in in in 403",
    "token of nobody": "in in in in in 403",
    "disabled user's token": _DEAD_TOKEN,
    "developer's token": _DEAD_TOKEN,
    "expired token": _DEAD_TOKEN,
    "revoked token": _DEAD_TOKEN,
    "mistyped token": _DEAD_TOKEN,
    "session as a token": _DEAD_TOKEN,
    "basic credentials": _DEAD_TOKEN,
    "admin's session": _ANONYMOUS,
    "viewer's session": _ANONYMOUS,
    "admin's session without origin": _ANONYMOUS,
    "admin's session from another site": _ANONYMOUS,
    "admin's session, dead token": _DEAD_TOKEN,
    "token in a cookie": _ANONYMOUS,
    "token in the query": _ANONYMOUS,
    "disabled user's session": _ANONYMOUS,
    "developer's session": _ANONYMOUS,
    "expired session": _ANONYMOUS,
    "planted session": _ANONYMOUS,
    "host's admin": "in in in in in in",
    "host's viewer": "in in in in 403 403",
    "host's nobody": _ANONYMOUS,
    "host's admin without origin": _CROSS_SITE,
    "host's admin from another site": _CROSS_SITE,
    "host's admin from another origin": _CROSS_SITE,
    "host's admin, dead token": _DEAD_TOKEN,
    "session at the host's": _ANONYMOUS,
    "host fails": "in 500 500 500 500 500",
}

# Whom a GET, which has no effects, lets pass; browsers keep its answer from the other site.
RPC_GET_CELLS = {
    "host's admin without origin": "in in in in in in",
    "host's admin from another site": "in in in in in in",
    "host's admin from another origin": "in in in in in in",
}

# Two for each: those that show a form, and those that take it.
_ROUTE_COLUMNS = (
    *("open", "page", "page in private", "inside", "own"),
    *("door", "push", "editing", "edited", "ruling", "ruled"),
)
_NOBODY = "in in 401 401 401 in in 401 401 401 401"
_VIEWER = "in in in in in in in 403 403 403 403"
_ADMIN = "in in in in in in in in in in in"
_UNPROVEN = "in in in in 403 in 403 in 403 in 403"
_VIEWERS_TOKEN = "in in in in 403 in in 403 403 403 403"
_EDITORS_TOKEN = "in in in in 403 in in in in 403 403"
_ADMINS_TOKEN = "in in in in 403 in in in in in in"
_DEAD_HEADER = "in 401 401 401 401 401 401 401 401 401 401"
ROUTE_CELLS = {
    "anonymous": _NOBODY,
    "viewer's token": _VIEWERS_TOKEN,
    "editor's token": _EDITORS_TOKEN,
    "admin's token": _ADMINS_TOKEN,
    "editor token of an admin": _EDITORS_TOKEN,
    "viewer token of an admin": _VIEWERS_TOKEN,
    "admin token of an editor": _EDITORS_TOKEN,
    "token of nobody": _EDITORS_TOKEN,
    "disabled user's token": _DEAD_HEADER,
    "developer's token": _DEAD_HEADER,
    "expired token": _DEAD_HEADER,
    "revoked token": _DEAD_HEADER,
    "mistyped token": _DEAD_HEADER,
    "session as a token": _DEAD_HEADER,
    "basic credentials": "in in 401 401 401 401 401 401 401 401 401",  # a proxy's, perhaps
    "admin's session": _ADMIN,
    "viewer's session": _VIEWER,
    "admin's session without origin": _UNPROVEN,
    "admin's session from another site": _UNPROVEN,
    "admin's session, dead token": _DEAD_HEADER,
    "token in a cookie": _NOBODY,
    "token in the query": _NOBODY,
    "disabled user's session": _NOBODY,
    "developer's session": _NOBODY,
    "expired session": _NOBODY,
    "planted session": _NOBODY,
    "host's admin": "in in in in 403 404 404 in in in in",
    "host's viewer": "in in in in 403 404 404 403 403 403 403",
    "host's nobody": "in in 401 401 401 404 404 401 401 401 401",
    "host's admin without origin": "in in in in 403 404 404 in 403 in 403",
    "host's admin from another site": "in in in in 403 404 404 in 403 in 403",
    "host's admin from another origin": "in in in in 403 404 404 in 403 in 403",
    "host's admin, dead token": "in 401 401 401 401 404 404 401 401 401 401",
    "session at the host's": "in in 401 401 401 404 404 401 401 401 401",
    "host fails": "in in 500 500 500 404 404 500 500 500 500",
}

PASSED = frozenset({200, 303, 400, 404})


class Hall:
    """An application with everybody in it who may ask.

    Args:
        here: the application.
        mode: who may read.
        headers: what each caller sends.
        item_id: an item that is there.
    """

    def __init__(
        self, here: Site, mode: str, headers: Mapping[str, Mapping[str, str]], item_id: str
    ) -> None:
        self.app = here.app
        self.mode = mode
        self.headers = headers
        self._item_id = item_id

    async def call(self, path: str, method: str, caller: str, *, body: bool) -> Answer:
        """Call an RPC with an empty message."""
        headers = dict(self.headers[caller])
        target = f"/{path}?{headers.pop('query', '')}"
        if method == "GET":
            target += "&connect=v1&encoding=json&message=%7B%7D"
        else:
            headers["content-type"] = "application/json"
        return await ask(self.app, method, target, headers, body=b"{}" if body else None)

    async def get(self, route: str, caller: str, *, body: bool) -> Answer:
        """Ask for a page; what is sent to one is no form."""
        method, _, path = route.partition(" ")
        headers = dict(self.headers[caller])
        target = path.format(id=self._item_id, name="nothing") + f"?{headers.pop('query', '')}"
        return await ask(self.app, method, target, headers, body=b"" if body else None)


async def _identify(scope: Any) -> Principal | None:
    cookies = dict(scope["headers"]).get(b"cookie", b"")
    if b"host=fails" in cookies:
        msg = "the host's database is away"
        raise RuntimeError(msg)
    for role in Role:
        if b"host=" + role.name.encode() in cookies:
            return Principal(name="somebody", role=role)
    return None


@asynccontextmanager
async def hall(mode: str, *, host: bool = False) -> AsyncIterator[Hall]:
    """Open an application for everybody, or one with the login of a host."""
    async with site(access=mode, identify=_identify if host else None) as here:
        st = here.st
        people = {role: await here.person(role.name, role) for role in Role if role > Role.ANYBODY}
        admin, viewer = people[Role.ADMIN], people[Role.VIEWER]
        others = {
            "demoted": await here.person("demoted"),
            "disabled": await here.person("disabled"),
            "developer": await here.person("developer", development=True),
        }

        async def token(role: Role, owner: Any = None, **more: Any) -> str:
            principal = access.TRUSTED
            if owner is not None:  # who was an admin when they made it
                principal = Principal(name="then", role=Role.ADMIN, user_id=owner.id)
            found = await st.tokens.add(name="ci", role=role, principal=principal, **more)
            return found.secret

        async def session(owner: Any, secret: str, *, hours: float = 12) -> str:
            await here.add(
                Session(
                    id=digest(secret),
                    created=here.clock(),
                    updated=here.clock(),
                    user_id=owner.id,
                    address="",
                    user_agent="",
                    expires=here.clock() + timedelta(hours=hours),
                )
            )
            return secret

        revoked = await st.tokens.add(name="revoked", role=Role.ADMIN)
        await st.tokens.revoke(revoked.token.id)
        live = await token(Role.ADMIN, admin)
        bearer = {
            "viewer's token": await token(Role.VIEWER, viewer),
            "editor's token": await token(Role.EDITOR, people[Role.EDITOR]),
            "admin's token": live,
            "editor token of an admin": await token(Role.EDITOR, admin),
            "viewer token of an admin": await token(Role.VIEWER, admin),
            "admin token of an editor": await token(Role.ADMIN, others["demoted"]),
            "token of nobody": await token(Role.EDITOR),
            "disabled user's token": await token(Role.ADMIN, others["disabled"]),
            "developer's token": await token(Role.ADMIN, others["developer"]),
            "expired token": await token(Role.ADMIN, expires=here.clock() + timedelta(hours=1)),
            "revoked token": revoked.secret,
            "mistyped token": live[:-1] + ("0" if live[-1] != "0" else "1"),
        }
        await st.users.update(others["demoted"].id, role=Role.EDITOR)
        await st.users.update(others["disabled"].id, disabled=True)
        sessions = {
            "admin's session": await session(admin, "admins"),
            "viewer's session": await session(viewer, "viewers"),
            "disabled user's session": await session(others["disabled"], "disabled"),
            "developer's session": await session(others["developer"], "developers"),
            "expired session": await session(admin, "expired", hours=1),
            "planted session": "planted",
            "token in a cookie": live,
            "session at the host's": "admins",
        }
        # One of their own for each, because those that work end others.
        roots = [
            {"cookie": f"{COOKIE}={await session(await here.person(name), name)}"}
            for name in ("root1", "root2", "root3")
        ]
        here.clock.pass_by(hours=2)
        dead = {"authorization": f"Bearer {bearer['revoked token']}"}
        cookie = {name: {"cookie": f"{COOKIE}={secret}"} for name, secret in sessions.items()}
        hosts = {"cookie": "other=1; host=ADMIN"}
        elsewhere = {"origin": "https://evil.test"}
        headers: dict[str, Mapping[str, str]] = {
            "anonymous": {},
            **{name: {"authorization": f"Bearer {text}"} for name, text in bearer.items()},
            "session as a token": {"authorization": "Bearer admins"},
            "basic credentials": {"authorization": "Basic QURNSU46cGFzc3dvcmQ="},
            **{name: {**given, **SAME} for name, given in cookie.items()},
            "admin's session without origin": roots[0],
            "admin's session from another site": {**roots[1], "sec-fetch-site": "same-site"},
            "admin's session, dead token": {**roots[2], **SAME, **dead},
            "token in the query": {"query": f"token={live}&access_token={live}"},
            "host's admin": {**hosts, "origin": "http://status.test"},
            "host's viewer": {"cookie": "host=VIEWER", **SAME},
            "host's nobody": {"cookie": "host=", **SAME},
            "host's admin without origin": hosts,
            "host's admin from another site": {**hosts, "sec-fetch-site": "cross-site"},
            "host's admin from another origin": {**hosts, **elsewhere},
            "host's admin, dead token": {**hosts, **SAME, **dead},
            "host fails": {"cookie": "host=fails", **SAME},
        }
        item = await st.items.add(name="api")
        yield Hall(here, mode, headers, item.id)


def is_hosts(caller: str) -> bool:
    """Tell whether somebody asks an application with the login of a host."""
    return "host" in caller


def running_rpcs(app: Any) -> dict[str, Any]:
    """Return what the application answers, by path without the first slash."""
    return {path.removeprefix("/"): method for path, method in app._rpcs.mapping.items()}  # noqa: SLF001


def running_routes(app: Any) -> set[str]:
    """Return the routes of the application, one for each method."""
    return {
        f"{method} {route.path}"
        for route in app._router.routes  # noqa: SLF001 - there is no other list of them
        for method in getattr(route.endpoint, "rows", None) or route.methods
    }


def undeclared(found: Iterable[str], declared: Iterable[str]) -> set[str]:
    """Return what is there and not declared, or declared and not there."""
    return set(found) ^ set(declared)


async def wrong_rpcs(hall: Hall, caller: str) -> list[str]:
    """Return the RPCs that answer a caller otherwise than is declared."""
    wrong = []
    for path, method in running_rpcs(hall.app).items():
        guard = RPCS[path]
        if guard == "stream":
            continue
        verbs = ["POST"]
        if method.idempotency_level is IdempotencyLevel.NO_SIDE_EFFECTS:
            verbs.append("GET")
        for verb in verbs:
            cells = RPC_CELLS[caller]
            if verb == "GET":
                cells = RPC_GET_CELLS.get(caller, cells)
            column = "read in private" if (guard, hall.mode) == ("read", PRIVATE) else guard
            expected = cells.split()[_RPC_COLUMNS.index(column)]
            answer = await hall.call(path, verb, caller, body=expected == "in")
            wrong += _problems(f"{verb} {path}", expected, answer)
    return wrong


async def wrong_routes(hall: Hall, caller: str) -> list[str]:
    """Return the routes that answer a caller otherwise than is declared."""
    wrong = []
    # Signing out comes last, because it works.
    for route in sorted(running_routes(hall.app), key=lambda route: ("logout" in route, route)):
        guard = ROUTES[route]
        column = "page in private" if (guard, hall.mode) == ("page", PRIVATE) else guard
        expected = ROUTE_CELLS[caller].split()[_ROUTE_COLUMNS.index(column)]
        answer = await hall.get(route, caller, body=expected == "in")
        wrong += _problems(route, expected, answer)
        if expected != "in" and answer.all("set-cookie"):
            wrong.append(f"{route}: sets a cookie")
    return wrong


def _problems(what: str, expected: str, answer: Answer) -> list[str]:
    allowed = PASSED if expected == "in" else {int(expected)}
    problems = [f"{what}: lacks {each}" for each in unsafe(answer)]
    if answer.status not in allowed:
        problems.append(f"{what}: {answer.status} instead of {expected}, {answer.body[:200]!r}")
    if expected == "401" and answer.all("www-authenticate") != ["Bearer"]:
        problems.append(f"{what}: does not say how to authenticate")
    if expected != "in" and answer.all("etag") + answer.all("statusthing-revision"):
        problems.append(f"{what}: tells of the state of the data")
    return problems


@pytest.mark.parametrize("mode", [PUBLIC, PRIVATE])
@pytest.mark.parametrize("host", [False, True], ids=["own login", "login of a host"])
@awaited
async def test_every_rpc(mode: str, *, host: bool) -> None:
    """Each answers as declared; who is refused is refused before their body has come."""
    async with hall(mode, host=host) as opened:
        callers = [caller for caller in RPC_CELLS if is_hosts(caller) is host]
        assert {caller: await wrong_rpcs(opened, caller) for caller in callers} == {
            caller: [] for caller in callers
        }


@pytest.mark.parametrize("mode", [PUBLIC, PRIVATE])
@pytest.mark.parametrize("host", [False, True], ids=["own login", "login of a host"])
@awaited
async def test_every_route(mode: str, *, host: bool) -> None:
    """Each answers as declared; who is refused is refused before their body has come."""
    async with hall(mode, host=host) as opened:
        callers = [caller for caller in ROUTE_CELLS if is_hosts(caller) is host]
        assert {caller: await wrong_routes(opened, caller) for caller in callers} == {
            caller: [] for caller in callers
        }


@awaited
async def test_everything_that_is_there_is_declared() -> None:
    """Every RPC of the descriptors and of the application, every route, and every caller."""
    async with hall(PUBLIC) as opened:
        found = running_rpcs(opened.app)
        described = {
            f"{method.containing_service.full_name}/{name}" for name, method in METHODS.items()
        }
        assert undeclared(found, RPCS) == set()
        assert described <= found.keys()
        assert undeclared(running_routes(opened.app), ROUTES) == set()
        callers = opened.headers.keys()
        assert callers == RPC_CELLS.keys() == ROUTE_CELLS.keys()


@awaited
async def test_other_methods_of_a_route_are_refused() -> None:
    """An admin gets 405 for what no row has, and nobody gets more."""
    async with hall(PUBLIC) as opened:
        paths = {route.partition(" ")[2] for route in ROUTES}
        for path in paths:
            for method in ("PUT", "PATCH", "DELETE", "POST", "OPTIONS", "TRACE", "CONNECT", "GETS"):
                if f"{method} {path}" not in ROUTES:
                    answer = await opened.get(f"{method} {path}", "admin's token", body=True)
                    assert (answer.status, unsafe(answer)) == (405, []), (method, path)


@awaited
async def test_a_new_route_is_noticed() -> None:
    """The table bites: a route that somebody adds without a row here fails the test above."""
    async with hall(PUBLIC) as opened:
        routes = opened.app._router.routes  # noqa: SLF001
        routes.append(Route("/admin/export", lambda _: PlainTextResponse("all of it")))

        assert undeclared(running_routes(opened.app), ROUTES) == {
            "GET /admin/export",
            "HEAD /admin/export",
        }
        with pytest.raises(KeyError, match="/admin/export"):
            await wrong_routes(opened, "anonymous")


@awaited
async def test_a_new_rpc_is_noticed() -> None:
    """The table bites: an RPC without a row here fails the test above."""
    async with hall(PUBLIC) as opened:
        found = {**running_rpcs(opened.app), "statusthing.v1.ItemsService/Purge": None}

        assert undeclared(found, RPCS) == {"statusthing.v1.ItemsService/Purge"}


@awaited
async def test_an_operation_that_lets_too_many_in_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The table bites: rows that the software has wrong show in the cells of this one."""
    rows = {
        **access.PERMISSIONS,
        "AddItem": access.PERMISSIONS["WhoAmI"],
        "ViewAdmin": access.PERMISSIONS["CheckHealth"],
    }
    async with hall(PUBLIC) as opened:
        monkeypatch.setattr(access, "PERMISSIONS", MappingProxyType(rows))
        calls = await wrong_rpcs(opened, "viewer's token")
        pages = await wrong_routes(opened, "anonymous")

    assert {problem.partition(":")[0] for problem in calls} == {
        "POST statusthing.v1.ItemsService/AddItem"
    }
    assert pages != []  # where the service, which asks again, has nothing to say


@awaited
async def test_an_operation_without_a_row_is_refused_to_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Default deny: what was forgotten in the table is closed, to an admin too."""
    forgotten = {"AddItem", "ViewPage"}
    rows = {name: row for name, row in access.PERMISSIONS.items() if name not in forgotten}
    async with hall(PUBLIC) as opened:
        monkeypatch.setattr(access, "PERMISSIONS", MappingProxyType(rows))
        added = await opened.call(
            "statusthing.v1.ItemsService/AddItem", "POST", "admin's token", body=False
        )
        page = await opened.get("GET /items/{id}", "admin's session", body=False)

    assert (added.status, page.status) == (403, 403)


@awaited
async def test_an_application_that_waits_for_a_body_is_noticed() -> None:
    """The cells of those who are refused would show it."""

    async def waits(_: Any, receive: Any, __: Any) -> None:
        await receive()

    assert (await ask(waits, "POST", "/", body=None)).status == 0
