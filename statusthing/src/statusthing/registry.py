"""Finds the store for a URL by the URL's scheme.

A distribution offers a store by an entry point in the group `statusthing.stores`: its name is the
scheme, its value a callable that takes the URL and returns a store that is not open yet. A program
offers one of its own with `register`. Only the store that a URL asks for is loaded, so that a
broken one harms no other.

What is registered holds for the whole process, just as what is installed does: it is the only state
that a module of this package keeps.

The messages hold no more of a URL than its scheme, since anything behind it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from statusthing.errors import StatusThingError, UserMistake
from statusthing.store import Store

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "statusthing.stores"

Factory = Callable[[str], Store]
"""Takes a URL, its scheme in lower case, and returns a store that is not open yet.

For a URL that it refuses it raises `UserMistake`, whose message is shown as it is, and so should
hold no secret.
"""

# RFC 3986, section 3.1, but not of one letter, which is a drive of Windows. The limit is there so
# that no message is longer than a line or two.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{1,39}")

_FIRST_PARTY = {
    "postgres": "statusthing-postgres",
    "postgresql": "statusthing-postgres",
    "sqlite": "statusthing-sqlite",
}

_SHORT = 2  # letters of a word that is looked for as a whole word only

# Another name of postgresql, which is the one that is recommended.
_ALIASES = {"postgres"}

# `schema` is known once a store is open.
_MEMBERS = [name for name in vars(Store) if not name.startswith("_") and name != "schema"]


class Offer(NamedTuple):
    """A store that can be asked for.

    Attributes:
        name: the scheme of its URLs.
        origin: who offers it: a distribution with its version, or a factory of this program.
        load: returns its factory.
    """

    name: str
    origin: str
    load: Callable[[], Factory]


_registered: dict[str, Offer] = {}


def register(scheme: str, factory: Factory) -> None:
    """Offer a store to `open_store` in this process, as an installed distribution would.

    To register the same factory again does nothing. May be called from any thread.

    Args:
        scheme: of the URLs: 2 to 40 lower-case letters, digits, `+`, `-` and `.`, a letter first.
        factory: see `Factory`.

    Raises:
        UserMistake: the scheme is malformed, an installed distribution offers it, or another
            factory is registered for it.
    """
    if not _SCHEME.fullmatch(scheme):
        raise UserMistake(
            "a scheme is 2 to 40 lower-case letters, digits, +, - and ., and begins with a letter"
        )
    offer = Offer(scheme, f"this program's {_name_of(factory)}", lambda: factory)
    offered = [each for each in _distributed() if each.name == scheme]
    if offered:
        raise UserMistake(_clash([*offered, offer]))
    # One step, so that of two threads only one can be first.
    first = _registered.setdefault(scheme, offer)
    if first.load() != factory:
        raise UserMistake(_clash([first, offer]))


def installed() -> tuple[Offer, ...]:
    """Return all stores that can be asked for, by scheme; none of them is loaded for it."""
    offers = [*_distributed(), *_registered.copy().values()]
    return tuple(sorted(offers, key=lambda each: each[:2]))


def open_store(url: str) -> Store:
    """Make the store that a URL names; it is opened by whoever uses it first.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `memory://` or what an installed
            plugin takes. The case of the scheme does not matter.

    Raises:
        UserMistake: no store takes such a URL, or more than one, or its store refuses this one.
        StatusThingError: the store is broken: it cannot be loaded, its factory fails, or what it
            makes is no store. What it raised is chained, without the words of the URL.
    """
    scheme, rest = _split(url)
    offers = [offer for offer in installed() if offer.name == scheme]
    if not offers:
        raise UserMistake(_unknown(scheme))
    if len(offers) > 1:
        raise UserMistake(_clash(offers))
    [offer] = offers
    broken = f"{_named(offer)} "
    try:
        factory = offer.load()
    except Exception as error:
        raise StatusThingError(broken + "cannot be loaded") from error
    try:
        store = factory(f"{scheme}:{rest}")
        missing = [name for name in _MEMBERS if not hasattr(store, name)]
    except UserMistake:
        raise
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        raise StatusThingError(broken + "fails") from _without(rest, error)
    if missing:
        lacks = f"makes a {type(store).__name__}, which is no store: it lacks {', '.join(missing)}"
        raise StatusThingError(broken + lacks)
    return store


@contextmanager
def failures_named(url: str) -> Iterator[None]:
    """Say which store was in use when something failed that nobody expected to.

    The store need not be at fault, and so the message also says where the error arose.

    Args:
        url: of the store, as `open_store` took it.

    Raises:
        StatusThingError: instead of any error of another family. That one is chained, without the
            words of the URL.
    """
    try:
        yield
    except StatusThingError:
        raise
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        scheme, rest = _split(url)
        stores = " and ".join(_named(offer) for offer in installed() if offer.name == scheme)
        place = extract_tb(error.__traceback__)[-1]
        text = f"failed with {stores} at {place.filename}:{place.lineno}"
        raise StatusThingError(text) from _without(rest, error)


def _split(url: str) -> tuple[str, str]:
    """Return the scheme in lower case, and what comes after its colon."""
    if not url.isprintable():
        raise UserMistake(
            "a store URL holds printable characters only: remove line breaks, percent-encode others"
        )
    scheme, separator, rest = url.partition(":")
    scheme = scheme.lower()
    if not separator or not _SCHEME.fullmatch(scheme):
        raise UserMistake(
            "a store URL needs a scheme: for a file write sqlite:///relative.db or "
            "sqlite:////absolute/path.db"
        )
    return scheme, rest


def _unknown(scheme: str) -> str:
    schemes = sorted({offer.name for offer in installed()})
    similar = get_close_matches(scheme, {*schemes, *_FIRST_PARTY} - _ALIASES, n=1)
    advice = "install the distribution that brings one"
    if scheme in _FIRST_PARTY:
        name = _FIRST_PARTY[scheme]
        advice = f"install {name} (in a clone: pip install ./{name.replace('-', '_')})"
    elif similar:
        advice = f"did you mean {similar[0]}:?"
    there = ", ".join(schemes) or "none"
    return f"no store for {scheme}: URLs is installed (installed: {there}); {advice}"


def _clash(offers: list[Offer]) -> str:
    origins = " and ".join(offer.origin for offer in offers)
    return f"{offers[0].name}: URLs are claimed by {origins}: keep one of them"


def _distributed() -> list[Offer]:
    """Return what the installed distributions offer."""
    # Here, because it takes a fifth of what everything takes that `import statusthing` loads.
    from importlib.metadata import entry_points  # noqa: PLC0415

    points = entry_points(group=GROUP)
    return [Offer(each.name.lower(), _origin(each), each.load) for each in points]


def _named(offer: Offer) -> str:
    return f"the store for {offer.name}: URLs, from {offer.origin},"


def _origin(point: EntryPoint) -> str:
    """Name the distribution that brings a store, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _name_of(factory: Factory) -> str:
    """Name a factory by where it is defined, or by its type: other texts may hold secrets."""
    named: Any = factory if hasattr(factory, "__qualname__") else type(factory)
    return f"{named.__module__}.{named.__qualname__}"


def _without(rest: str, error: Exception) -> Exception:
    """Return an error, or one like it without the words of the URL that its text repeats."""
    words = set(re.findall(r"\w+", f"{rest} {unquote(rest)}"))
    text = told = f"{type(error).__name__}: {error}"
    for word in sorted(words, key=len, reverse=True):
        told = re.sub(word if len(word) > _SHORT else rf"\b{word}\b", "***", told)
    return error if told == text else StatusThingError(told).with_traceback(error.__traceback__)
