"""Records: R9 to R13."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statusthing.errors import (
    AlreadyExists,
    InUse,
    MissingReference,
    NotFound,
    VersionConflict,
)
from statusthing.log import Action, Change, describe
from statusthing.model import RECORDS, Item, KeptAnswer, Record, Status
from statusthing.store import Query, Range, Transaction
from statusthing.testing.client import Client
from statusthing.testing.rules import rule
from statusthing.testing.samples import (
    INSTANTS,
    NOW,
    SAMPLES,
    TEXTS,
    TICK,
    add,
    change,
    item,
    kept,
    log,
    note,
    status,
)

UNIQUE = [(kind, field) for kind, spec in RECORDS.items() for field in spec.unique]
REFERENCES = [(kind, field) for kind, spec in RECORDS.items() for field in spec.references]


def _name(part: Any) -> str:
    return part if isinstance(part, str) else str(part.__name__)


def _another(kind: type[Any], *, like: str) -> Any:
    """Make a record of another id that shares no unique value with the samples but `like`."""
    sample = next(
        each for each in SAMPLES if type(each) is kind and getattr(each, like) is not None
    )
    others = {field: "another" for field in RECORDS[kind].unique if field != like}
    return msgspec.structs.replace(sample, id="another", **others)


class Records:
    """R9 to R13."""

    @rule(9)
    @pytest.mark.parametrize("sample", SAMPLES, ids=lambda record: type(record).__name__)
    def test_a_record_comes_back_as_it_was(self, client: Client, sample: Record) -> None:
        """Every field comes back exact to the code point and the microsecond."""
        client.add(*SAMPLES)

        back = client.read(lambda transaction: transaction.get(type(sample), sample.id))

        assert back == sample
        assert back.created.utcoffset() == timedelta(0), "instants are aware, and in UTC"
        assert client.find(type(sample), where={"id": sample.id}) == [sample]

    @rule(9)
    def test_a_change_comes_back_as_it_was(self, client: Client) -> None:
        """The log keeps every field of a change."""
        fields: dict[str, Any] = {
            "at": NOW + TICK,
            "actor": "süß",
            "action": Action.REPLACED,
            "before": {"a": [1, None, {"b": 1.5}], "é": "\U0001f600"},
            "after": None,
            "public": False,
        }

        def work(transaction: Transaction) -> None:
            transaction.add(item("i"))
            transaction.append(change(transaction, 0, item("i"), **fields))

        client.write(work)
        [found] = client.find(Change)

        assert (found.revision, found.seq, found.kind, found.subject) == (1, 0, "Item", "i")
        assert {name: getattr(found, name) for name in fields} == fields
        assert found.at.utcoffset() == timedelta(0)

    @rule(9)
    def test_a_stored_change_cannot_be_changed(self, client: Client) -> None:
        """Changing what was passed in or returned does not change what is stored."""
        details = {"name": "a"}

        def work(transaction: Transaction) -> None:
            transaction.add(item("i"))
            transaction.append(change(transaction, 0, item("i"), after=details))

        client.write(work)
        details["name"] = "b"
        [found] = client.find(Change)
        assert found.after == {"name": "a"}
        found.after["name"] = "c"

        assert client.find(Change)[0].after == {"name": "a"}

    @rule(9)
    def test_a_stored_sequence_cannot_be_changed(self, client: Client) -> None:
        """Changing what `find` returned, in a unit or after it, changes nothing in the store."""
        client.add(item("i"))

        def work(transaction: Transaction) -> tuple[Any, ...]:
            found = transaction.find(Query(Item)), transaction.find(Query(Change))
            for each in found:
                _empty(each)
            return (
                *found,
                len(transaction.find(Query(Item))),
                len(transaction.find(Query(Change))),
            )

        *found, items, changes = client.write(work)
        for each in (*found, client.read(lambda transaction: transaction.find(Query(Item)))):
            _empty(each)

        assert (items, changes) == (1, 1)
        assert (client.ids(Item), len(client.find(Change))) == (["i"], 1)

    @rule(9)
    def test_text_comes_back_to_the_code_point(self, client: Client) -> None:
        """Text of every plane and direction is kept as given: nothing is normalized or cut."""
        records = [kept(f"{n}", digest=text, answer=text) for n, text in enumerate(TEXTS)]
        items = [item(f"{n}", name=text, description=text) for n, text in enumerate(TEXTS)]
        client.add(*records, *items)

        for kind, added in ((KeptAnswer, records), (Item, items)):
            found = {record.id: record for record in client.find(kind)}
            for record in added:
                assert found[record.id] == record
        assert [change.after for change in client.find(Change)] == [describe(i) for i in items]

    @rule(9)
    def test_instants_come_back_to_the_microsecond(self, client: Client) -> None:
        """Instants of the years 1 to 9999 are kept exactly, and come back aware and in UTC."""
        records = [
            kept(f"{n}", created=at, updated=at, expires=at) for n, at in enumerate(INSTANTS)
        ]
        client.add(*records)
        found = client.find(KeptAnswer)

        assert found == records
        assert {each.expires.utcoffset() for each in found} == {timedelta(0)}

    @rule(9)
    def test_any_text_and_instant_come_back(self, client: Client) -> None:
        """Whatever Hypothesis thinks of comes back equal, after a commit."""

        @settings(max_examples=40, deadline=None, derandomize=True, database=None)
        @given(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            st.datetimes(timezones=st.just(UTC)),
        )
        def check(text: str, at: datetime) -> None:
            record = kept("k", created=at, updated=at, expires=at, digest=text, answer=text)
            client.write(lambda transaction: transaction.add(record))
            found = client.find(KeptAnswer, where={"digest": text, "expires": at})
            client.write(lambda transaction: transaction.remove(KeptAnswer, "k"))

            assert found == [record]

        check()

    @rule(10)
    def test_an_id_is_taken_once(self, client: Client) -> None:
        """`add` refuses an id that exists, before it looks at other fields."""
        client.add(item("i"))

        with pytest.raises(AlreadyExists) as refusal:
            client.add(item("i", status_id="none"))

        assert (refusal.value.kind, refusal.value.field, refusal.value.value) == ("Item", "id", "i")

    @rule(10, 11)
    def test_a_unique_value_is_taken_once(self, client: Client) -> None:
        """`add` and `replace` refuse a name that another record has."""
        client.add(item("i", name="x"), item("j", name="y"))

        with pytest.raises(AlreadyExists) as by_add:
            client.add(item("k", name="x"))
        with pytest.raises(AlreadyExists) as by_replace:
            client.write(lambda transaction: transaction.replace(item("j", name="x"), expect=1))

        for error in (by_add.value, by_replace.value):
            assert (error.kind, error.field, error.value) == ("Item", "name", "x")

    @rule(10)
    @pytest.mark.parametrize(("kind", "field"), UNIQUE, ids=_name)
    def test_what_is_unique_in_any_type(self, client: Client, kind: type[Any], field: str) -> None:
        """`add` refuses a second record with a value that `RECORDS` calls unique."""
        client.add(*SAMPLES)
        second = _another(kind, like=field)

        with pytest.raises(AlreadyExists) as refusal:
            client.add(second)

        error = refusal.value
        assert (error.kind, error.field) == (kind.__name__, field)
        assert error.value == getattr(second, field)

    @rule(10)
    def test_unique_text_is_compared_by_code_point(self, client: Client) -> None:
        """Names that differ in case, accents, composition or blanks are different."""
        names = ["a", "A", "é", "e\u0301", "a ", "ß", "ss", ""]
        client.add(*(item(f"i{n}", name=name) for n, name in enumerate(names)))

        assert len(client.find(Item)) == len(names)

    @rule(10, 11)
    def test_a_reference_leads_somewhere(self, client: Client) -> None:
        """`add` and `replace` refuse a reference to nothing, naming the field."""
        client.add(item("i"))

        with pytest.raises(MissingReference) as by_add:
            client.add(item("j", status_id="s"))
        with pytest.raises(MissingReference) as by_replace:
            client.write(
                lambda transaction: transaction.replace(item("i", status_id="s"), expect=1)
            )

        for error in (by_add.value, by_replace.value):
            assert (error.kind, error.id, error.field) == ("Status", "s", "status_id")

    @rule(10, 11)
    def test_a_record_may_keep_its_own_unique_value(self, client: Client) -> None:
        """A record does not conflict with itself, and a value that was given up is free."""
        client.add(item("i", name="x"), item("j", name="y"))
        news = [item("i", name="x", position=1, version=2), item("j", name="z", version=2)]

        def work(transaction: Transaction) -> None:
            for seq, new in enumerate(news):
                transaction.replace(new, expect=1)
                log(transaction, seq, new)
            transaction.add(item("k", name="y"))
            log(transaction, 2, item("k", name="y"))

        client.write(work)

        assert client.find(Item) == [*news, item("k", name="y")]

    @rule(10)
    def test_names_are_unique_within_a_type(self, client: Client) -> None:
        """Ids and names that a record of another type has are free."""
        client.add(status("x"), item("x"), kept("x"))

        assert [client.ids(kind) for kind in (Status, Item, KeptAnswer)] == [["x"]] * 3

    @rule(10)
    def test_every_reference_of_a_new_record_is_checked(self, client: Client) -> None:
        """A note about no item is refused, naming the field; an item without a status is not."""
        with pytest.raises(MissingReference) as refusal:
            client.add(note("n", item_id="none"))
        client.add(item("i", status_id=None))

        assert (refusal.value.kind, refusal.value.id) == ("Item", "none")
        assert refusal.value.field == "item_id"

    @rule(10, 12)
    @pytest.mark.parametrize(("kind", "field"), REFERENCES, ids=_name)
    def test_what_any_type_refers_to(self, client: Client, kind: type[Any], field: str) -> None:
        """What a field of `RECORDS` refers to has to be there, and cannot be removed."""
        client.add(*SAMPLES)
        target = RECORDS[kind].references[field]
        record = _another(kind, like=field)
        used = getattr(record, field)

        with pytest.raises(MissingReference) as refusal:
            client.add(msgspec.structs.replace(record, **{field: "nobody"}))
        with pytest.raises(InUse) as in_use:
            client.write(lambda transaction: transaction.remove(target, used))

        error = refusal.value
        assert (error.kind, error.id, error.field) == (target.__name__, "nobody", field)
        assert (in_use.value.kind, in_use.value.id) == (target.__name__, used)

    @rule(11)
    def test_replace_writes_the_whole_record(self, client: Client) -> None:
        """After `replace`, every field is that of the new record."""
        client.add(item("i", description="old", position=1))
        new = item("i", minutes=3, name="new", version=2)

        def work(transaction: Transaction) -> None:
            transaction.replace(new, expect=1)
            log(transaction, 0, new)

        client.write(work)

        assert client.find(Item) == [new]

    @rule(11)
    def test_replace_refuses_what_is_not_there(self, client: Client) -> None:
        """`replace` raises NotFound, with the kind and the id."""
        with pytest.raises(NotFound) as refusal:
            client.write(lambda transaction: transaction.replace(item("i"), expect=1))

        assert (refusal.value.kind, refusal.value.id) == ("Item", "i")

    @rule(11)
    def test_replace_refuses_another_version(self, client: Client) -> None:
        """`replace` raises VersionConflict with both versions."""
        client.add(item("i", version=3))

        def work(transaction: Transaction) -> None:
            transaction.replace(item("i", version=4), expect=2)
            log(transaction, 0, item("i", version=4))

        with pytest.raises(VersionConflict) as refusal:
            client.write(work)

        assert (refusal.value.expected, refusal.value.actual) == (2, 3)

    @rule(11)
    @pytest.mark.parametrize(("field", "value"), [("name", "j"), ("status_id", "none")])
    def test_another_version_is_refused_first(self, client: Client, field: str, value: Any) -> None:
        """`replace` raises VersionConflict before it looks at the record's other fields."""
        client.add(item("i", version=3), item("j"))

        with pytest.raises(VersionConflict):
            client.write(lambda tx: tx.replace(item("i", **{field: value}), expect=2))

    @rule(12)
    def test_remove_refuses_what_is_not_there(self, client: Client) -> None:
        """`remove` raises NotFound for an id that does not exist."""
        with pytest.raises(NotFound):
            client.write(lambda transaction: transaction.remove(Item, "i"))

    @rule(12)
    def test_remove_refuses_what_others_refer_to(self, client: Client) -> None:
        """`remove` raises InUse, with the number of records that refer to the record."""
        client.add(status("s"), *(item(f"i{n}", status_id="s") for n in range(3)))

        with pytest.raises(InUse) as refusal:
            client.write(lambda transaction: transaction.remove(Status, "s"))

        assert (refusal.value.kind, refusal.value.id, refusal.value.count) == ("Status", "s", 3)

    @rule(12)
    def test_remove_takes_the_record_away(self, client: Client) -> None:
        """The record is gone, and its id and name are free again."""
        client.add(item("i"))

        def work(transaction: Transaction) -> None:
            transaction.remove(Item, "i")
            add(transaction, item("i"))

        client.write(work)

        assert client.ids(Item) == ["i"]

    @rule(13)
    def test_remove_where_takes_the_first_in_order(self, client: Client) -> None:
        """`remove_where` removes at most `limit` matches, oldest first, and counts them."""
        client.add(kept("c", 1), kept("b", 2), kept("a", 0), kept("z", 90))
        expired = Query(KeptAnswer, where={"expires": Range(lt=NOW + timedelta(hours=2))})

        removed = []
        left = []
        for _ in range(3):
            removed.append(client.write(lambda tx: tx.remove_where(expired, limit=2)))
            left.append(client.ids(KeptAnswer))

        assert removed == [2, 1, 0]
        assert left == [["b", "z"], ["z"], ["z"]]

    @rule(13)
    def test_remove_where_takes_the_last_if_told_so(self, client: Client) -> None:
        """The first in descending order is the last."""
        client.add(kept("a"), kept("b"), kept("c"))
        newest = Query(KeptAnswer, descending=True)

        assert client.write(lambda transaction: transaction.remove_where(newest, limit=2)) == 2
        assert client.ids(KeptAnswer) == ["a"]

    @rule(13)
    def test_remove_where_thins_the_log(self, client: Client) -> None:
        """Removing old changes affects neither the head nor newer changes."""
        client.add(item("a"), item("b"))
        client.add(item("c"))

        old = Query(Change, where={"revision": Range(lt=2)})
        removed = client.write(lambda transaction: transaction.remove_where(old, limit=10))

        assert removed == 2
        assert [change.subject for change in client.find(Change)] == ["c"]
        assert client.head() == 2

    @rule(13)
    def test_remove_where_leaves_logged_types_alone(self, client: Client) -> None:
        """`remove_where` for a logged type is a mistake in the program."""
        client.add(item("i"))

        with pytest.raises(TypeError):
            client.write(lambda transaction: transaction.remove_where(Query(Item), limit=1))

        assert client.ids(Item) == ["i"]


def _empty(found: Sequence[Any]) -> None:
    """Take everything out of a sequence, if that is possible."""
    if isinstance(found, list):
        found.clear()
