"""What pages do and no RPC does: posting, moving, replacing, and the overview; on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.conftest import STORES
from tests.visitor import PASSWORD

from statusthing import ItemView, Principal, Role, StatusKind, StatusThing, open_store
from statusthing.errors import (
    InUse,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    VersionConflict,
)
from statusthing.log import Change
from statusthing.memory import MemoryStore
from statusthing.service import messages as m
from statusthing.store import Query

T = TypeVar("T")
Run = Callable[[Callable[[StatusThing], Coroutine[Any, Any, T]]], T]

VIEWER = Principal(name="viewer", role=Role.VIEWER)
LOWEST, HIGHEST = -(2**31), 2**31 - 1


@pytest.fixture(params=STORES)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run[Any]]:
    """Runs a function of a service over an empty store."""
    with STORES[request.param](tmp_path, request) as url:

        def run(use: Callable[[StatusThing], Coroutine[Any, Any, T]]) -> T:
            async def opened() -> T:
                async with StatusThing(open_store(url)) as st:
                    return await use(st)

            return asyncio.run(opened())

        yield run


async def ask(st: StatusThing, request: m.Request, **options: Any) -> Any:
    """Carry out a request, and return its response."""
    return (await st.run(request, **options)).response


async def log(st: StatusThing) -> Sequence[Change]:
    """Return the whole log."""
    return await st.store.read(lambda tx: tx.find(Query(Change)))


async def order(st: StatusThing) -> str:
    """Return the names of all items in their order."""
    overview = await ask(st, m.GetOverviewRequest(page_size=1_000))
    return "".join(item.name for item in overview.items)


async def named(st: StatusThing, names: str, **fields: Any) -> dict[str, ItemView]:
    """Add an item for each letter."""
    return {name: await st.items.add(name=name, **fields) for name in names}


# An update


def test_a_note_and_another_status_come_in_one_unit(run: Run[None]) -> None:
    """Readers never see one without the other."""

    async def use(st: StatusThing) -> None:
        down = await st.statuses.add(name="down", kind=StatusKind.DOWN)
        item = await st.items.add(name="api")

        posted = await ask(
            st, m.PostUpdateRequest(item_id=item.id, status_id=down.id, note_text="broken")
        )

        now = await st.items.get(item.id)
        assert now.status == down
        assert now.notes == (posted.note,)
        assert posted.note.text == "broken"
        assert [(each.revision, each.kind) for each in await log(st)][2:] == [
            (3, "Item"),
            (3, "Note"),
        ]

    run(use)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"status_id": "nothing", "note_text": "broken"}, NotFound),
        ({"status_id": "\x00", "note_text": "broken"}, NotFound),
        ({"item_id": "nothing", "note_text": "broken"}, NotFound),
        ({"note_text": "  "}, InvalidArgument),
        ({"note_text": "x" * 10_001}, InvalidArgument),
        ({"note_text": ""}, InvalidArgument),
        ({"note_text": "x", "request_id": "\n"}, InvalidArgument),
    ],
)
def test_an_update_that_is_refused_changes_nothing(
    run: Run[None], fields: dict[str, str], error: type[Exception]
) -> None:
    """Neither the note is there nor the status, whichever of them was at fault."""

    async def use(st: StatusThing) -> None:
        down = await st.statuses.add(name="down", kind=StatusKind.DOWN)
        item = await st.items.add(name="api")
        asked = {"item_id": item.id, "status_id": down.id if "item_id" in fields else ""} | fields

        with pytest.raises(error):
            await ask(st, m.PostUpdateRequest(**asked))

        assert await st.items.get(item.id) == item
        assert len(await log(st)) == 2

    run(use)


def test_either_half_of_an_update_may_be_missing(run: Run[None]) -> None:
    """A note leaves the status alone, and a status needs no note."""

    async def use(st: StatusThing) -> None:
        down = await st.statuses.add(name="down", kind=StatusKind.DOWN)
        item = await st.items.add(name="api")

        await ask(st, m.PostUpdateRequest(item_id=item.id, status_id=down.id))
        first = await st.items.get(item.id)
        await ask(st, m.PostUpdateRequest(item_id=item.id, note_text="hello"))
        second = await st.items.get(item.id)

        assert (first.status, first.notes) == (down, ())
        assert (second.status, [note.text for note in second.notes]) == (down, ["hello"])

    run(use)


def test_an_update_that_is_sent_twice_is_posted_once(run: Run[None]) -> None:
    """A form whose button was pressed twice."""

    async def use(st: StatusThing) -> None:
        item = await st.items.add(name="api")
        request = m.PostUpdateRequest(item_id=item.id, note_text="hello", request_id="key")

        assert await ask(st, request) == await ask(st, request)

        assert len((await st.items.get(item.id)).notes) == 1

    run(use)


# Moving


def test_an_item_moves_next_to_another(run: Run[None]) -> None:
    """Up and down, from wherever it was."""

    async def use(st: StatusThing) -> None:
        items = await named(st, "abcd")

        async def move(name: str, other: str, *, after: bool = False) -> str:
            await ask(
                st,
                m.MoveItemRequest(item_id=items[name].id, other_id=items[other].id, after=after),
            )
            return await order(st)

        assert await order(st) == "abcd"
        assert await move("d", "c") == "abdc"
        assert await move("d", "a") == "dabc"
        assert await move("a", "c", after=True) == "dbca"
        assert await move("d", "a", after=True) == "bcad"

    run(use)


def test_moving_twice_is_moving_once(run: Run[None]) -> None:
    """Two people who move an item up at the same time move it by one; the second writes nothing."""

    async def use(st: StatusThing) -> None:
        items = await named(st, "abc")
        up = m.MoveItemRequest(item_id=items["c"].id, other_id=items["b"].id)

        await asyncio.gather(ask(st, up), ask(st, up))

        written = len(await log(st))
        await ask(st, up)
        assert await order(st) == "acb"
        assert len(await log(st)) == written

    run(use)


def test_a_move_is_one_unit(run: Run[None]) -> None:
    """All the positions that it changes have one revision."""

    async def use(st: StatusThing) -> None:
        items = await named(st, "abcdef")

        await ask(st, m.MoveItemRequest(item_id=items["d"].id, other_id=items["c"].id))

        moved = (await log(st))[6:]
        assert await order(st) == "abdcef"
        assert len(moved) > 1
        assert {each.revision for each in moved} == {7}

    run(use)


def test_nothing_moves_next_to_what_is_not_there(run: Run[None]) -> None:
    """Neither side may be missing."""

    async def use(st: StatusThing) -> None:
        items = await named(st, "ab")
        for one, other in (("a", ""), ("", "a")):
            ids = [items[name].id if name else "gone" for name in (one, other)]
            with pytest.raises(NotFound):
                await ask(st, m.MoveItemRequest(item_id=ids[0], other_id=ids[1]))
        with pytest.raises(InvalidArgument, match="other_id"):
            await ask(st, m.MoveItemRequest(item_id=items["a"].id))

        assert len(await log(st)) == 2

    run(use)


@pytest.mark.parametrize(
    ("given", "one", "side", "other", "changed"),
    [
        ((0, 0, 0, 0), "d", "before", "a", {"d": -1}),
        ((0, 0, 0, 0), "a", "after", "d", {"a": 1}),
        ((0, 0, 0, 0), "d", "before", "c", {"c": 1}),
        ((0, 0, 0, 0), "b", "before", "a", {"b": -1}),
        ((0, 0, 0, 0, 0, 0), "c", "before", "b", {"c": -1, "a": -1}),
        ((0, 10, 20), "c", "before", "b", {"c": 0}),
        ((20, 0, 10), "a", "before", "c", {"a": 1}),
        ((0, 1, 2), "c", "before", "b", {"c": 0}),
        ((2, 1, 0), "a", "before", "b", {"a": 1}),
        ((LOWEST, LOWEST), "b", "before", "a", {"b": 0, "a": 1}),
        ((HIGHEST, HIGHEST, HIGHEST), "a", "after", "b", {"b": HIGHEST - 1}),
    ],
)
def test_few_positions_change(
    given: tuple[int, ...], one: str, side: str, other: str, changed: dict[str, int]
) -> None:
    """Only that of the item, where there is room; otherwise those on the shorter side of it."""

    async def use() -> dict[str, int]:
        async with StatusThing(MemoryStore()) as st:
            before = {
                name: await st.items.add(name=name, position=position)
                for name, position in zip("abcdef", given, strict=False)
            }
            await ask(
                st,
                m.MoveItemRequest(
                    item_id=before[one].id, other_id=before[other].id, after=side == "after"
                ),
            )
            return {
                item.name: item.position
                for item in (await st.items.list()).items
                if item.version > 1
            }

    assert asyncio.run(use()) == changed


positions = some.lists(
    some.sampled_from([0, 0, 0, 1, 2, 7, -3, LOWEST, LOWEST + 1, HIGHEST - 1, HIGHEST]),
    min_size=2,
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(positions, some.data())
def test_moving_keeps_the_order_of_all_others(given: list[int], data: some.DataObject) -> None:
    """Whatever positions there are: one item moves, and as few as possible get a new position."""

    async def use() -> None:
        async with StatusThing(MemoryStore()) as st:
            names = "abcdefgh"[: len(given)]
            items = {
                name: await st.items.add(name=name, position=position)
                for name, position in zip(names, given, strict=True)
            }
            for _ in range(4):
                before = await order(st)
                one, other = data.draw(some.lists(some.sampled_from(names), min_size=2, max_size=2))
                after = data.draw(some.booleans())
                if one == other or (before.index(one) > before.index(other)) is after:
                    expected = before
                else:
                    others = before.replace(one, "")
                    at = others.index(other) + after
                    expected = others[:at] + one + others[at:]
                written = len(await log(st))
                taken = {item.position for item in (await st.items.list()).items}

                await ask(
                    st,
                    m.MoveItemRequest(item_id=items[one].id, other_id=items[other].id, after=after),
                )

                assert await order(st) == expected
                changed = len(await log(st)) - written
                assert bool(changed) is (expected != before)
                if one in (expected[0], expected[-1]) and not taken & {LOWEST, HIGHEST}:
                    assert changed <= 1

    asyncio.run(use())


# Replacing a status


def test_the_items_of_a_status_get_another_one_as_it_goes(run: Run[None]) -> None:
    """All in one unit: there is no moment in which an item has none."""

    async def use(st: StatusThing) -> None:
        up = await st.statuses.add(name="up", kind=StatusKind.UP)
        fine = await st.statuses.add(name="fine", kind=StatusKind.UP)
        await named(st, "abc", initial_status_id=up.id)
        await st.items.add(name="d", initial_status_id=fine.id)
        before = len(await log(st))

        done = await ask(st, m.ReplaceStatusRequest(status_id=up.id, replacement_id=fine.id))

        assert done.items == 3
        assert [item.status for item in (await st.items.list()).items] == [fine] * 4
        assert (await st.statuses.list()).statuses == (fine,)
        assert len({each.revision for each in (await log(st))[before:]}) == 1

    run(use)


def test_the_items_of_a_status_may_be_left_without_one(run: Run[None]) -> None:
    """Where nothing fits."""

    async def use(st: StatusThing) -> None:
        up = await st.statuses.add(name="up", kind=StatusKind.UP)
        await named(st, "ab", initial_status_id=up.id)

        await ask(st, m.ReplaceStatusRequest(status_id=up.id))

        assert [item.status for item in (await st.items.list()).items] == [None, None]

    run(use)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"replacement_id": "nothing"}, NotFound),
        ({"status_id": "nothing"}, NotFound),
        ({"expected_version": 7}, VersionConflict),
        ({"replacement_id": "itself"}, InvalidArgument),
        ({"status_id": ""}, InvalidArgument),
    ],
)
def test_a_status_that_cannot_be_replaced_stays(
    run: Run[None], fields: dict[str, Any], error: type[Exception]
) -> None:
    """And so do its items."""

    async def use(st: StatusThing) -> None:
        up = await st.statuses.add(name="up", kind=StatusKind.UP)
        items = await named(st, "ab", initial_status_id=up.id)
        asked = {"status_id": up.id} | fields
        if asked.get("replacement_id") == "itself":
            asked["replacement_id"] = up.id

        with pytest.raises(error):
            await ask(st, m.ReplaceStatusRequest(**asked))
        with pytest.raises(InUse):
            await st.statuses.delete(up.id)

        assert (await st.items.list()).items == tuple(items.values())
        assert len(await log(st)) == 3

    run(use)


# The overview


def test_the_overview_has_what_the_list_shows(run: Run[None]) -> None:
    """Items by position, then age, with status and newest note; statuses with their use."""

    async def use(st: StatusThing) -> None:
        up = await st.statuses.add(name="up", kind=StatusKind.UP)
        down = await st.statuses.add(name="down", kind=StatusKind.DOWN)
        last = await st.items.add(name="last", position=5)
        first = await st.items.add(name="first", position=-1, initial_status_id=up.id)
        await st.notes.add(first.id, "old")
        await st.notes.add(first.id, "new")

        found = await ask(st, m.GetOverviewRequest())

        assert [item.id for item in found.items] == [first.id, last.id]
        assert [note.text for note in found.items[0].notes] == ["new"]
        assert (found.items[0].status, found.items[1].status) == (up, None)
        assert [(use.status, use.items) for use in found.statuses] == [(up, 1), (down, 0)]
        assert (found.total, found.matching, found.last_position) == (2, 2, 5)

    run(use)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"text": "B"}, "bc"),
        ({"text": "ABOUT"}, "c"),
        ({"kind": StatusKind.UP}, "ab"),
        ({"kind": StatusKind.UNKNOWN}, "c"),
        ({"kind": StatusKind.DOWN}, ""),
        ({"status_id": "nothing"}, ""),
        ({"kind": StatusKind.UP, "text": "a"}, "a"),
    ],
)
def test_the_overview_is_narrowed(run: Run[None], fields: dict[str, Any], names: str) -> None:
    """All filters have to be satisfied; the counts of statuses are those of all items."""

    async def use(st: StatusThing) -> None:
        up = await st.statuses.add(name="up", kind=StatusKind.UP)
        await named(st, "ab", initial_status_id=up.id)
        await st.items.add(name="c", description="about it")

        found = await ask(st, m.GetOverviewRequest(**fields))

        assert "".join(item.name for item in found.items) == names
        assert (found.total, found.matching) == (3, len(names))
        assert [use.items for use in found.statuses] == [2]

    run(use)


@pytest.mark.parametrize(
    ("page", "names", "number", "around"),
    [
        (1, "ab", 1, ("", "c")),
        (2, "cd", 2, ("b", "e")),
        (3, "e", 3, ("d", "")),
        (9, "e", 3, ("d", "")),
        (0, "ab", 1, ("", "c")),
        (-(10**30), "ab", 1, ("", "c")),
    ],
)
def test_the_overview_has_pages(
    run: Run[None], page: int, names: str, number: int, around: tuple[str, str]
) -> None:
    """A page that does not exist is the nearest one; the neighbours of a page are known."""

    async def use(st: StatusThing) -> None:
        ids = {"": ""} | {name: item.id for name, item in (await named(st, "abcde")).items()}

        found = await ask(st, m.GetOverviewRequest(page=page, page_size=2))

        assert "".join(item.name for item in found.items) == names
        assert (found.page, found.pages) == (number, 3)
        assert (found.item_before, found.item_after) == tuple(ids[name] for name in around)

    run(use)


def test_a_page_of_the_overview_has_a_size(run: Run[None]) -> None:
    """At least one item."""

    async def use(st: StatusThing) -> None:
        with pytest.raises(InvalidArgument, match="page_size"):
            await ask(st, m.GetOverviewRequest(page_size=0))
        empty = await ask(st, m.GetOverviewRequest())

        assert (empty.page, empty.pages, empty.items) == (1, 1, ())

    run(use)


def test_notes_are_counted(run: Run[None]) -> None:
    """Those of one item."""

    async def use(st: StatusThing) -> None:
        items = await named(st, "ab")
        for text in ("one", "two"):
            await st.notes.add(items["a"].id, text)

        assert (await ask(st, m.CountNotesRequest(item_id=items["a"].id))).count == 2
        assert (await ask(st, m.CountNotesRequest(item_id=items["b"].id))).count == 0
        with pytest.raises(NotFound):
            await ask(st, m.CountNotesRequest(item_id="nothing"))

    run(use)


def test_what_is_there_has_a_name(run: Run[None]) -> None:
    """What is not there has none, and ids that cannot exist are no error."""

    async def use(st: StatusThing) -> None:
        up = await st.statuses.add(name="up", kind=StatusKind.UP)
        item = await st.items.add(name="api")
        ada = await st.users.add(username="ada", password=PASSWORD, role=Role.VIEWER)

        found = await ask(
            st,
            m.GetNamesRequest(
                item_ids=(item.id, "gone", "\x00"), status_ids=(up.id,), user_ids=(ada.id,)
            ),
        )

        assert found.names == {item.id: "api", up.id: "up", ada.id: "ada"}

    run(use)


@pytest.mark.parametrize(
    "request_",
    [
        m.PostUpdateRequest(item_id="x", note_text="x"),
        m.MoveItemRequest(item_id="x", other_id="y"),
        m.ReplaceStatusRequest(status_id="x"),
        m.GetNamesRequest(),
    ],
    ids=lambda request: type(request).__name__,
)
def test_a_viewer_changes_nothing(run: Run[None], request_: m.Request) -> None:
    """And learns no names of users."""

    async def use(st: StatusThing) -> None:
        with pytest.raises(PermissionDenied):
            await st.run(request_, principal=VIEWER)

    run(use)
