"""Queries: R14 to R17."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from statusthing.log import Change
from statusthing.model import RECORDS, Item, KeptAnswer, Note, Status, StatusKind
from statusthing.store import Query, Range, Transaction
from statusthing.testing.client import Client
from statusthing.testing.rules import rule
from statusthing.testing.samples import (
    INSTANTS,
    NOW,
    SAMPLES,
    TEXTS,
    TICK,
    item,
    kept,
    log,
    note,
    status,
)

SEARCHED = [
    (kind, field)
    for kind, spec in RECORDS.items()
    for field in (*spec.unique, *spec.references, *spec.indexes)
]


class Queries:
    """R14 to R17."""

    @rule(14)
    @pytest.mark.parametrize(
        ("kind", "field"),
        SEARCHED,
        ids=lambda part: part if isinstance(part, str) else str(part.__name__),
    )
    def test_what_any_type_is_searched_by(
        self, client: Client, kind: type[Any], field: str
    ) -> None:
        """Records of every type are found by each field that `RECORDS` names."""
        client.add(*SAMPLES)
        samples = [each for each in SAMPLES if type(each) is kind]
        value = getattr(samples[0], field)
        ids = sorted(each.id for each in samples if getattr(each, field) == value)

        assert sorted(client.ids(kind, where={field: value})) == ids
        assert sorted(client.ids(kind, where={field: frozenset({value})})) == ids

    @rule(14)
    @pytest.mark.parametrize(
        ("where", "ids"),
        [
            ({}, "abcd"),
            ({"position": 1}, "ab"),
            ({"status_id": None}, "cd"),
            ({"status_id": "s"}, "a"),
            ({"status_id": "none"}, ""),
            ({"status_id": frozenset({"s", "t", "x"})}, "ab"),
            ({"status_id": frozenset({"s", None})}, "acd"),
            ({"status_id": frozenset({None})}, "cd"),
            ({"status_id": frozenset()}, ""),
            ({"status_id": Range(ge="t")}, "b"),
            ({"status_id": Range()}, "ab"),
            ({"position": Range(ge=1, lt=2)}, "ab"),
            ({"position": Range(lt=1)}, ""),
            ({"position": Range(ge=2)}, "cd"),
            ({"created": NOW + timedelta(minutes=1)}, "b"),
            ({"created": frozenset({NOW, NOW + timedelta(minutes=3)})}, "ad"),
            ({"created": Range(ge=NOW + timedelta(minutes=1) + TICK)}, "cd"),
            ({"position": 1, "status_id": "t"}, "b"),
            ({"position": 2, "status_id": "t"}, ""),
        ],
        # Not `str`: the order of a set changes from process to process, and xdist compares names.
        ids=lambda value: value if isinstance(value, str) else "-".join(value),
    )
    def test_conditions(self, client: Client, where: dict[str, Any], ids: str) -> None:
        """Equality, None, sets and ranges are joined by AND; None is in no range."""
        client.add(
            status("s"),
            status("t"),
            item("a", 0, status_id="s", position=1),
            item("b", 1, status_id="t", position=1),
            item("c", 2, position=2),
            item("d", 3, position=2),
        )

        assert client.ids(Item, where=where) == list(ids)
        assert client.read(lambda transaction: transaction.count(Query(Item, where))) == len(ids)

    @rule(14)
    def test_conditions_on_an_enumeration(self, client: Client) -> None:
        """An enumeration is compared by equality and by membership."""
        client.add(status("a"), status("b", kind=StatusKind.DOWN))

        assert client.ids(Status, where={"kind": StatusKind.DOWN}) == ["b"]
        assert client.ids(Status, where={"kind": frozenset(StatusKind)}) == ["a", "b"]

    @rule(14)
    def test_a_set_may_be_large(self, client: Client) -> None:
        """A set may have more values than any database takes as parameters."""
        client.add(item("7"))

        found = client.ids(Item, where={"id": frozenset(map(str, range(50_000)))})

        assert found == ["7"]

    @rule(15)
    def test_records_come_by_creation_then_id(self, client: Client) -> None:
        """Records created at the same time are in the order of their ids' code points."""
        ids = ["a", "Z", "b", "~", "-", "0", "_", "a-", "aa"]
        client.add(item("later", 1), *(item(id) for id in ids), item("earlier", -1))

        assert client.ids(Item) == ["earlier", *sorted(ids), "later"]
        assert client.ids(Item, descending=True) == ["later", *sorted(ids, reverse=True), "earlier"]

    @rule(15)
    def test_changes_come_by_number(self, client: Client) -> None:
        """Changes are in the order of `(revision, seq)`, which `after` takes too."""
        client.add(*(item(f"b{n:02}") for n in range(12)))
        client.add(item("a"))

        numbers = [(change.revision, change.seq) for change in client.find(Change)]
        rest = client.find(Change, after=(1, 10))

        assert numbers == [*((1, n) for n in range(12)), (2, 0)]
        assert [(change.revision, change.seq) for change in rest] == [(1, 11), (2, 0)]

    @rule(15)
    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_add_up_to_the_list(self, client: Client, descending: bool) -> None:  # noqa: FBT001
        """`after` continues strictly behind a key, also one that is not there."""
        client.add(*(item(f"{n}", n // 3) for n in range(10)))
        pages: list[Item] = []
        for _ in range(5):
            after = (pages[-1].created, pages[-1].id) if pages else None
            pages += client.find(Item, descending=descending, after=after, limit=3)

        assert pages == client.find(Item, descending=descending)
        assert client.ids(Item, after=(NOW + timedelta(minutes=2), "zzz")) == ["9"]

    @rule(16)
    def test_the_newest_of_each_group(self, client: Client) -> None:
        """The last n of each value are found, in the order of the query."""
        client.add(item("i"), item("j"), item("k"))
        client.add(
            *(note(f"i{n}", n) for n in range(4)),
            *(note(f"j{n}", n, item_id="j") for n in range(1)),
        )
        per_item: dict[str, Any] = {
            "newest_per": ("item_id", 2),
            "where": {"item_id": frozenset("ijk")},
        }

        assert client.ids(Note, **per_item) == ["j0", "i2", "i3"]
        assert client.ids(Note, **per_item, descending=True, limit=2) == ["i3", "i2"]
        assert client.read(lambda transaction: transaction.count(Query(Note, **per_item))) == 3

    @rule(17)
    def test_count_ignores_the_page(self, client: Client) -> None:
        """Neither `limit` nor `after` changes the count."""
        client.add(*(item(f"{n}") for n in range(5)))
        query = Query(Item, limit=1, after=(NOW, "3"))

        assert client.read(lambda transaction: transaction.count(query)) == 5

    @rule(14)
    def test_text_is_compared_by_code_point_in_conditions(self, client: Client) -> None:
        """Equality, sets and ranges tell texts apart that look or sort alike elsewhere."""
        client.add(*(item(f"{n:02}", name=text) for n, text in enumerate(TEXTS)))

        def names(want: object) -> set[str]:
            return {each.name for each in client.find(Item, where={"name": want})}

        for text in TEXTS:
            assert names(text) == {text}
            assert names(frozenset({text, "none"})) == {text}
            assert names(Range(ge=text)) == {each for each in TEXTS if each >= text}
            assert names(Range(lt=text)) == {each for each in TEXTS if each < text}

    @rule(14, 15)
    def test_instants_are_compared_to_the_microsecond(self, client: Client) -> None:
        """Ranges and order of instants hold from the year 1 to 9999."""
        ids = [f"{n}" for n in range(len(INSTANTS))]
        records = [kept(id, created=at, expires=at) for id, at in zip(ids, INSTANTS, strict=True)]
        client.add(*reversed(records))

        assert client.ids(KeptAnswer) == ids
        for n, at in enumerate(INSTANTS):
            assert client.ids(KeptAnswer, where={"expires": Range(ge=at)}) == ids[n:]
            assert client.ids(KeptAnswer, where={"expires": Range(lt=at)}) == ids[:n]
            assert client.ids(KeptAnswer, after=(at, ids[n])) == ids[n + 1 :]

    @rule(15)
    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_under_change(self, client: Client, descending: bool) -> None:  # noqa: FBT001
        """Nothing is on two pages, and nothing that was there all the time is on none."""
        ids = [f"{n:02}" for n in range(30)]
        client.add(*(item(id, int(id) // 4) for id in ids))
        removed: set[str] = set()
        seen: list[Item] = []

        def change_around(transaction: Transaction) -> None:
            """Remove the last that was seen and one ahead; add one on either side of it."""
            last = seen[-1]
            ahead = [each for each in ids if each not in removed | {each.id for each in seen}]
            gone = [last.id, *ahead[len(ahead) // 2 :][:1]]
            for seq, id in enumerate(gone):
                transaction.remove(Item, id)
                log(transaction, seq, item(id))
            for seq, id in enumerate((f"-{len(seen):02}", f"~{len(seen):02}"), len(gone)):
                new = item(id, created=last.created)
                transaction.add(new)
                log(transaction, seq, new)
            removed.update(gone)

        for _ in ids:  # more often than there are pages
            after = (seen[-1].created, seen[-1].id) if seen else None
            seen += client.find(Item, descending=descending, after=after, limit=4)
            if seen[-1].id in ids:
                client.write(change_around)

        keys = [(each.created, each.id) for each in seen]
        assert keys == sorted(set(keys), reverse=descending), "in order, and none twice"
        assert set(ids) - removed <= {each.id for each in seen}, "none is missing"

    @rule(15)
    def test_the_log_is_paged_under_change(self, client: Client) -> None:
        """Who follows the log by its numbers gets each entry once, while others append."""
        seen: list[tuple[int, int]] = [(0, 0)]
        for n in range(12):
            client.add(item(f"a{n:02}"), item(f"b{n:02}"))
            if n % 3 == 0:
                page = client.find(Change, after=seen[-1], limit=5)
                seen += [(change.revision, change.seq) for change in page]
        seen += [(each.revision, each.seq) for each in client.find(Change, after=seen[-1])]

        assert seen[1:] == [(revision, seq) for revision in range(1, 13) for seq in (0, 1)]

    @rule(16)
    def test_the_newest_of_each_group_among_equals(self, client: Client) -> None:
        """Ids decide among records of one instant, None is a value, and conditions come first."""
        client.add(status("s"), *(item(id, status_id="s" if id < "d" else None) for id in "abcdef"))

        assert client.ids(Item, newest_per=("status_id", 1)) == ["c", "f"]
        assert client.ids(Item, newest_per=("status_id", 2), descending=True) == list("fecb")
        assert client.ids(
            Item, where={"id": frozenset("abde")}, newest_per=("status_id", 1), after=(NOW, "b")
        ) == ["e"]
