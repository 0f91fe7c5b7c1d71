"""The operations as an embedding program calls them: time, the log, permissions, keys, pages."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusthing import (
    ANONYMOUS,
    TRUSTED,
    ItemView,
    Principal,
    Role,
    StatusInput,
    StatusKind,
    StatusThing,
)
from statusthing.access import require
from statusthing.errors import (
    AlreadyExists,
    InUse,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RequestError,
    TooManyResults,
    Unauthenticated,
    VersionConflict,
)
from statusthing.log import Action, Change, describe
from statusthing.memory import MemoryStore
from statusthing.model import RECORDS, Item, KeptAnswer, Note, Record, Status
from statusthing.service import messages as m
from statusthing.store import Query, Transaction

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DAY = timedelta(hours=24)

VIEWER = Principal(name="viewer", role=Role.VIEWER)
EDITOR = Principal(name="editor", role=Role.EDITOR)
ADMIN = Principal(name="admin", role=Role.ADMIN)


class Run(Protocol):
    """Runs one coroutine to its end, on the test's event loop."""

    def __call__(self, coro: Coroutine[Any, Any, T], /) -> T:
        """Return what the coroutine returns."""


class Clock:
    """A clock that shows what the test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """Return the present."""
        return self.now


@pytest.fixture
def run() -> Iterator[Run]:
    """Give the test an event loop."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def clock() -> Clock:
    """Give the test a clock that stands still."""
    return Clock()


@pytest.fixture
def service(run: Run, clock: Clock) -> StatusThing:
    """Give the test a service over an empty memory store, which counts its ids: id1, id2, ..."""
    return opened(run, MemoryStore(), clock)


def opened(run: Run, store: MemoryStore, clock: Clock) -> StatusThing:
    """Return the service over a store that is now open."""
    run(store.open())
    numbers = itertools.count(1)
    return StatusThing(store, clock=clock, ids=lambda: f"id{next(numbers)}")


def log(run: Run, service: StatusThing) -> Sequence[Change]:
    """Return the whole log."""
    return run(service.store.read(lambda tx: tx.find(Query(Change))))


def contents(run: Run, service: StatusThing) -> tuple[int, Mapping[str, Sequence[Any]]]:
    """Return the head, and every record and change in the store."""

    def everything(tx: Transaction) -> tuple[int, Mapping[str, Sequence[Any]]]:
        kinds: tuple[type[Any], ...] = (*RECORDS, Change)
        return tx.revision, {kind.__name__: tx.find(Query(kind)) for kind in kinds}

    return run(service.store.read(everything))


def record(run: Run, service: StatusThing, kind: type[Record], id: str) -> Record:
    """Return a record as the store keeps it."""
    return run(service.store.read(lambda tx: tx.get(kind, id)))


async def lived_in(service: StatusThing) -> None:
    """Make one change of every kind."""
    up = await service.statuses.add(name="up", kind=StatusKind.UP)
    down = StatusInput(name="down", kind=StatusKind.DOWN)
    api = await service.items.add(name="api", initial_status=down, initial_note_text="broken")
    web = await service.items.add(name="web", initial_status_id=up.id, request_id="key")
    note = await service.notes.add(api.id, "mended")
    await service.notes.update(note.id, "mended again")
    await service.statuses.update(up.id, color="green")
    await service.items.update(api.id, status_id=up.id)
    await service.notes.delete(note.id)
    await service.items.delete(web.id)
    await service.items.delete(api.id)
    await service.statuses.delete(up.id)


# Clock and ids


def test_records_bear_the_injected_time_and_ids(run: Run, service: StatusThing) -> None:
    """Everything added in one unit has ids from the source and one time from the clock."""
    status = StatusInput(name="up", kind=StatusKind.UP)
    item = run(service.items.add(name="api", initial_status=status, initial_note_text="hello"))

    assert item.status is not None
    views: Sequence[Any] = (item, item.status, *item.notes)
    assert {view.id for view in views} == {"id1", "id2", "id3"}
    for view in views:
        assert (view.timestamps.created, view.timestamps.updated) == (START, START)


def test_the_default_clock_and_ids_are_utc_and_uuid7(run: Run) -> None:
    """By default, times are the current time in UTC, and ids are UUIDs of version 7."""
    service = StatusThing(MemoryStore())
    run(service.store.open())
    before = datetime.now(UTC)
    item = run(service.items.add(name="api"))

    assert uuid.UUID(item.id).version == 7
    assert item.timestamps is not None
    assert item.timestamps.created is not None
    assert before <= item.timestamps.created <= datetime.now(UTC)
    assert item.timestamps.created.tzinfo is UTC


@pytest.mark.parametrize("step", [timedelta(0), timedelta(hours=-1)], ids=["stands", "goes back"])
def test_times_agree_with_the_order_of_commits(
    run: Run, service: StatusThing, clock: Clock, step: timedelta
) -> None:
    """If the clock stands still or goes back, each write is a microsecond after the last."""
    for number in range(3):
        run(service.items.add(name=f"item {number}"))
        clock.now += step
    times = [change.at for change in log(run, service)]

    assert times == [START, START + TICK, START + 2 * TICK]
    assert [item.name for item in run(service.items.list())] == ["item 0", "item 1", "item 2"]


def test_times_follow_the_clock_once_it_is_ahead_again(
    run: Run, service: StatusThing, clock: Clock
) -> None:
    """A clock that went back is followed again once it has caught up."""
    for hours in (0, -1, 2):
        clock.now = START + timedelta(hours=hours)
        run(service.items.add(name=f"{hours}"))

    assert log(run, service)[-1].at == START + timedelta(hours=2)


def test_lists_are_in_the_order_of_addition_whatever_the_ids(run: Run, clock: Clock) -> None:
    """Ids that sort the other way round do not change the order of a list."""
    ids = iter("zyxwvutsrqp")
    service = StatusThing(MemoryStore(), clock=clock, ids=lambda: next(ids))
    run(service.store.open())
    for name in ("first", "second", "third"):
        run(service.items.add(name=name))

    assert [item.name for item in run(service.items.list())] == ["first", "second", "third"]


class Twice(MemoryStore):
    """A store that runs every unit of a write twice, and forgets the first run."""

    async def write(self, work: Callable[[Transaction], T], *, now: datetime) -> T:
        """Run it and roll back, then run it."""

        class RolledBack(Exception):
            pass

        def first(tx: Transaction) -> None:
            work(tx)
            raise RolledBack

        with contextlib.suppress(RolledBack):
            await super().write(first, now=now)
        return await super().write(work, now=now)


def test_a_unit_can_run_again(run: Run, service: StatusThing) -> None:
    """A store that runs units more than once ends with the same records, ids and log (R5)."""
    again = opened(run, Twice(), Clock())
    run(lived_in(service))
    run(lived_in(again))

    assert contents(run, again) == contents(run, service)


# Default statuses


def test_the_default_statuses(run: Run, service: StatusThing) -> None:
    """A new server begins with eight statuses, added in one unit."""
    run(service.add_default_statuses())
    statuses = run(service.statuses.list())

    assert [(status.name, status.kind, status.color) for status in statuses] == [
        ("UP", StatusKind.UP, "#5DFC0A"),
        ("ONLINE", StatusKind.ONLINE, "#5DFC0A"),
        ("CREATED", StatusKind.CREATED, "#5DFC0A"),
        ("DOWN", StatusKind.DOWN, "#FF0000"),
        ("OFFLINE", StatusKind.OFFLINE, "#FF0000"),
        ("WARNING", StatusKind.WARNING, "#EEEB8D"),
        ("INVESTIGATING", StatusKind.INVESTIGATING, "#EEEB8D"),
        ("OBSERVING", StatusKind.OBSERVING, "#EEEB8D"),
    ]
    assert [(change.revision, change.seq) for change in log(run, service)] == [
        (1, seq) for seq in range(8)
    ]


def test_the_default_statuses_are_made_once(run: Run, service: StatusThing) -> None:
    """Asking again changes nothing, even if somebody has deleted one."""
    run(service.add_default_statuses())
    run(service.statuses.delete("id1"))
    before = contents(run, service)
    run(service.add_default_statuses())

    assert contents(run, service) == before


def test_the_default_statuses_leave_a_used_store_alone(run: Run, service: StatusThing) -> None:
    """A store that ever had anything in it gets none, even if it is empty now."""
    run(service.items.delete(run(service.items.add(name="api")).id))
    run(service.add_default_statuses())

    assert len(run(service.statuses.list())) == 0


def test_the_default_statuses_are_made_behind_a_token(run: Run, service: StatusThing) -> None:
    """Whoever makes a token or a user before the first start misses no status."""
    run(service.tokens.add(name="robot", role=Role.EDITOR))
    run(service.add_default_statuses())

    assert len(run(service.statuses.list())) == 8


def test_opening_makes_no_statuses(run: Run) -> None:
    """A program that opens the service finds what the store holds, and no more."""

    async def program() -> int:
        async with StatusThing(MemoryStore()) as service:
            return len(await service.statuses.list())

    assert run(program()) == 0


# The log


def test_one_entry_for_each_record_added(run: Run, service: StatusThing) -> None:
    """An item with a new status and a note is one revision of three entries."""
    status = StatusInput(name="up", kind=StatusKind.UP)
    item = run(service.items.add(name="api", initial_status=status, initial_note_text="hello"))
    assert item.status is not None
    added = [
        record(run, service, Status, item.status.id),
        record(run, service, Item, item.id),
        record(run, service, Note, item.notes[0].id),
    ]

    assert log(run, service) == [
        Change(
            revision=1,
            seq=seq,
            at=START,
            actor="program",
            action=Action.ADDED,
            kind=type(each).__name__,
            subject=each.id,
            before=None,
            after=describe(each),
            public=True,
        )
        for seq, each in enumerate(added)
    ]


def test_an_entry_for_a_replaced_record(run: Run, service: StatusThing) -> None:
    """The entry of an update has the record before and after, and who made the update."""
    id = run(service.items.add(name="api")).id
    before = record(run, service, Item, id)
    run(service.items.update(id, name="web", principal=EDITOR))
    after = record(run, service, Item, id)
    change = log(run, service)[-1]

    assert (change.revision, change.seq, change.actor) == (2, 0, "editor")
    assert (change.action, change.kind, change.subject) == (Action.REPLACED, "Item", id)
    assert (change.before, change.after) == (describe(before), describe(after))
    assert (before.version, after.version) == (1, 2)
    assert (after.created, after.updated) == (before.created, change.at)


def test_an_entry_for_each_note_that_goes_with_its_item(run: Run, service: StatusThing) -> None:
    """Deleting an item is one revision, with its notes first and the item last."""
    other = run(service.items.add(name="other", initial_note_text="stays"))
    item = run(service.items.add(name="api", initial_note_text="one"))
    run(service.notes.add(item.id, "two"))
    run(service.items.delete(item.id))
    removed = [change for change in log(run, service) if change.action is Action.REMOVED]

    assert [(change.revision, change.seq, change.kind) for change in removed] == [
        (4, 0, "Note"),
        (4, 1, "Note"),
        (4, 2, "Item"),
    ]
    assert [change.before and change.before.get("text") for change in removed[:2]] == ["one", "two"]
    assert [change.after for change in removed] == [None] * 3
    assert [note.text for note in run(service.notes.list(other.id))] == ["stays"]


def test_what_the_log_keeps_is_json(run: Run, service: StatusThing) -> None:
    """Every entry can be written as JSON and read back."""
    run(lived_in(service))

    for change in log(run, service):
        assert msgspec.json.decode(msgspec.json.encode(change), type=Change) == change


async def same_item(service: StatusThing) -> None:
    """Set what an item already has."""
    await service.items.update("id1")
    await service.items.update("id1", name="api", position=3)
    await service.items.update("id1", name="api", description="", update_mask=("description",))
    await service.items.update("id1", status_id="", update_mask=("status_id",))


async def same_status(service: StatusThing) -> None:
    """Set what a status already has."""
    await service.statuses.update("id4")
    await service.statuses.update("id4", name="up", kind=StatusKind.UP)
    await service.statuses.update("id4", kind=1, color="", update_mask=("kind", "color"))


async def same_note(service: StatusThing) -> None:
    """Set what a note already has."""
    await service.notes.update("id5", "hello")


@pytest.mark.parametrize("update", [same_item, same_status, same_note])
def test_an_update_to_what_is_there_changes_nothing(
    run: Run, service: StatusThing, update: Callable[[StatusThing], Coroutine[Any, Any, None]]
) -> None:
    """Setting nothing, or what is already stored, keeps the version, the time and the head."""
    populate(run, service)
    before = contents(run, service)
    run(update(service))

    assert contents(run, service) == before


def populate(run: Run, service: StatusThing) -> None:
    """Add the item id1, the status id4 and the note id5 on that item."""
    item = run(service.items.add(name="api", position=3))
    status = run(service.statuses.add(name="up", kind=StatusKind.UP))
    note = run(service.notes.add(item.id, "hello"))
    assert (item.id, status.id, note.id) == ("id1", "id4", "id5")


FAILURES: Sequence[tuple[m.Request, type[RequestError]]] = [
    (m.AddItemRequest(name="api"), AlreadyExists),
    (m.AddItemRequest(name=" "), InvalidArgument),
    (m.AddItemRequest(name="a", initial_status_id="none"), NotFound),
    (m.AddItemRequest(name="a", initial_status=StatusInput(name="new")), InvalidArgument),
    (m.AddItemRequest(name="a", initial_status=StatusInput(name="up", kind=1)), AlreadyExists),
    (m.AddItemRequest(name="api", initial_status=StatusInput(name="n", kind=1)), AlreadyExists),
    (m.AddItemRequest(name="a", initial_status=StatusInput(id="free")), InvalidArgument),
    (m.AddItemRequest(name="a", initial_status=StatusInput(id="a b")), InvalidArgument),
    (m.AddItemRequest(name="a", initial_note_text="\x00"), InvalidArgument),
    (m.AddItemRequest(name="a", request_id="é"), InvalidArgument),
    (m.AddItemRequest(name="a", position=2**31), InvalidArgument),
    (m.UpdateItemRequest(item_id="id1", position=-(2**31) - 1), InvalidArgument),
    (m.UpdateItemRequest(item_id="none", name="a"), NotFound),
    (m.UpdateItemRequest(item_id="id1", name="taken"), AlreadyExists),
    (m.UpdateItemRequest(item_id="id1", name="a", status_id="none"), NotFound),
    (m.UpdateItemRequest(item_id="id1", name="a", expected_version=2), VersionConflict),
    (m.UpdateItemRequest(item_id="id1", expected_version=2), VersionConflict),
    (m.UpdateItemRequest(item_id="id1", update_mask=("name",)), InvalidArgument),
    (m.UpdateItemRequest(item_id="id1", name="a", update_mask=("id",)), InvalidArgument),
    (m.DeleteItemRequest(), InvalidArgument),
    (m.DeleteItemRequest(item_id="none"), NotFound),
    (m.DeleteItemRequest(item_id="id1", expected_version=2), VersionConflict),
    (m.AddStatusRequest(name="up", kind=StatusKind.UP), AlreadyExists),
    (m.AddStatusRequest(name="a"), InvalidArgument),
    (m.AddStatusRequest(name="a", kind=1, color="transparent"), InvalidArgument),
    (m.UpdateStatusRequest(status_id="id4", kind=99), InvalidArgument),
    (m.UpdateStatusRequest(status_id="id4", update_mask=("kind",)), InvalidArgument),
    (m.UpdateStatusRequest(status_id="id4", name="a", expected_version=9), VersionConflict),
    (m.UpdateStatusRequest(status_id="id1", name="a"), NotFound),
    (m.DeleteStatusRequest(status_id="used"), InUse),
    (m.DeleteStatusRequest(status_id="none"), NotFound),
    (m.AddNoteRequest(item_id="none", note_text="a"), NotFound),
    (m.AddNoteRequest(item_id="id1", note_text="\n"), InvalidArgument),
    (m.UpdateNoteRequest(note_id="id5"), InvalidArgument),
    (m.UpdateNoteRequest(note_id="id5", note_text="a", update_mask=("text",)), InvalidArgument),
    (m.UpdateNoteRequest(note_id="id5", note_text="a", expected_version=2), VersionConflict),
    (m.UpdateNoteRequest(note_id="none", note_text="a"), NotFound),
    (m.DeleteNoteRequest(note_id="id1"), NotFound),
]


def named(value: object) -> str:
    """Name a parameter after its type, or itself if it is one."""
    return value.__name__ if isinstance(value, type) else type(value).__name__


@pytest.mark.parametrize(("request_", "error"), FAILURES, ids=named)
def test_a_failed_operation_leaves_no_trace(
    run: Run, service: StatusThing, request_: m.Request, error: type[RequestError]
) -> None:
    """A failure at the first record or the last leaves no record, entry or gap behind."""
    populate(run, service)
    used = StatusInput(id="used", name="used", kind=StatusKind.DOWN)
    run(service.items.add(name="taken", initial_status=used))
    before = contents(run, service)
    with pytest.raises(error):
        run(service.run(request_))
    head, _ = contents(run, service)

    assert contents(run, service) == before
    assert run(service.run(m.AddItemRequest(name="next"))).revision == head + 1


def test_every_answer_tells_its_revision(run: Run, service: StatusThing) -> None:
    """Writes return the head they made; reads, empty updates and repeats the head they saw."""
    requests = [
        (m.ListItemsRequest(), 0),
        (m.AddItemRequest(name="api", request_id="key"), 1),
        (m.AddItemRequest(name="web"), 2),
        (m.GetItemRequest(item_id="id1"), 2),
        (m.UpdateItemRequest(item_id="id1", name="api"), 2),
        (m.AddItemRequest(name="api", request_id="key"), 2),
        (m.DeleteItemRequest(item_id="id1"), 3),
    ]

    for request, revision in requests:
        assert run(service.run(request)).revision == revision


# Permissions

REQUESTS = {
    "GetItem": m.GetItemRequest(item_id="id1"),
    "ListItems": m.ListItemsRequest(),
    "AddItem": m.AddItemRequest(name="web"),
    "UpdateItem": m.UpdateItemRequest(item_id="id1", name="web"),
    "DeleteItem": m.DeleteItemRequest(item_id="id1"),
    "GetStatus": m.GetStatusRequest(status_id="id4"),
    "ListStatus": m.ListStatusRequest(),
    "AddStatus": m.AddStatusRequest(name="down", kind=StatusKind.DOWN),
    "UpdateStatus": m.UpdateStatusRequest(status_id="id4", name="down"),
    "DeleteStatus": m.DeleteStatusRequest(status_id="id4"),
    "GetNote": m.GetNoteRequest(note_id="id5"),
    "ListNotes": m.ListNotesRequest(item_id="id1"),
    "AddNote": m.AddNoteRequest(item_id="id1", note_text="hello"),
    "UpdateNote": m.UpdateNoteRequest(note_id="id5", note_text="bye"),
    "DeleteNote": m.DeleteNoteRequest(note_id="id5"),
}
REFUSALS = {"anonymous": Unauthenticated, "viewer": PermissionDenied}
EVERYBODY = (ANONYMOUS, VIEWER, EDITOR, ADMIN, TRUSTED)


@pytest.mark.parametrize("principal", EVERYBODY, ids=lambda each: each.name)
@pytest.mark.parametrize("operation", REQUESTS)
def test_who_may_do_what(
    run: Run, service: StatusThing, operation: str, principal: Principal
) -> None:
    """Everybody may read; editors, admins and the program may write; nobody else leaves a trace."""
    populate(run, service)
    before = contents(run, service)
    reads = operation.startswith(("Get", "List"))
    refusal = None if reads else REFUSALS.get(principal.name)
    with pytest.raises(refusal) if refusal else contextlib.nullcontext():
        run(service.run(REQUESTS[operation], principal=principal))

    assert (contents(run, service) == before) == (reads or refusal is not None)


def test_permission_is_asked_for_before_anything_else(run: Run, service: StatusThing) -> None:
    """A caller without permission learns nothing about the request's faults or the store."""
    for request in (m.AddItemRequest(), m.DeleteItemRequest(item_id="none")):
        with pytest.raises(Unauthenticated):
            run(service.run(request, principal=ANONYMOUS))


@pytest.mark.parametrize("principal", EVERYBODY, ids=lambda each: each.name)
def test_an_operation_without_a_row_is_refused(principal: Principal) -> None:
    """Nobody may run an operation that the table does not list, not even the program itself."""
    with pytest.raises(Unauthenticated if principal is ANONYMOUS else PermissionDenied):
        require(principal, "ForgetEverything")


# Idempotency keys


def kept(run: Run, service: StatusThing) -> list[str]:
    """Return the ids of the answers that are kept."""
    return [each.id for each in run(service.store.read(lambda tx: tx.find(Query(KeptAnswer))))]


ADDITIONS = [
    m.AddItemRequest(
        name="web",
        description="tab\there",
        initial_status=StatusInput(name="down", kind=StatusKind.DOWN),
        initial_note_text="\U0001f6a6 broken",
        position=-1,
        request_id="key",
    ),
    m.AddStatusRequest(name="down", kind=2, color="Red", request_id="key"),
    m.AddNoteRequest(item_id="id1", note_text="one\ntwo", request_id="key"),
]


@pytest.mark.parametrize("request_", ADDITIONS, ids=named)
def test_a_repeat_gets_the_first_answer_and_writes_nothing(
    run: Run, service: StatusThing, clock: Clock, request_: m.Request
) -> None:
    """A repeat within 24 hours gets the first answer, and nothing else is touched."""
    populate(run, service)
    first = run(service.run(request_))
    before = contents(run, service)
    clock.now += timedelta(hours=23)

    assert run(service.run(request_)) == first
    assert contents(run, service) == before


def test_a_repeat_is_not_spoilt_by_later_changes(run: Run, service: StatusThing) -> None:
    """The first answer is returned even if its item has been changed and deleted."""
    first = run(service.items.add(name="api", request_id="key"))
    run(service.items.update(first.id, name="web"))
    run(service.items.delete(first.id))

    assert run(service.items.add(name="api", request_id="key")) == first
    assert len(run(service.items.list())) == 0


def test_a_key_stands_for_one_request(run: Run, service: StatusThing) -> None:
    """The same key with other contents is refused, naming the key."""
    run(service.items.add(name="api", request_id="key"))
    before = contents(run, service)
    with pytest.raises(InvalidArgument) as refusal:
        run(service.items.add(name="api", position=1, request_id="key"))

    assert refusal.value.field == "request_id"
    assert contents(run, service) == before


def test_keys_are_scoped_to_the_caller(run: Run, service: StatusThing) -> None:
    """Two callers may choose the same key independently."""
    mine = run(service.items.add(name="mine", request_id="key", principal=EDITOR))
    yours = run(service.items.add(name="yours", request_id="key", principal=ADMIN))

    assert (mine.name, yours.name) == ("mine", "yours")
    assert run(service.items.add(name="mine", request_id="key", principal=EDITOR)) == mine


def test_keys_are_scoped_to_the_operation(run: Run, service: StatusThing) -> None:
    """One caller may use the same key for an item, a status and a note."""
    item = run(service.items.add(name="api", request_id="key"))
    status = run(service.statuses.add(name="up", kind=1, request_id="key"))
    note = run(service.notes.add(item.id, "hello", request_id="key"))

    assert len({item.id, status.id, note.id}) == 3


def test_an_answer_is_kept_for_24_hours(run: Run, service: StatusThing, clock: Clock) -> None:
    """A microsecond before 24 hours it is a repeat, and at 24 hours a new request."""
    item = run(service.items.add(name="api"))
    clock.now = START + timedelta(hours=1)
    first = run(service.notes.add(item.id, "hello", request_id="key"))
    clock.now += DAY - TICK
    repeat = run(service.notes.add(item.id, "hello", request_id="key"))
    clock.now += TICK
    other = run(service.notes.add(item.id, "other", request_id="key"))

    assert repeat == first
    assert other.text == "other"
    assert len(run(service.notes.list(item.id))) == 2


def test_a_failure_is_not_kept(run: Run, service: StatusThing) -> None:
    """The key of a failed request can be used again, for the same request or another."""
    item = run(service.items.add(name="api"))
    with pytest.raises(AlreadyExists):
        run(service.items.add(name="api", request_id="key"))
    assert kept(run, service) == []
    run(service.items.delete(item.id))

    assert run(service.items.add(name="api", request_id="key")).name == "api"


def test_expired_answers_are_swept(run: Run, service: StatusThing, clock: Clock) -> None:
    """Each request with a key removes up to 100 expired answers, and no others."""
    item = run(service.items.add(name="api"))
    for number in range(150):
        run(service.notes.add(item.id, "old", request_id=f"old {number}"))
    clock.now += timedelta(hours=12)
    run(service.notes.add(item.id, "young", request_id="young"))
    clock.now += timedelta(hours=12, minutes=1)
    left = []
    for number in range(2):
        run(service.notes.add(item.id, "new", request_id=f"new {number}"))
        left.append(len(kept(run, service)))

    assert left == [150 + 1 + 1 - 100, 1 + 2]


def test_a_request_without_a_key_keeps_nothing(run: Run, service: StatusThing) -> None:
    """A request without a key leaves no kept answer behind."""
    run(lived_in(service))

    assert len(kept(run, service)) == 1


@pytest.mark.parametrize("key", ["", "key"])
def test_an_id_that_has_no_utf_8_is_refused(run: Run, service: StatusThing, key: str) -> None:
    """A lone surrogate in an id is the caller's mistake, with or without an idempotency key."""
    with pytest.raises(RequestError):
        run(service.notes.add("\ud800", "hello", request_id=key))
    with pytest.raises(RequestError):
        run(service.items.add(name="api", initial_status_id="\ud800", request_id=key))


# Pages


def add_notes(run: Run, service: StatusThing, number: int) -> str:
    """Add an item with that many notes, in one unit, and return its id."""

    def work(tx: Transaction) -> None:
        at = tx.now
        tx.add(Item(id="many", created=at, updated=at, name="many"))
        for each in range(number):
            tx.add(
                Note(id=f"{each:05}", created=at, updated=at, item_id="many", text=f"note {each}")
            )
        tx.append(
            Change(
                revision=tx.revision,
                seq=0,
                at=at,
                actor="test",
                action=Action.ADDED,
                kind="Item",
                subject="many",
                before=None,
                after={},
                public=True,
            )
        )

    run(service.store.write(work, now=START))
    return "many"


def test_a_whole_list_has_at_most_10000_records(run: Run, service: StatusThing) -> None:
    """A list without a page size has at most 10 000 records; a longer one is refused."""
    item = add_notes(run, service, 10_000)
    assert len(run(service.notes.list(item))) == 10_000
    run(service.notes.add(item, "one more"))

    with pytest.raises(TooManyResults) as refusal:
        run(service.notes.list(item))
    assert refusal.value.limit == 10_000
    assert "page_size" in str(refusal.value)
    assert len(run(service.notes.list(item, page_size=1))) == 1


@pytest.mark.parametrize(("asked", "given_"), [(1, 1), (999, 999), (1_000, 1_000), (5_000, 1_000)])
def test_a_page_has_at_most_1000_records(
    run: Run, service: StatusThing, asked: int, given_: int
) -> None:
    """A larger page size means the largest."""
    page = run(service.notes.list(add_notes(run, service, 1_001), page_size=asked))

    assert len(page) == given_
    assert page.next_page_token


def test_a_page_size_is_not_negative(run: Run, service: StatusThing) -> None:
    """The wire cannot express a negative page size, but a program can, and is refused."""
    populate(run, service)
    with pytest.raises(InvalidArgument) as refusal:
        run(service.items.list(page_size=-1))

    assert refusal.value.field == "page_size"


def test_the_last_page_has_no_token(run: Run, service: StatusThing) -> None:
    """A list that exactly fills its page has no next page."""
    item = add_notes(run, service, 3)
    page = run(service.notes.list(item, page_size=3))

    assert (len(page), page.next_page_token) == (3, "")


def test_items_bring_their_newest_100_notes(run: Run, service: StatusThing) -> None:
    """GetItem and ListItems with `extended` return the same 100 notes, oldest first."""
    item = run(service.items.get(add_notes(run, service, 101)))
    listed = run(service.items.list(extended=True))

    assert [note.text for note in item.notes] == [f"note {each}" for each in range(1, 101)]
    assert list(listed) == [item]
    assert next(iter(run(service.items.list()))).notes == ()


def token(data: bytes) -> str:
    """Write a page token as the service does."""
    return base64.urlsafe_b64encode(data).decode("ascii")


LISTS: Mapping[str, Callable[[str], m.Request]] = {
    "ListItems": lambda token: m.ListItemsRequest(page_token=token),
    "ListStatus": lambda token: m.ListStatusRequest(page_token=token),
    "ListNotes": lambda token: m.ListNotesRequest(item_id="id1", page_token=token),
}


@pytest.mark.parametrize("operation", LISTS)
@pytest.mark.parametrize(
    "garbage",
    [
        *(
            "x",
            "é",
            "\ud800",
            " ",
            "2",
            "id1",
            "AAAA",
            "!!!!",
            "A===",
            "WzEsImEiXQ",
            "WzEs!ImEiXQ==",
        ),
        *map(token, [b"{}", b"[]", b"null", b"[1]", b'["1","a"]', b'[1,"a",2]', b"[[[[[["]),
        *map(token, [b'[1.5,"a"]', b'[true,"a"]', b'[1e400,"a"]', b"[1,2]", b"[1,null]"]),
        *map(token, [b'[1,"\xff"]', rb'[1,"\ud800"]', rb'[1,"\udc00"]', b"\x00" * 3]),
        *map(token, [b'[%d,"a"]' % 10**30, b'[%d,"a"]' % -(10**18), b'[%d,"a"]' % 10**18]),
        *map(token, [rb'[1,"\u0000"]', b'[1,""]', b'[1,"a b"]', b'[1,"%s"]' % (b"a" * 65)]),
    ],
    ids=ascii,
)
def test_a_token_that_no_list_returned_is_refused(
    run: Run, service: StatusThing, operation: str, garbage: str
) -> None:
    """Garbage, or a forged token with an impossible key, never reaches the store."""
    populate(run, service)
    with pytest.raises(InvalidArgument) as refusal:
        run(service.run(LISTS[operation](garbage)))

    assert refusal.value.field == "page_token"


@given(
    garbage=st.text()
    | st.binary().map(token)
    | st.tuples(st.integers() | st.floats(), st.text()).map(msgspec.json.encode).map(token)
)
def test_any_token_is_a_position_or_refused(garbage: str) -> None:
    """Whatever a caller sends as a token, the answer is a page or a refusal."""

    async def ask() -> None:
        async with StatusThing(MemoryStore()) as service:
            with contextlib.suppress(InvalidArgument):
                assert len(await service.items.list(page_token=garbage)) == 0

    asyncio.run(ask())


def test_a_token_of_another_list_is_refused(run: Run, service: StatusThing) -> None:
    """A client that confuses two lists gets an error, and not an apparent end of the list."""
    mine = run(service.items.add(name="mine", initial_note_text="mine 1"))
    yours = run(service.items.add(name="yours", initial_note_text="yours 1"))
    run(service.notes.add(mine.id, "mine 2"))
    run(service.notes.add(yours.id, "yours 2"))
    page = run(service.notes.list(yours.id, page_size=1))
    for foreign in (
        service.notes.list(mine.id, page_token=page.next_page_token),
        service.items.list(page_token=page.next_page_token),
    ):
        with pytest.raises(InvalidArgument) as refusal:
            run(foreign)

        assert refusal.value.field == "page_token"


def test_a_token_goes_with_its_filters(run: Run, service: StatusThing) -> None:
    """A token is refused with other filters; their order and the page size may differ."""
    for number, kind in enumerate((1, 2, 1)):
        run(service.statuses.add(name=str(number), kind=kind))
    first = run(service.statuses.list(kinds=[1, 2], page_size=1))
    rest = run(service.statuses.list(kinds=(2, 1), page_token=first.next_page_token))
    whole = run(service.statuses.list(kinds=(1, 2)))
    with pytest.raises(InvalidArgument):
        run(service.statuses.list(kinds=(1, 3), page_token=first.next_page_token))

    assert [*first, *rest] == list(whole)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("name", lambda st: st.items.add(name=None)),
        ("name", lambda st: st.statuses.add(name=b"x", kind=1)),
        ("position", lambda st: st.items.add(name="a", position=True)),
        ("position", lambda st: st.items.add(name="a", position="1")),
        ("page_size", lambda st: st.items.list(page_size=1.5)),
        ("status_ids", lambda st: st.items.list(status_ids="abc")),
        ("update_mask", lambda st: st.items.update("a", update_mask="description")),
    ],
)
def test_wrong_types_are_named(
    run: Run, service: StatusThing, field: str, call: Callable[[StatusThing], Any]
) -> None:
    """A value of the wrong type is refused in one clear sentence, not by a deep traceback."""
    with pytest.raises(InvalidArgument) as refusal:
        run(call(service))

    assert refusal.value.field == field


def test_an_error_knows_its_revision(run: Run, service: StatusThing) -> None:
    """An error found in the store has the revision it was found at; a bad value has none."""
    run(service.items.add(name="api"))
    found = []
    for call in (
        service.items.get("none"),
        service.items.add(name="api"),
        service.items.add(name=""),
    ):
        with pytest.raises(RequestError) as refusal:
            run(call)
        found.append(refusal.value.revision)

    assert found == [1, 1, None]


@given(
    size=st.integers(min_value=1, max_value=5),
    events=st.lists(
        st.lists(st.none() | st.integers(min_value=0, max_value=30), max_size=4), max_size=12
    ),
)
def test_pages_are_stable_under_additions_and_deletions(
    size: int, events: list[list[int | None]]
) -> None:
    """Between two pages items are added (None) and deleted (the n-th); the walk misses none.

    What is there from beginning to end is seen once and in order; nothing is seen twice.
    """

    async def walk() -> None:
        numbers = itertools.count()
        ids = (f"{number * 7919 % 1000:03}" for number in itertools.count())
        async with StatusThing(MemoryStore(), clock=Clock(), ids=lambda: next(ids)) as service:
            for _ in range(9):
                await service.items.add(name=str(next(numbers)))
            whole = [item.name for item in await service.items.list()]
            seen: list[str] = []
            gone: set[str] = set()
            page = await service.items.list(page_size=size)
            seen += [item.name for item in page]
            for happening in [*events, *([[]] * 60)]:
                for event in happening:
                    now = list(await service.items.list())
                    if event is None or not now:
                        await service.items.add(name=str(next(numbers)))
                    else:
                        victim = now[event % len(now)]
                        await service.items.delete(victim.id)
                        gone.add(victim.name)
                if not page.next_page_token:
                    break
                page = await service.items.list(page_size=size, page_token=page.next_page_token)
                seen += [item.name for item in page]

            assert not page.next_page_token
            assert sorted(set(seen), key=int) == seen
            assert [name for name in whole if name not in gone and name not in seen] == []

    asyncio.run(walk())


# The cost of a read


class Counted:
    """A transaction that counts the calls."""

    def __init__(self, tx: Transaction, calls: Counter[str]) -> None:
        self._tx = tx
        self._calls = calls

    def __getattr__(self, name: str) -> object:
        if name in {"get", "find", "count"}:
            self._calls[name] += 1
        return getattr(self._tx, name)


class CountingStore(MemoryStore):
    """A store that counts what its readers ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that only reads."""
        return await super().read(lambda tx: work(cast("Transaction", Counted(tx, self.calls))))


READS = {
    "GetItem": m.GetItemRequest(item_id="id1"),
    "ListItems": m.ListItemsRequest(),
    "ListItems, extended": m.ListItemsRequest(extended=True),
    "ListItems, a page": m.ListItemsRequest(extended=True, page_size=5),
    "ListItems, filtered": m.ListItemsRequest(
        extended=True, kinds=(1, 2), status_ids=("s0", "s1", "s2")
    ),
}


@pytest.mark.parametrize("request_", READS.values(), ids=READS)
def test_reads_ask_the_store_as_often_whatever_the_size(run: Run, request_: m.Request) -> None:
    """However many items and statuses there are, a read asks the store at most three times."""
    costs = []
    for size in (2, 40):
        store = CountingStore()
        service = opened(run, store, Clock())
        for number in range(size):
            status = StatusInput(id=f"s{number}", name=f"{number}", kind=1 + number % 2)
            run(service.items.add(name=f"{number}", initial_status=status, initial_note_text="a"))
            run(service.notes.add("id1", "b"))
        store.calls.clear()
        run(service.run(request_))
        costs.append(store.calls.copy())

    assert costs[0] == costs[1]
    assert costs[0].total() <= 3


# What a program gets


def test_a_read_after_a_write_shows_it(run: Run, service: StatusThing) -> None:
    """What `add` returns is also what `get` and an extended list return."""
    status = StatusInput(name="up", kind=StatusKind.UP)
    item: ItemView = run(
        service.items.add(name="api", initial_status=status, initial_note_text="hello")
    )

    assert run(service.items.get(item.id)) == item
    assert list(run(service.items.list(extended=True))) == [item]


def test_leaving_the_service_closes_the_store(run: Run) -> None:
    """`async with` opens the store and closes it, and the memory store keeps its data till then."""
    store = MemoryStore()

    async def program(name: str) -> list[str]:
        async with StatusThing(store) as service:
            await service.items.add(name=name)
            return [item.name for item in await service.items.list()]

    assert run(program("one")) == ["one"]
    assert run(program("two")) == ["one", "two"]
