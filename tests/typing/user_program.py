"""A user's program, for the type checker only: nothing runs it.

What it assigns and annotates is what the library promises about its types.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import statusthing
from statusthing import (
    ANONYMOUS,
    ItemView,
    NoteView,
    Principal,
    Role,
    StatusInput,
    StatusKind,
    StatusThing,
    StatusThingError,
    StatusView,
    build_app,
    open_store,
    register,
)
from statusthing.errors import InvalidArgument, NotFound, VersionConflict
from statusthing.log import Change
from statusthing.memory import MemoryStore
from statusthing.model import Item, TokenView, UserView
from statusthing.service.messages import AddTokenResponse
from statusthing.store import Query, Store, Transaction
from statusthing_sqlite import SqliteStore

STORES: list[Store] = [
    MemoryStore(),
    SqliteStore("statusthing.db"),
    open_store("sqlite:///statusthing.db"),
]
PASSWORD = "correct horse"
MAKERS: list[Callable[[str], Store]] = [open_store, SqliteStore]

register("acme", SqliteStore)

app = build_app(open_store("memory://"), defaults=True)
service: StatusThing = app.st


def show(*what: object) -> None:
    """Show something to somebody."""


async def embed(store: Store) -> None:
    """Call the service in process."""
    async with StatusThing(store) as st:
        await st.add_default_statuses()
        up: StatusView = await st.statuses.add(name="up", kind=StatusKind.UP, color="green")
        item: ItemView = await st.items.add(name="api", initial_status_id=up.id)
        await st.items.add(
            name="web",
            initial_status=StatusInput(name="down", kind=StatusKind.DOWN),
            request_id="1",
        )
        await st.items.update(item.id, description="", update_mask=("description",))
        note: NoteView = await st.notes.add(item.id, "All is well.")
        await st.notes.update(note.id, "All is well again.", expected_version=note.version)
        texts: list[str] = [note.item_id, note.text, *(each.text for each in item.notes)]
        created: datetime | None = item.timestamps.created if item.timestamps else None
        show(texts, created)


async def let_in(st: StatusThing) -> str | None:
    """Make those who may call, and ask who they are."""
    ada: UserView = await st.users.add(
        username="ada",
        password=PASSWORD,
        role=Role.ADMIN,
    )
    await st.users.update(ada.id, disabled=False, update_mask=("disabled",))
    added: AddTokenResponse = await st.tokens.add(name="ci", role=Role.EDITOR)
    tokens: list[TokenView] = list(await st.tokens.list(user_id=ada.id))
    entries: list[str] = [entry.actor for entry in await st.audit.list()]
    show(added.token.id, added.secret, tokens, entries)
    await st.tokens.revoke(added.token.id)
    return await st.setup_link()


async def identify(scope: MutableMapping[str, Any]) -> Principal | None:
    """Say who asks, as a host does."""
    return Principal(name="jane", role=Role.VIEWER) if scope["type"] == "http" else None


hosted = build_app(MemoryStore(), access="private", identify=identify)


async def every_item(st: StatusThing) -> list[str]:
    """Follow the pages."""
    names: list[str] = []
    token = ""
    while True:
        page = await st.items.list(kinds=(StatusKind.UP, 2), page_size=100, page_token=token)
        names += [f"{item.name}: {item.status.name if item.status else '-'}" for item in page]
        token = page.next_page_token
        if not token:
            return names


async def as_somebody(st: StatusThing) -> None:
    """Act for somebody, and meet refusals."""
    jane = Principal(name="jane", role=Role.EDITOR)
    try:
        await st.items.delete("some-id", expected_version=3, principal=jane)
        await st.items.get("some-id", principal=ANONYMOUS)
    except NotFound as missing:
        show(missing.kind, missing.id)
    except VersionConflict as conflict:
        show(conflict.expected + conflict.actual)
    except InvalidArgument as wrong:
        show(wrong.field, wrong.problem)
    except StatusThingError as other:
        show(other)


def injected(store: Store) -> StatusThing:
    """Bring a clock and ids of one's own."""
    return StatusThing(store, clock=lambda: datetime.now(UTC), ids=lambda: "an-id")


async def below_the_service(store: Store) -> tuple[int, str, datetime | None]:
    """Run units of work: what they return is what the caller gets."""

    def names(tx: Transaction) -> list[str]:
        return [item.name for item in tx.find(Query(Item, where={"status_id": None}, limit=10))]

    first: list[str] = await store.read(names)
    changes: list[Change] = await store.read(lambda tx: list(tx.find(Query(Change))))
    head: int = await store.write(lambda tx: tx.revision, now=datetime.now(UTC))
    return head, first[0], changes[0].at if changes else None


misspelt: object = statusthing.biuld_app  # type: ignore[attr-defined]
waiting: Callable[[int], Awaitable[int]] = MemoryStore().wait
