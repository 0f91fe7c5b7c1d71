"""The contract between StatusThing and whatever keeps its data.

A store runs **units of work**: plain synchronous functions over a `Transaction`. It decides where
they run, how often, and how many share a commit. The rules below are what every store promises
and what every unit may rely on; they are cited by number where they are tested.

**Units**

* **R1** A unit sees one snapshot: what it reads does not change under it, and in a write it sees
  its own changes.
* **R2** A write happens whole or not at all. A unit that raises leaves no trace, and what it
  raised reaches its caller.
* **R3** A write that was acknowledged is durable, as far as the store is persistent at all.
* **R4** Writes happen one at a time, as if in one line: no lost update between threads, event
  loops or processes.
* **R5** A unit may run more than once before it is acknowledged; only its last run counts. It
  therefore draws no ids, reads no clock, awaits nothing and does no I/O besides its transaction.
* **R6** A unit started inside a unit raises `NestedUnit`.
* **R7** A cancelled write that has not begun is dropped; one that has begun runs to its end.
* **R8** A store may be used from any thread and event loop of the process that opened it; results
  reach the caller's loop. In a forked child it raises `StoreClosed`.

**Records**

* **R9** A record comes back equal to what was added, text by code point and instants to the
  microsecond in UTC, and so does an entry of the log. A caller cannot change what is
  stored through an object that it holds. Units write, and ask for, no U+0000, no lone surrogate and
  no integer of more than 64 bits: a store may fail them.
* **R10** `add` refuses an id that is there (`AlreadyExists`, field `id`), a value taken in a
  unique field (`AlreadyExists`, naming the field) and a reference to nothing
  (`MissingReference`). A None field never conflicts and refers to nothing. Text is compared by code
  point.
* **R11** `replace` refuses what `add` refuses, a record that is not there (`NotFound`), and a
  stored version other than `expect` (`VersionConflict`). It writes the whole record.
* **R12** `remove` refuses a record that is not there (`NotFound`) and one that others refer to
  (`InUse`, with their number).
* **R13** `remove_where` takes away at most `limit` matching records, first in order first, of
  types that are not logged and of the log itself, and returns how many.

**Queries**

* **R14** Conditions are joined by AND. A plain value asks for equality (None: for None), a
  frozenset for membership (empty: nothing matches), a `Range` for `ge <= value < lt`, which
  None never satisfies.
* **R15** Records come in the order `(created, id)`, changes in `(revision, seq)`, ids compared by
  code point; `descending` reverses it. `after` continues strictly behind a key in that order;
  `limit` cuts.
* **R16** `newest_per=(field, n)` keeps, for each value of `field`, the n records that come last
  in ascending order, n being at least 1; the result is ordered as ever.
* **R17** `count` is the length of what `find` would return without `limit` and `after`.

**The log**

* **R18** In a write `transaction.revision` is the revision that the unit will have, the head plus
  one; in a read, the snapshot's head. A unit that appends no change, or fails, uses up no
  revision: revisions have no gaps. An empty store has head 0.
* **R19** A unit that changes a logged record appends at least one change, and a change needs such
  a unit; otherwise it fails with `UnloggedWrite`. Entries carry the unit's revision and count
  `seq` from 0.
* **R20** `transaction.now` in a write is the later of the caller's `now` and the head's time plus
  one microsecond, and becomes the head's time: times agree with the order of commits, whatever
  the clocks of several machines say. In a read it is the head's time.
* **R21** `transaction.public_revision` is the last revision with a public change, as of the
  snapshot.
* **R22** `wait(after)` returns the head as soon as it is above `after`, at once if it is already,
  whichever process
  moved it. Cancelling it is harmless; `close` ends it with `StoreClosed`.

**Life**

* **R23** `open` lays out an empty store; it refuses an older layout (`SchemaOutdated`) and a
  newer one (`SchemaTooNew`) and leaves both untouched. `migrate` upgrades under the store's own
  lock and does nothing when nothing is to do. `open` on an open store and `close` on a closed one
  do nothing.
* **R24** Only the errors of `statusthing.errors` escape, chained to the driver's own. A store
  that cannot be reached raises `StoreUnavailable`; a closed one `StoreClosed`.

Stores are dumb on purpose: no clock, no ids, no policy, no default data, no wire formats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from statusthing.errors import SchemaTooNew, StoreError
from statusthing.log import Change
from statusthing.model import RECORDS, Record, RecordSpec

T = TypeVar("T")
R = TypeVar("R", bound="Record")
Q = TypeVar("Q", bound="Record | Change")


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """A half-open range: `ge <= value < lt`; None leaves a side open."""

    ge: Any = None
    lt: Any = None


class Query(msgspec.Struct, Generic[Q], frozen=True):
    """What to find (R14-R16).

    Args:
        kind: the record type, or `Change`.
        where: field to a value, a frozenset of values, or a `Range`.
        descending: newest first.
        after: the key of the record to continue behind: `(created, id)`, or `(revision, seq)`.
        limit: the most records to return; None for all.
        newest_per: `(field, n)`, see R16.
    """

    kind: type[Q]
    where: Mapping[str, Any] = MappingProxyType({})
    descending: bool = False
    after: tuple[Any, Any] | None = None
    limit: int | None = None
    newest_per: tuple[str, int] | None = None


class SchemaState(msgspec.Struct, frozen=True, kw_only=True):
    """The layout of an open store.

    Attributes:
        version: the layout's name.
        created: whether `open` found nothing and laid it out.
    """

    version: str
    created: bool


class Transaction(Protocol):
    """What a unit of work does to a store. Valid during the unit only."""

    @property
    def revision(self) -> int:
        """See R18."""

    @property
    def public_revision(self) -> int:
        """See R21."""

    @property
    def now(self) -> datetime:
        """See R20."""

    def get(self, kind: type[R], id: str) -> R:
        """Return the record, or raise NotFound."""

    def find(self, query: Query[Q]) -> Sequence[Q]:
        """Return what matches, in order (R14-R16)."""

    def count(self, query: Query[Any]) -> int:
        """Count what matches (R17)."""

    def add(self, record: Record) -> None:
        """Add a record (R10). Raises AlreadyExists, MissingReference."""

    def replace(self, record: Record, *, expect: int) -> None:
        """Put a record in the place of its version `expect` (R11).

        Raises NotFound, VersionConflict, AlreadyExists, MissingReference.
        """

    def remove(self, kind: type[Record], id: str) -> None:
        """Remove a record (R12). Raises NotFound, InUse."""

    def remove_where(self, query: Query[Any], *, limit: int) -> int:
        """Remove unlogged records or old changes, and return how many (R13)."""

    def append(self, change: Change) -> None:
        """Append to the log (R19)."""


class Store(Protocol):
    """Keeps records and their log. Obeys the rules above."""

    @property
    def schema(self) -> SchemaState:
        """The layout found by `open`."""

    @property
    def url(self) -> str:
        """Where the data is, as a URL without any password: for the operator's eyes."""

    @property
    def shared(self) -> bool:
        """Whether several processes may have it open at once, and then see the same."""

    async def open(self) -> None:
        """Make the store ready (R23)."""

    async def migrate(self) -> None:
        """Bring the layout up to date (R23). Works on a store that is not open."""

    async def close(self) -> None:
        """Let go of everything; waiting calls end with StoreClosed."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a unit that only reads, and return what it returns."""

    async def write(self, work: Callable[[Transaction], T], *, now: datetime) -> T:
        """Run a unit that may write.

        Args:
            work: the unit.
            now: the caller's clock, aware and in UTC; see R20.
        """

    async def wait(self, after: int) -> int:
        """Return the head once it is above `after` (R22)."""


def _with_origin(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "address": "", "correlation_id": ""}


# The log is no record type, but is kept beside the records.
_LOG = RecordSpec(upgrades=(_with_origin,))


def _specs() -> dict[type[Any], RecordSpec]:
    return {**RECORDS, Change: _LOG}


def schemas() -> dict[str, int]:
    """Return the schema number that `pack` gives to each kind, by the kind's name.

    A store that keeps packed data keeps these numbers beside it, to tell at `open` whether the data
    is older or newer than the software (R23).
    """
    return {kind.__name__: spec.schema for kind, spec in _specs().items()}


def pack(row: Record | Change) -> dict[str, Any]:
    """Turn a record or an entry of the log into JSON-able data.

    It holds the name of the kind, the number of its schema, and all fields: text as it is,
    enumerations by value, instants in UTC as RFC 3339 writes them, exact to the microsecond. That
    text of instants does not sort by time; see `statusthing.model.microseconds`.
    """
    kind = type(row)
    return {
        "kind": kind.__name__,
        "schema": _specs()[kind].schema,
        "fields": msgspec.to_builtins(row),
    }


def unpack(data: Mapping[str, Any]) -> Record | Change:
    """Turn what `pack` made, now or in an older version of this software, back into what it was.

    The fields of an older schema go through the upgrades of its `RecordSpec`, one after the other.

    Raises:
        SchemaTooNew: the kind, or its schema, is not known yet.
        StoreError: this is not what `pack` makes; fields that are missing, or too many, count too.
    """
    match data:
        case {"kind": str(name), "schema": int(number), "fields": dict(fields)} if number > 0:
            pass
        case _:
            raise StoreError("the data is not a packed record: it lacks kind, schema or fields")
    if number > schemas().get(name, 0):
        msg = f"the data holds a {name} of schema {number}: install the newer version"
        raise SchemaTooNew(msg)
    kind = {each.__name__: each for each in _specs()}[name]
    try:
        for upgrade in _specs()[kind].upgrades[number - 1 :]:
            fields = upgrade(dict(fields))
        row: Record | Change = msgspec.convert(fields, kind)
    except (LookupError, TypeError, ValueError) as error:
        msg = f"a packed {name} of schema {number} is damaged: {error}"
        raise StoreError(msg) from error
    if wrong := sorted(fields.keys() ^ set(kind.__struct_fields__)):
        msg = f"a packed {name} of schema {number} lacks, or should not have: {', '.join(wrong)}"
        raise StoreError(msg)
    return row
