"""What the people who edit items see of them: in the order of pages, however many there are.

Each is one unit of few queries, whatever there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from statusthing.errors import InvalidArgument
from statusthing.model import (
    Item,
    Note,
    Status,
    StatusKind,
    User,
    item_view,
    note_view,
    status_view,
)
from statusthing.service import checks
from statusthing.service.messages import (
    CountNotesRequest,
    CountNotesResponse,
    GetNamesRequest,
    GetNamesResponse,
    GetOverviewRequest,
    GetOverviewResponse,
    StatusUse,
)
from statusthing.service.order import ordered
from statusthing.service.unit import existing
from statusthing.store import Query, Transaction


def get_overview(request: GetOverviewRequest) -> Callable[[Transaction], GetOverviewResponse]:
    """Return a page of the items that satisfy every filter, with all statuses: three queries."""
    size, number = request.page_size, request.page
    if size < 1:
        raise InvalidArgument("page_size", "must be at least 1")
    wanted = request.text.casefold()

    def work(tx: Transaction) -> GetOverviewResponse:
        statuses = {status.id: status for status in tx.find(Query(Status))}
        items = ordered(tx.find(Query(Item)))
        used = Counter(item.status_id for item in items)

        def matches(item: Item) -> bool:
            if request.status_id and item.status_id != request.status_id:
                return False
            status = statuses[item.status_id] if item.status_id else None
            kind = status.kind if status else StatusKind.UNKNOWN
            if request.kind is not None and kind is not request.kind:
                return False
            return wanted in item.name.casefold() or wanted in item.description.casefold()

        found = [item for item in items if matches(item)]
        pages = max(1, -(-len(found) // size))
        page = min(max(number, 1), pages)
        start = (page - 1) * size
        shown = found[start : start + size]
        ids = frozenset(item.id for item in shown)
        # Asking for all is cheaper than asking for those of every item.
        where = {} if len(shown) == len(items) else {"item_id": ids}
        newest = {
            note.item_id: (note_view(note),)
            for note in tx.find(Query(Note, where=where, newest_per=("item_id", 1)))
        }
        views = {id: status_view(status) for id, status in statuses.items()}
        return GetOverviewResponse(
            items=tuple(
                item_view(
                    item,
                    views[item.status_id] if item.status_id else None,
                    newest.get(item.id, ()),
                )
                for item in shown
            ),
            statuses=tuple(StatusUse(status=view, items=used[id]) for id, view in views.items()),
            total=len(items),
            matching=len(found),
            page=page,
            pages=pages,
            item_before=found[start - 1].id if start else "",
            item_after=found[start + size].id if start + size < len(found) else "",
            last_position=items[-1].position if items else 0,
        )

    return work


def count_notes(request: CountNotesRequest) -> Callable[[Transaction], CountNotesResponse]:
    """Return how many notes an item has."""
    id = checks.required_id("item_id", request.item_id)

    def work(tx: Transaction) -> CountNotesResponse:
        item = existing(tx, Item, id)
        return CountNotesResponse(count=tx.count(Query(Note, where={"item_id": item.id})))

    return work


def get_names(request: GetNamesRequest) -> Callable[[Transaction], GetNamesResponse]:
    """Return what records are called: three queries."""
    items = checks.possible_ids("item_ids", request.item_ids)
    statuses = checks.possible_ids("status_ids", request.status_ids)
    users = checks.possible_ids("user_ids", request.user_ids)

    def work(tx: Transaction) -> GetNamesResponse:
        names = {item.id: item.name for item in tx.find(Query(Item, where={"id": items}))}
        names |= {each.id: each.name for each in tx.find(Query(Status, where={"id": statuses}))}
        names |= {user.id: user.username for user in tx.find(Query(User, where={"id": users}))}
        return GetNamesResponse(names=names)

    return work
