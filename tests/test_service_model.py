"""The service against a model of it in dictionaries, over both stores that come with the project.

Hypothesis makes up programs of operations. After each step the service and the model must have
given the same answer or the same refusal, and must hold the same records in the same order; the
log must be without gaps, and replay to what the store holds.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from statusthing import (
    TRUSTED,
    ItemView,
    NoteView,
    Principal,
    Role,
    StatusInput,
    StatusKind,
    StatusThing,
    StatusView,
)
from statusthing.errors import (
    AlreadyExists,
    InUse,
    InvalidArgument,
    NotFound,
    RequestError,
    VersionConflict,
)
from statusthing.log import Action, Change
from statusthing.memory import MemoryStore
from statusthing.model import Item, Note, Record, Status, Timestamps
from statusthing.service import messages as m
from statusthing.service.operations import OPERATIONS
from statusthing.store import Query, Store, Transaction
from statusthing_sqlite import SqliteStore

Row = dict[str, Any]
"""A record as the model has it: field to value."""

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DAY = timedelta(hours=24)
EDITOR = Principal(name="editor", role=Role.EDITOR)
BY_NUMBER = tuple(StatusKind)
RECORDS: Mapping[str, type[Record]] = {"Status": Status, "Item": Item, "Note": Note}


class Model:
    """What the service should do, over one dictionary of rows for each kind, oldest row first."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = {kind: {} for kind in RECORDS}
        self.kept: dict[tuple[str, str, str], tuple[m.Request, Any, datetime]] = {}
        self.log: list[tuple[int, int, datetime, str, Action, str, str]] = []
        self.head = 0
        self.time = START - DAY

    def carry_out(
        self, request: m.Request, caller: Principal, clock: datetime, ids: Mapping[str, str]
    ) -> Any:
        """Return the response, or raise the refusal.

        Args:
            request: what is asked.
            caller: who asks.
            clock: what the service's clock shows.
            ids: the ids that the service gave to what it added, by kind.
        """
        self.now = max(clock, self.time + TICK)
        self.ids = ids
        self.written: list[tuple[Action, str, str]] = []
        name = type(request).__name__.removesuffix("Request")
        key = (caller.name, name, getattr(request, "request_id", ""))
        first, answer, expires = self.kept.get(key, (request, None, self.now))
        if expires > self.now:
            valid(first == request)
            return answer
        before = {kind: dict(rows) for kind, rows in self.rows.items()}
        try:
            response = getattr(self, name)(request)
        except RequestError:
            self.rows = before
            raise
        if key[-1]:
            self.kept[key] = (request, response, self.now + DAY)
        if self.written:
            self.head += 1
            self.time = self.now
            for seq, entry in enumerate(self.written):
                self.log.append((self.head, seq, self.now, caller.name, *entry))
        return response

    # The rows

    def find(self, kind: str, id: str, expected_version: int = 0) -> Row:
        """Return a row, or refuse."""
        if id not in self.rows[kind]:
            raise NotFound(kind, id)
        row = self.rows[kind][id]
        if expected_version not in (0, row["version"]):
            raise VersionConflict(kind, id, expected=expected_version, actual=row["version"])
        return row

    def put(self, action: Action, kind: str, row: Row) -> Row:
        """Put a row in its place, unless another has its name."""
        for other in self.rows[kind].values():
            if kind != "Note" and other["name"] == row["name"] and other["id"] != row["id"]:
                raise AlreadyExists(kind, "name", row["name"])
        self.rows[kind][row["id"]] = row
        self.written.append((action, kind, row["id"]))
        return row

    def add(self, kind: str, id: str = "", /, **fields: Any) -> Row:
        """Add a row, with the id that the service gave it or the one that was asked for."""
        id = id or self.ids.get(kind, "?")
        row = {"id": id, "created": self.now, "updated": self.now, "version": 1, **fields}
        return self.put(Action.ADDED, kind, row)

    def update(self, kind: str, row: Row, fields: Row) -> None:
        """Set fields of a row; setting what is there already is nothing."""
        if row | fields != row:
            new = {"version": row["version"] + 1, "updated": self.now}
            self.put(Action.REPLACED, kind, row | fields | new)

    def remove(self, kind: str, id: str) -> None:
        """Remove a row."""
        del self.rows[kind][id]
        self.written.append((Action.REMOVED, kind, id))

    # What is shown

    def status(self, row: Row) -> StatusView:
        """Show a status."""
        return msgspec.convert(shown(row), StatusView)

    def note(self, row: Row) -> NoteView:
        """Show a note."""
        return msgspec.convert(shown(row), NoteView)

    def item(self, row: Row, *, extended: bool = True) -> ItemView:
        """Show an item."""
        status = self.rows["Status"].get(row["status_id"])
        notes = self.notes(row["id"]) if extended else []
        return msgspec.structs.replace(
            msgspec.convert(shown(row), ItemView),
            status=status and self.status(status),
            notes=tuple(notes),
        )

    def items(self) -> list[ItemView]:
        """Show all items."""
        return [self.item(row) for row in self.rows["Item"].values()]

    def notes(self, item_id: str) -> list[NoteView]:
        """Show an item's notes."""
        return [self.note(row) for row in self.rows["Note"].values() if row["item_id"] == item_id]

    def statuses(self, kinds: Sequence[m.Kind] = ()) -> list[StatusView]:
        """Show the statuses of some kinds, or all."""
        wanted = {kind_of(kind) for kind in kinds}
        rows = self.rows["Status"].values()
        return [self.status(row) for row in rows if not kinds or row["kind"] in wanted]

    # The operations; a list returns everything, whatever its page

    def GetItem(self, request: m.GetItemRequest) -> Any:
        """An item has its status and notes."""
        valid(request.item_id)
        return m.GetItemResponse(item=self.item(self.find("Item", request.item_id)))

    def ListItems(self, request: m.ListItemsRequest) -> Any:
        """The filters are joined by AND, and the values of each by OR."""
        of_kind = {status.id for status in self.statuses(request.kinds)}
        return [
            self.item(row, extended=request.extended)
            for row in self.rows["Item"].values()
            if (not request.status_ids or row["status_id"] in request.status_ids)
            and (not request.kinds or row["status_id"] in of_kind)
        ]

    def AddItem(self, request: m.AddItemRequest) -> Any:
        """The status comes first, then the item, then the note: all or nothing."""
        given, text = request.initial_status, request.initial_note_text
        name_and_description(request)
        valid(not text or good(text))
        status = None
        if request.initial_status_id:
            status = self.find("Status", request.initial_status_id)
        elif given is not None:
            valid(given.id != "a b")
            status = self.rows["Status"].get(given.id) or self.new_status(given, given.id)
        item = self.add(
            "Item",
            name=request.name,
            description=request.description,
            status_id=status and status["id"],
            position=request.position,
        )
        if text:
            self.add("Note", item_id=item["id"], text=text)
        return m.AddItemResponse(item=self.item(item))

    def UpdateItem(self, request: m.UpdateItemRequest) -> Any:
        """An item keeps what is not set."""
        valid(request.item_id)
        fields = sets(request, "name", "description", "status_id", "position")
        row = self.find("Item", request.item_id, request.expected_version)
        if "status_id" in fields:
            id = fields["status_id"]
            fields["status_id"] = self.find("Status", id)["id"] if id else None
        self.update("Item", row, fields)
        return m.UpdateItemResponse()

    def DeleteItem(self, request: m.DeleteItemRequest) -> Any:
        """An item's notes are deleted with it."""
        valid(request.item_id)
        self.find("Item", request.item_id, request.expected_version)
        for note in self.notes(request.item_id):
            self.remove("Note", note.id)
        self.remove("Item", request.item_id)
        return m.DeleteItemResponse()

    def GetStatus(self, request: m.GetStatusRequest) -> Any:
        """A status is shown as it is."""
        valid(request.status_id)
        return m.GetStatusResponse(status=self.status(self.find("Status", request.status_id)))

    def ListStatus(self, request: m.ListStatusRequest) -> Any:
        """The kinds are joined by OR."""
        return self.statuses(request.kinds)

    def AddStatus(self, request: m.AddStatusRequest) -> Any:
        """A status has a name of its own."""
        return m.AddStatusResponse(status=self.status(self.new_status(request)))

    def new_status(self, given: m.AddStatusRequest | StatusInput, id: str = "") -> Row:
        """Add a status, on its own or with an item."""
        name_and_description(given)
        color = given.color or "#5DFC0A"
        valid(color not in BAD_COLORS)
        return self.add(
            "Status",
            id,
            name=given.name,
            description=given.description,
            color=color,
            kind=kind_of(given.kind),
        )

    def UpdateStatus(self, request: m.UpdateStatusRequest) -> Any:
        """A status keeps what is not set."""
        valid(request.status_id)
        fields = sets(request, "name", "description", "color", "kind")
        row = self.find("Status", request.status_id, request.expected_version)
        self.update("Status", row, fields)
        return m.UpdateStatusResponse()

    def DeleteStatus(self, request: m.DeleteStatusRequest) -> Any:
        """A status that items have stays."""
        valid(request.status_id)
        self.find("Status", request.status_id, request.expected_version)
        users = [row for row in self.rows["Item"].values() if row["status_id"] == request.status_id]
        if users:
            raise InUse("Status", request.status_id, len(users))
        self.remove("Status", request.status_id)
        return m.DeleteStatusResponse()

    def GetNote(self, request: m.GetNoteRequest) -> Any:
        """A note is shown as it is."""
        valid(request.note_id)
        return m.GetNoteResponse(note=self.note(self.find("Note", request.note_id)))

    def ListNotes(self, request: m.ListNotesRequest) -> Any:
        """An item that is not there has no notes to list."""
        valid(request.item_id)
        return self.notes(self.find("Item", request.item_id)["id"])

    def AddNote(self, request: m.AddNoteRequest) -> Any:
        """A note belongs to an item that is there."""
        valid(request.item_id, good(request.note_text))
        item = self.find("Item", request.item_id)
        note = self.add("Note", item_id=item["id"], text=request.note_text)
        return m.AddNoteResponse(note=self.note(note))

    def UpdateNote(self, request: m.UpdateNoteRequest) -> Any:
        """A note always has a text."""
        valid(request.note_id, good(request.note_text), set(request.update_mask) <= {"note_text"})
        row = self.find("Note", request.note_id, request.expected_version)
        self.update("Note", row, {"text": request.note_text})
        return m.UpdateNoteResponse()

    def DeleteNote(self, request: m.DeleteNoteRequest) -> Any:
        """Deleting a note affects nothing else."""
        valid(request.note_id)
        self.find("Note", request.note_id, request.expected_version)
        self.remove("Note", request.note_id)
        return m.DeleteNoteResponse()


# The model's rules for values: every value that the programs use is here, so that lists will do.

BAD_TEXTS = ["", " \u3000", "a\x00b"]
BAD_NAMES = [*BAD_TEXTS, "two\nlines"]
BAD_COLORS = ["#12345", "transparent"]


def valid(*conditions: object) -> None:
    """Refuse a request that breaks a rule for values."""
    if not all(conditions):
        raise InvalidArgument("", "some value breaks a rule")


def good(text: str) -> bool:
    """Tell whether a note can have this text."""
    return text not in BAD_TEXTS


def name_and_description(given: Any) -> None:
    """Refuse a bad name or description."""
    valid(given.name not in BAD_NAMES, "\x00" not in given.description)


def kind_of(kind: m.Kind) -> StatusKind:
    """Return the kind that a caller means."""
    number = kind if isinstance(kind, int) else BY_NUMBER.index(kind)
    valid(0 < number < len(BY_NUMBER))
    return BY_NUMBER[number]


def sets(request: Any, *paths: str) -> Row:
    """Return what an update sets: what its mask names, or else what is not empty."""
    valid(set(request.update_mask) <= set(paths))
    empty = ("", 0, StatusKind.UNKNOWN)
    fields = {path: getattr(request, path) for path in paths}
    named = request.update_mask or [path for path in paths if fields[path] not in empty]
    fields = {path: fields[path] for path in named}
    if "kind" in fields:
        fields["kind"] = kind_of(fields["kind"])
    if "color" in fields:
        fields["color"] = fields["color"] or "#5DFC0A"
        valid(fields["color"] not in BAD_COLORS)
    valid(fields.get("name") not in BAD_NAMES, "\x00" not in fields.get("description", ""))
    return fields


def shown(row: Row) -> Row:
    """Return the part of a row that callers see as it is."""
    fields = {field.rstrip("_"): value for field, value in row.items()}
    times = Timestamps(created=fields.pop("created"), updated=fields.pop("updated"))
    camel = {"item_id": "itemId"}
    return {
        **{camel.get(field, field): value for field, value in fields.items()},
        "timestamps": times,
    }


def mostly(good: Sequence[Any], bad: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Draw a good value nine times out of ten, so that most steps do something."""
    return st.sampled_from([*good] * 9 * len(bad) + [*bad] * len(good))


# Few values, so that they collide.
NAMES = mostly(["api", "web", "API", "é", "e\u0301", "ß", "\U0001f6a6", " b"], BAD_NAMES)
DESCRIPTIONS = mostly(["", "one\r\n\ttwo ", "\u202e"], ["a\x00b"])
TEXTS = mostly(["hello", "bye\n", "\ufeff", "e\u0301", "a'; --"], BAD_TEXTS)
COLORS = mostly(["", "red", "RED", "#ABC", "#5DFC0A"], BAD_COLORS)
KINDS = mostly([StatusKind.UP, StatusKind.DOWN, StatusKind.DECOMM], [StatusKind.UNKNOWN, 12])
FILTERS = mostly([(), (StatusKind.UP,), (1, 2), (StatusKind.DECOMM,)], [(0,), (1, 12)])
POSITIONS = st.sampled_from([0, 1, -(2**31), 2**31 - 1])
VERSIONS = st.sampled_from([0, 0, 0, 0, 1, 2, 3])
SIZES = st.sampled_from([0, 1, 2, 3, 1_000])
KEYS = st.sampled_from(["", "k1", "k2"])
CALLERS = st.sampled_from([TRUSTED, EDITOR])
STEPS = st.sampled_from([0, 1, 3_600, 43_200, 86_400, -7_200]).map(lambda s: timedelta(seconds=s))


def masks(*paths: str) -> st.SearchStrategy[tuple[str, ...]]:
    """Draw an update mask: often none, seldom wrong."""
    return st.just(()) | st.lists(mostly(paths, ["id"]), max_size=3).map(tuple)


class Service(RuleBasedStateMachine):
    """Programs of operations. A test case says over which store."""

    item_ids = Bundle("item_ids")
    status_ids = Bundle("status_ids")
    note_ids = Bundle("note_ids")
    keyed = Bundle("keyed")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.clock = START
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.new_store(Path(self.folder.name))
        # Ids that neither rise nor fall, so that no list can be in order by accident.
        fresh = (f"{number * 7919 % 10_007:05}" for number in itertools.count(1))
        self.service = StatusThing(self.store, clock=lambda: self.clock, ids=lambda: next(fresh))
        self.runner.run(self.store.open())

    def new_store(self, folder: Path) -> Store:
        """Return the store to test, with its files, if any, in the folder."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Let go of everything."""
        self.runner.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()

    def ask(self, request: m.Request, caller: Principal = TRUSTED) -> Any:
        """Ask the service and the model, and return the answer; None where both refuse."""
        answer: Any = None
        refusal: RequestError | None = None
        ids: dict[str, str] = {}
        try:
            answer = self.runner.run(self.service.run(request, principal=caller))
        except RequestError as error:
            refusal = error
        else:
            ids = added(answer.response)
        try:
            expected = self.model.carry_out(request, caller, self.clock, ids)
        except RequestError as error:
            expected = error
        if refusal or isinstance(expected, RequestError):
            assert isinstance(refusal, type(expected))  # a reference to nothing is not found
            assert isinstance(refusal, InvalidArgument) or str(refusal) == str(expected)
            return None
        assert answer.revision == self.model.head
        if isinstance(expected, list):
            return expected
        assert answer.response == expected
        return answer.response

    def walk(self, request: Any, size: int) -> None:
        """Ask for a list page by page, and compare the whole of it."""
        expected = self.ask(request)
        if expected is None:
            return
        pages: list[list[Any]] = []
        token = ""
        while token or not pages:
            page = msgspec.structs.replace(request, page_size=size, page_token=token)
            response = self.runner.run(self.service.run(page)).response
            pages.append(list(response))
            token = response.next_page_token
        assert [each for page in pages for each in page] == expected
        assert all(len(page) == size for page in pages[:-1])
        assert not size or len(pages[-1]) <= size

    # Writing

    @initialize(target=item_ids)
    def begin_with_items(self) -> Any:
        """Begin with an item that has everything, one that has nothing, and one that is none."""
        up = StatusInput(id="up", name="up", kind=StatusKind.UP)
        full = self.ask(m.AddItemRequest(name="full", initial_status=up)).item
        bare = self.ask(m.AddItemRequest(name="bare")).item
        return multiple(full.id, bare.id, "none")

    @initialize(target=status_ids)
    def begin_with_statuses(self) -> Any:
        """Begin with a status that is used, one that is not, and one that is none."""
        down = self.ask(m.AddStatusRequest(name="down", kind=StatusKind.DOWN)).status
        return multiple("up", down.id, "a b")

    @initialize(target=note_ids, item_id=item_ids)
    def begin_with_notes(self, item_id: str) -> Any:
        """Begin with a note on one of the items."""
        return self.add_note(item_id=item_id, note_text="hello")

    @rule(step=STEPS)
    def time_passes(self, step: timedelta) -> None:
        """The clock goes on, stands still or goes back."""
        self.clock += step

    @rule(
        target=status_ids,
        name=NAMES,
        description=DESCRIPTIONS,
        color=COLORS,
        kind=KINDS,
    )
    def add_status(self, **fields: Any) -> Any:
        """Add a status."""
        response = self.ask(m.AddStatusRequest(**fields))
        return response.status.id if response else multiple()

    @rule(
        target=item_ids,
        name=NAMES,
        description=DESCRIPTIONS,
        initial_status_id=st.just("") | status_ids,
        initial_status=st.none()
        | st.builds(
            StatusInput,
            id=st.just("") | status_ids | st.sampled_from(["up", "chosen"]),
            name=NAMES,
            color=COLORS,
            kind=KINDS,
        ),
        initial_note_text=st.just("") | TEXTS,
        position=POSITIONS,
    )
    def add_item(self, **fields: Any) -> Any:
        """Add an item in one of the many ways."""
        response = self.ask(m.AddItemRequest(**fields))
        return response.item.id if response else multiple()

    @rule(target=note_ids, item_id=item_ids, note_text=TEXTS)
    def add_note(self, **fields: Any) -> Any:
        """Add a note."""
        response = self.ask(m.AddNoteRequest(**fields))
        return response.note.id if response else multiple()

    @rule(
        target=keyed,
        request=st.builds(m.AddItemRequest, name=NAMES, initial_note_text=TEXTS, request_id=KEYS)
        | st.builds(m.AddStatusRequest, name=NAMES, kind=KINDS, request_id=KEYS)
        | st.builds(m.AddNoteRequest, item_id=item_ids, note_text=TEXTS, request_id=KEYS),
        caller=st.sampled_from([TRUSTED, EDITOR]),
    )
    def add_once(self, request: m.Request, caller: Principal) -> Any:
        """Add with an idempotency key."""
        self.ask(request, caller)
        return request, caller

    @rule(again=keyed)
    def repeat(self, again: tuple[m.Request, Principal]) -> None:
        """Repeat a request with its key: soon, later, or after a day."""
        self.ask(*again)

    @rule(
        item_id=item_ids,
        name=st.just("") | NAMES,
        description=DESCRIPTIONS,
        status_id=st.just("") | status_ids,
        position=POSITIONS,
        update_mask=masks("name", "description", "status_id", "position"),
        expected_version=VERSIONS,
    )
    def update_item(self, **fields: Any) -> None:
        """Update an item."""
        self.ask(m.UpdateItemRequest(**fields))

    @rule(
        status_id=status_ids,
        name=st.just("") | NAMES,
        description=DESCRIPTIONS,
        color=COLORS,
        kind=st.just(0) | st.just(StatusKind.UNKNOWN) | KINDS,
        update_mask=masks("name", "description", "color", "kind"),
        expected_version=VERSIONS,
    )
    def update_status(self, **fields: Any) -> None:
        """Update a status."""
        self.ask(m.UpdateStatusRequest(**fields))

    @rule(
        note_id=note_ids,
        note_text=TEXTS,
        update_mask=masks("note_text"),
        expected_version=VERSIONS,
    )
    def update_note(self, **fields: Any) -> None:
        """Update a note."""
        self.ask(m.UpdateNoteRequest(**fields))

    @rule(item_id=item_ids, expected_version=VERSIONS)
    def delete_item(self, **fields: Any) -> None:
        """Delete an item."""
        self.ask(m.DeleteItemRequest(**fields))

    @rule(status_id=status_ids, expected_version=VERSIONS)
    def delete_status(self, **fields: Any) -> None:
        """Delete a status."""
        self.ask(m.DeleteStatusRequest(**fields))

    @rule(note_id=note_ids, expected_version=VERSIONS)
    def delete_note(self, **fields: Any) -> None:
        """Delete a note."""
        self.ask(m.DeleteNoteRequest(**fields))

    # Reading

    @rule(item_id=item_ids, status_id=status_ids, note_id=note_ids)
    def get(self, item_id: str, status_id: str, note_id: str) -> None:
        """Get one of each."""
        self.ask(m.GetItemRequest(item_id=item_id))
        self.ask(m.GetStatusRequest(status_id=status_id))
        self.ask(m.GetNoteRequest(note_id=note_id))

    @rule(
        status_ids=st.just(()) | st.lists(status_ids, max_size=3).map(tuple),
        kinds=FILTERS,
        extended=st.booleans(),
        size=SIZES,
    )
    def list_items(self, size: int, **fields: Any) -> None:
        """List items."""
        self.walk(m.ListItemsRequest(**fields), size)

    @rule(kinds=FILTERS, size=SIZES)
    def list_statuses(self, kinds: tuple[m.Kind, ...], size: int) -> None:
        """List statuses."""
        self.walk(m.ListStatusRequest(kinds=kinds), size)

    @rule(item_id=item_ids, size=SIZES)
    def list_notes(self, item_id: str, size: int) -> None:
        """List the notes of an item."""
        self.walk(m.ListNotesRequest(item_id=item_id), size)

    # What always holds

    @invariant()
    def same_contents(self) -> None:
        """The store holds the model's rows: every field, version and time, in order."""
        items = self.runner.run(self.service.run(m.ListItemsRequest(extended=True)))
        statuses = self.runner.run(self.service.run(m.ListStatusRequest()))

        assert items.revision == statuses.revision == self.model.head
        assert list(items.response) == self.model.items()
        assert list(statuses.response) == self.model.statuses()

    @invariant()
    def same_log(self) -> None:
        """The log has the model's entries, and replays to what the store holds."""
        log = self.runner.run(self.store.read(lambda tx: tx.find(Query(Change))))
        assert [
            (each.revision, each.seq, each.at, each.actor, each.action, each.kind, each.subject)
            for each in log
        ] == self.model.log

        replayed: dict[str, dict[str, Any]] = {kind: {} for kind in RECORDS}
        for change in log:
            rows = replayed[change.kind]
            assert rows.get(change.subject) == change.before
            if change.after is None:
                del rows[change.subject]
            else:
                rows[change.subject] = change.after
        assert replayed == msgspec.to_builtins(self.model.rows)
        for kind, rows in replayed.items():
            found = self.runner.run(self.store.read(finding(Query(RECORDS[kind]))))
            assert [msgspec.to_builtins(record) for record in found] == list(rows.values())


def finding(query: Query[Record]) -> Callable[[Transaction], Sequence[Record]]:
    """Return a unit that finds what matches."""
    return lambda tx: tx.find(query)


def added(response: Any) -> dict[str, str]:
    """Return the ids of what a response shows, by kind."""
    item = getattr(response, "item", None)
    status = getattr(response, "status", None) or getattr(item, "status", None)
    notes = getattr(item, "notes", ()) or filter(None, [getattr(response, "note", None)])
    views = {"Item": item, "Status": status, "Note": next(iter(notes), None)}
    return {kind: view.id for kind, view in views.items() if view}


def test_the_model_has_every_operation() -> None:
    """An operation on what is shown that the programs cannot use would go untested."""
    shown = {"ItemsService", "StatusService", "NotesService"}

    assert {row.name for row in OPERATIONS.values() if row.service in shown} <= set(dir(Model))


class OverMemory(Service):
    """Over the memory store."""

    def new_store(self, folder: Path) -> Store:
        """Make a store in memory."""
        return MemoryStore()


class OverSqlite(Service):
    """Over the SQLite store."""

    def new_store(self, folder: Path) -> Store:
        """Make a store in the folder."""
        return SqliteStore(folder / "statusthing.db")


TestOverMemory = OverMemory.TestCase
TestOverMemory.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
TestOverSqlite = OverSqlite.TestCase
TestOverSqlite.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, derandomize=True
)
