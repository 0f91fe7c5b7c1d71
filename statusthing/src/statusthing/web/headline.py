"""Is it up? The table of kinds, and the rule that makes a headline of the kinds in force."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from statusthing.errors import InvalidArgument
from statusthing.model import StatusKind


class Level(enum.Enum):
    """How bad it is; decides the colour and the icon of the headline."""

    DOWN = "down"
    TROUBLE = "trouble"
    WATCHED = "watched"
    UP = "up"
    NEUTRAL = "neutral"


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What the pages know of a kind of status.

    Attributes:
        label: what it is called.
        icon: the name of its icon in `templates/icons.html`.
        level: how bad it is. Kinds that are `NEUTRAL` say nothing about whether things work, so
            that items of such a kind do not count while there are others.
        one, some: how a sentence about one item ends, and about several.
    """

    label: str
    icon: str
    level: Level
    one: str
    some: str


KINDS: Mapping[StatusKind, Kind] = MappingProxyType(
    {
        kind: Kind(label=label, icon=icon, level=level, one=one, some=some)
        for kind, label, icon, level, one, some in (
            (StatusKind.DOWN, "Down", "cross", Level.DOWN, "is down", "are down"),
            (StatusKind.OFFLINE, "Offline", "power", Level.DOWN, "is offline", "are offline"),
            (
                StatusKind.UNAVAILABLE,
                "Unavailable",
                "slash",
                Level.DOWN,
                "is unavailable",
                "are unavailable",
            ),
            (
                StatusKind.INVESTIGATING,
                "Investigating",
                "search",
                Level.TROUBLE,
                "is being investigated",
                "are being investigated",
            ),
            (
                StatusKind.WARNING,
                "Warning",
                "triangle",
                Level.TROUBLE,
                "has a warning",
                "have a warning",
            ),
            (
                StatusKind.OBSERVING,
                "Observing",
                "eye",
                Level.WATCHED,
                "is being observed",
                "are being observed",
            ),
            (StatusKind.UP, "Up", "check", Level.UP, "is up", "are up"),
            (StatusKind.ONLINE, "Online", "check", Level.UP, "is online", "are online"),
            (StatusKind.AVAILABLE, "Available", "check", Level.UP, "is available", "are available"),
            (StatusKind.CREATED, "Created", "plus", Level.NEUTRAL, "is new", "are new"),
            (
                StatusKind.UNKNOWN,
                "No status",
                "question",
                Level.NEUTRAL,
                "has no status",
                "have no status",
            ),
            (
                StatusKind.DECOMM,
                "Decommissioned",
                "archive",
                Level.NEUTRAL,
                "is decommissioned",
                "are decommissioned",
            ),
        )
    }
)
"""Every kind, from the worst to the one that matters least. `UNKNOWN` is an item without status."""


def kind_named(name: str) -> StatusKind | None:
    """Read a kind as forms write it: its name in lower case; None for nothing.

    Raises:
        InvalidArgument: there is no such kind.
    """
    if not name:
        return None
    try:
        return StatusKind[name.upper()]
    except KeyError:
        raise InvalidArgument("kind", "is not a status kind") from None


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at the top of the page.

    Attributes:
        text: the answer to "is it up?", as a short sentence without a full stop.
        level: how bad it is.
        detail: what else there is to say, in a sentence; possibly empty.
    """

    text: str
    level: Level
    detail: str = ""


HeadlineRule = Callable[[Mapping[StatusKind, int]], Headline]
"""Takes how many items have a status of each kind, without zeros, and returns the headline."""


def headline(kinds: Mapping[StatusKind, int]) -> Headline:
    """Return the headline for the kinds in force: the worst of them decides.

    Args:
        kinds: how many items have a status of each kind, without zeros.
    """
    if not kinds:
        return Headline(text="Nothing is published here yet", level=Level.NEUTRAL)
    order = [kind for kind in KINDS if kind in kinds]
    counted = [kind for kind in order if KINDS[kind].level is not Level.NEUTRAL] or order
    number = kinds[counted[0]]
    worst = KINDS[counted[0]]
    if worst.level is Level.UP:
        text = "Everything is up"
    elif len(counted) == 1:
        text = f"Everything {worst.one}"
    else:
        total = sum(kinds.values())
        text = f"{number} of {total} {worst.one if number == 1 else worst.some}"
    return Headline(
        text=text,
        level=worst.level,
        detail=", ".join(f"{kinds[kind]} {KINDS[kind].label.lower()}" for kind in order),
    )
