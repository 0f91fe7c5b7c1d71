"""The order of items on pages: by position, then age; and how one is moved within it.

Items may share a position, and all have 0 until somebody says otherwise. Moving one gives new
positions to as few as possible: to that one, and to those on one side of it that it then meets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from statusthing.model import Item
from statusthing.service import checks
from statusthing.service.messages import MoveItemRequest, MoveItemResponse
from statusthing.service.unit import Unit, existing
from statusthing.store import Query

_POSITIONS = range(-(2**31), 2**31)


def ordered(items: Sequence[Item]) -> list[Item]:
    """Return items in the order of pages.

    Args:
        items: oldest first.
    """
    return sorted(items, key=lambda item: item.position)  # stable: then age


def move_item(request: MoveItemRequest) -> Callable[[Unit], MoveItemResponse]:
    """Have an item stand next to another one, unless it is on that side of it already.

    To ask for it twice is to ask for it once: two people who move an item up at the same time move
    it up by one.
    """
    id = checks.required_id("item_id", request.item_id)
    other_id = checks.required_id("other_id", request.other_id)

    def work(unit: Unit) -> MoveItemResponse:
        moved, other = existing(unit.tx, Item, id), existing(unit.tx, Item, other_id)
        items = unit.tx.find(Query(Item))
        age = {item.id: index for index, item in enumerate(items)}
        order = ordered(items)
        is_after = order.index(moved) > order.index(other)
        if moved.id == other.id or is_after is request.after:
            return MoveItemResponse()
        order.remove(moved)
        order.insert(order.index(other) + request.after, moved)
        positions = _positions(order, order.index(moved), age)
        for item in order:
            position = positions.get(item.id, item.position)
            unit.change(item, msgspec.structs.replace(item, position=position))
        return MoveItemResponse()

    return work


def _positions(order: Sequence[Item], at: int, age: Mapping[str, int]) -> dict[str, int]:
    """Return the new positions that put the item at an index of the order there."""
    ways = []
    if at:
        ways.append(_pushed(order[at - 1], order[at:], age, 1))
    if at + 1 < len(order):
        ways.append(_pushed(order[at + 1], order[at::-1], age, -1))
    ways = [way for way in ways if all(position in _POSITIONS for position in way.values())]
    if not ways:  # nothing is left between them and the end of the numbers
        return {item.id: index for index, item in enumerate(order)}
    return min(ways, key=len)


def _pushed(
    fixed: Item, pushed: Sequence[Item], age: Mapping[str, int], sign: int
) -> dict[str, int]:
    """Return the new positions of the first of the pushed, and of those that it pushes.

    Args:
        fixed: stands next to the first of them, and stays.
        pushed: from there onwards.
        age: of all, as a number.
        sign: 1 if they are behind it, -1 if they are before it.
    """
    found: dict[str, int] = {}
    level, last = sign * fixed.position, sign * age[fixed.id]
    for item in pushed:
        its_level, its_age = sign * item.position, sign * age[item.id]
        if item is not pushed[0] and (its_level, its_age) > (level, last):
            break
        if its_age < last:
            level += 1
        last = its_age
        if its_level != level:
            found[item.id] = sign * level
    return found
