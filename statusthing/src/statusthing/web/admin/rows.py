"""The rows of the list of items, made once for as long as they stay the same.

Making the list is mostly making its rows, and from one look at it to the next few of them change.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from markupsafe import Markup

from statusthing.model import ItemView, StatusKind
from statusthing.service.messages import GetOverviewResponse
from statusthing.web.headline import KINDS
from statusthing.web.renderer import Renderer
from statusthing.web.stylesheet import name_of

MOST = 2_000
"""How many rows are kept; there may be one of an item for each prefix and each role."""


class Offered(NamedTuple):
    """What somebody may do with an item: each is a part of its row."""

    posts: bool
    moves: bool
    edits: bool
    deletes: bool


class _Shown(NamedTuple):
    item: ItemView
    above: str
    below: str


class Rows:
    """Makes rows.

    Args:
        renderer: makes them of their template.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._rows: dict[tuple[str, str, Offered], tuple[_Shown, Markup]] = {}

    def of(self, overview: GetOverviewResponse, prefix: str, offered: Offered) -> list[Markup]:
        """Return the row of each item, up to what all rows have in common.

        Args:
            overview: has the items, and knows who stands next to them.
            prefix: under which the application was found.
            offered: what the one who asks may do.
        """
        if self._renderer.reloads or len(self._rows) > MOST:
            self._rows.clear()
        items = overview.items
        ids = [overview.item_before, *(item.id for item in items), overview.item_after]
        return [
            self._row(_Shown(item, ids[index], ids[index + 2]), prefix, offered)
            for index, item in enumerate(items)
        ]

    def _row(self, shown: _Shown, prefix: str, offered: Offered) -> Markup:
        key = (prefix, shown.item.id, offered)
        kept = self._rows.get(key)
        if kept is not None and kept[0] == shown:
            return kept[1]
        html = self._renderer.render(
            "admin/items/row.html",
            prefix,
            **shown._asdict(),
            **offered._asdict(),
            **state_of(shown.item),
        )
        self._rows[key] = shown, html
        return html


def state_of(item: ItemView) -> dict[str, Any]:
    """Return what a template writes an item's status with, besides the item."""
    status = item.status
    return {
        "kind": KINDS[status.kind if status else StatusKind.UNKNOWN],
        "badge": name_of(status.color) if status else "",
    }
