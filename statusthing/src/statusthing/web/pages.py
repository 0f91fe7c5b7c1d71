"""The public pages, made once for each snapshot and each prefix, however many ask.

Making a page is mostly making its items, so what did not change since the page before is taken from
there: the HTML of notes, and of items.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any

import msgspec
from markupsafe import Markup

from statusthing.access import Access
from statusthing.asgi import Scope
from statusthing.errors import NotFound
from statusthing.model import Item, ItemView, NoteView, StatusKind
from statusthing.service import StatusThing
from statusthing.service.board import Board, ItemNotes
from statusthing.web.answers import HTML, JSON, UNKEPT, Kept, Messages, keep
from statusthing.web.headline import KINDS, Headline, HeadlineRule
from statusthing.web.live import Live, Snapshot
from statusthing.web.markdown import to_html
from statusthing.web.renderer import Renderer
from statusthing.web.settings import PageSettings, in_force
from statusthing.web.stylesheet import name_of

MANY = 12
"""With more items than this, the page can be filtered."""

PREFIXES = 4
"""Under how many prefixes pages are kept ready."""

OTHERS_BYTES = 8 * 1024 * 1024
"""How much the other pages may take that are kept until something changes.

There is one for each text that anybody looks for, and each may be as large as the front page.
"""

_CORS = {"access-control-allow-origin": "*"}


class Pages:
    """The public pages of one site.

    Args:
        st: the service.
        live: the newest board.
        renderer: makes pages of templates.
        headline: see `HeadlineRule`.
    """

    def __init__(
        self, st: StatusThing, live: Live, renderer: Renderer, headline: HeadlineRule
    ) -> None:
        self._st = st
        self._live = live
        self._renderer = renderer
        self._rule = headline
        self._snapshot: Snapshot | None = None  # that the pages kept are of
        self._fronts: dict[str, Kept] = {}
        self._others: dict[Hashable, Kept] = {}
        self._others_bytes = 0
        self._making: dict[Hashable, asyncio.Task[Kept]] = {}
        self._pieces: dict[str, dict[str, tuple[ItemView, Markup]]] = {}
        self._notes: dict[str, tuple[str, Markup]] = {}

    def at_hand(self, scope: Scope) -> Messages | None:
        """Return the messages that answer a request for the front page, if it is kept and fresh."""
        snapshot = self._live.fresh()
        if snapshot is None or snapshot is not self._snapshot or self._renderer.reloads:
            return None
        kept = self._fronts.get(scope.get("root_path", ""))
        if kept is None or any(name == b"authorization" for name, _ in scope["headers"]):
            return None
        return kept.messages(scope)

    async def front(self, prefix: str) -> Kept:
        """Return the front page; raises as `Live.snapshot`."""
        snapshot = await self._newest()

        async def make() -> Kept:
            kept = await self._keep(await self._front(snapshot, prefix))
            if snapshot is self._snapshot:
                if len(self._fronts) >= PREFIXES:
                    self._fronts.clear()
                self._fronts[prefix] = kept
            return kept

        return self._fronts.get(prefix) or await self._once(("front", prefix, snapshot), make)

    async def filtered(self, prefix: str, text: str, kind: StatusKind | None) -> Kept:
        """Return the front page with those items only that have a text, or a kind."""
        snapshot = await self._newest()

        async def make() -> Kept:
            page = await self._front(snapshot, prefix, text=text, kind=kind)
            return await self._keep(page)

        return await self._other(("filtered", prefix, text, kind), snapshot, make)

    async def item(self, prefix: str, item_id: str, before: str) -> Kept:
        """Return the page of an item, with its notes.

        Raises:
            NotFound: there is none.
            InvalidArgument: no page has such a `before`.
        """
        snapshot = await self._newest()

        async def make() -> Kept:
            found = await self._item_notes(snapshot, item_id, before)
            shown = found.item
            page = self._renderer.render(
                "public/item.html",
                prefix,
                **self._about(snapshot),
                item=shown,
                kind=KINDS[_kind_of(shown)],
                badge=_badge_of(shown),
                notes=[(note, self._note(note)) for note in found.notes],
                older=found.older,
                before=before,
                colors=_colors((shown,)),
            )
            return await self._keep(page.encode())

        return await self._other(("item", prefix, item_id, before), snapshot, make)

    async def status(self) -> Kept:
        """Return what the front page says, for programs."""
        snapshot = await self._newest()

        async def make() -> Kept:
            return await self._keep(self._json(snapshot), JSON)

        return await self._other(("status",), snapshot, make)

    async def _keep(self, body: bytes, content_type: str = HTML) -> Kept:
        """Make an answer to keep here; others may keep it only if it is for everybody."""
        if self._st.access is Access.PRIVATE:
            return await keep(body, content_type=content_type, cache_control=UNKEPT)
        headers = _CORS if content_type is JSON else None
        return await keep(body, content_type=content_type, headers=headers)

    async def _newest(self) -> Snapshot:
        snapshot = await self._live.snapshot()
        if snapshot is not self._snapshot or self._renderer.reloads:
            self._snapshot = snapshot
            self._fronts.clear()
            self._others.clear()
            self._others_bytes = 0
        if self._renderer.reloads:
            self._pieces.clear()
        return snapshot

    async def _other(
        self, key: Hashable, snapshot: Snapshot, make: Callable[[], Awaitable[Kept]]
    ) -> Kept:
        async def keep_it() -> Kept:
            kept = await make()
            if snapshot is self._snapshot and key not in self._others:
                self._others[key] = kept
                self._others_bytes += kept.size
                while self._others_bytes > OTHERS_BYTES:
                    oldest = self._others.pop(next(iter(self._others)))
                    self._others_bytes -= oldest.size
            return kept

        return self._others.get(key) or await self._once((key, snapshot), keep_it)

    async def _once(self, key: Hashable, make: Callable[[], Any]) -> Kept:
        """Make something once for all who ask for it meanwhile."""
        task = self._making.get(key)
        if task is None or task.done():
            task = self._making[key] = asyncio.create_task(make())
            task.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(task)

    async def _front(
        self,
        snapshot: Snapshot,
        prefix: str,
        *,
        text: str = "",
        kind: StatusKind | None = None,
    ) -> bytes:
        items = snapshot.board.items
        many = len(items) > MANY
        in_force = _count(items)
        pieces = self._pieces_of(snapshot.board, prefix)
        shown = [item.id for item in items if _matches(item, text, kind)]
        return self._renderer.render(
            "public/front.html",
            prefix,
            **self._about(snapshot),
            pieces=[pieces[id][1] for id in shown],
            total=len(items),
            filters=many or bool(text or kind),
            kinds=[each for each in KINDS if each in in_force or each is kind],
            table=KINDS,
            text=text,
            kind=kind,
            colors=_colors(items),
        ).encode()

    def _about(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return what every page says of the whole."""
        return {
            "settings": self._settings(snapshot),
            "headline": self._headline(snapshot),
            "board": snapshot.board,
            "known": snapshot.known,
        }

    def _settings(self, snapshot: Snapshot) -> PageSettings:
        return in_force(self._renderer.settings, snapshot.board.settings)

    def _headline(self, snapshot: Snapshot) -> Headline:
        return self._rule(_count(snapshot.board.items))

    def _pieces_of(self, board: Board, prefix: str) -> dict[str, tuple[ItemView, Markup]]:
        """Return the HTML of each item, by its id."""
        before = self._pieces.get(prefix, {})
        self._notes = {
            note.id: self._notes.get(note.id, ("", Markup()))
            for item in board.items
            for note in item.notes
        }
        pieces = {}
        for item in board.items:
            known = before.get(item.id)
            pieces[item.id] = (
                known
                if known is not None and known[0] == item
                else (item, self._piece(item, prefix))
            )
        if len(self._pieces) >= PREFIXES:
            self._pieces.clear()
        self._pieces[prefix] = pieces
        return pieces

    def _piece(self, item: ItemView, prefix: str) -> Markup:
        return self._renderer.render(
            "public/piece.html",
            prefix,
            item=item,
            kind=KINDS[_kind_of(item)],
            badge=_badge_of(item),
            notes=[(note, self._note(note)) for note in reversed(item.notes)],
        )

    def _note(self, note: NoteView) -> Markup:
        text, html = self._notes.get(note.id, ("", Markup()))
        if text != note.text:
            html = to_html(note.text)
            if note.id in self._notes:
                self._notes[note.id] = note.text, html
        return html

    async def _item_notes(self, snapshot: Snapshot, item_id: str, before: str) -> ItemNotes:
        """Return an item's notes; while the store is away, those that are on the board."""
        if snapshot.known is None:
            return await self._st.item_notes(item_id, before=before)
        for item in snapshot.board.items:
            if item.id == item_id and not before:
                return ItemNotes(item=item, notes=tuple(reversed(item.notes)), older="")
        raise NotFound(Item.__name__, item_id)

    def _json(self, snapshot: Snapshot) -> bytes:
        headline = self._headline(snapshot)
        board = snapshot.board
        return msgspec.json.encode(
            {
                "title": self._settings(snapshot).title,
                "headline": headline,
                "changed": board.changed,
                "revision": board.public_revision,
                "stale": snapshot.known is not None,
                "known": snapshot.known,
                "items": board.items,
            }
        )


def _kind_of(item: ItemView) -> StatusKind:
    return item.status.kind if item.status else StatusKind.UNKNOWN


def _badge_of(item: ItemView) -> str:
    return name_of(item.status.color) if item.status else ""


def _colors(items: Sequence[ItemView]) -> list[str]:
    return [item.status.color for item in items if item.status]


def _count(items: Sequence[ItemView]) -> Counter[StatusKind]:
    return Counter(map(_kind_of, items))


def _matches(item: ItemView, text: str, kind: StatusKind | None) -> bool:
    if kind is not None and _kind_of(item) is not kind:
        return False
    wanted = text.casefold()
    return wanted in item.name.casefold() or wanted in item.description.casefold()
