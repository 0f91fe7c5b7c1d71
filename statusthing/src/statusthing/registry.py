"""Finds the store for a URL by its scheme, through entry points.

A distribution offers a store by an entry point in the group `statusthing.stores`: its name is the
URL scheme, its value a callable that takes the URL and returns a store that is not open yet.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from statusthing.errors import StatusThingError, UserMistake
from statusthing.store import Store

GROUP = "statusthing.stores"

_FIRST_PARTY = {"sqlite": "statusthing-sqlite"}


def installed() -> tuple[EntryPoint, ...]:
    """Return the entry points of all stores that are installed, by scheme."""
    return tuple(sorted(entry_points(group=GROUP), key=lambda point: point.name))


def open_store(url: str) -> Store:
    """Make the store that a URL names; it is opened by whoever uses it first.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `memory://` or what an installed
            plugin takes.

    Raises:
        UserMistake: no installed store takes such a URL, or its store refuses this one.
    """
    scheme, separator, _ = url.partition(":")
    points = [point for point in installed() if point.name == scheme]
    if not separator or not points:
        raise UserMistake(_unknown(scheme if separator else ""))
    (point, *others) = points
    if others:
        claimants = " and ".join(sorted(origin(each) for each in points))
        msg = f"{claimants} both claim {scheme}: URLs; uninstall one of them"
        raise UserMistake(msg)
    try:
        factory: Callable[[str], Store] = point.load()
    except Exception as error:
        msg = f"the store for {scheme}: URLs, from {origin(point)}, cannot be loaded: {error}"
        raise StatusThingError(msg) from error
    return factory(url)


def _unknown(scheme: str) -> str:
    schemes = ", ".join(point.name for point in installed()) or "none"
    what = f"no store for {scheme}: URLs is installed" if scheme else "a store URL needs a scheme"
    advice = f"; pip install {_FIRST_PARTY[scheme]}" if scheme in _FIRST_PARTY else ""
    return f"{what} (installed: {schemes}){advice}"


def origin(point: EntryPoint) -> str:
    """Name the distribution that brings a store, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
