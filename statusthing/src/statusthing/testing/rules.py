"""What a test of the kit is about: rules of `statusthing.store`, and what a store has to claim."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from statusthing import store

F = TypeVar("F", bound=Callable[..., Any])

_RULE = re.compile(r"^\* \*\*R(\d+)\*\* (.+?)(?=\n\n|\n\* )", re.MULTILINE | re.DOTALL)
_CITATION = "statusthing_citation"

RULES: Mapping[int, str] = MappingProxyType(
    {int(number): " ".join(text.split()) for number, text in _RULE.findall(store.__doc__ or "")}
)
"""The numbered rules: number to text."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a store can do beyond the least. What is not claimed is not tested, and reported so.

    Attributes:
        persistent: the data outlives the store object, so that another one finds it.
        shared: several store objects, as in several processes, may be open on the data at once.
            `Store.shared` says the same.
        layouts: the stored layout has a version. The class has a fixture `relabel`.
        unreachable: the data can be out of reach for a while. The class has a fixture `outage`.
    """

    persistent: bool = False
    shared: bool = False
    layouts: bool = False
    unreachable: bool = False

    def unclaimed(self) -> list[str]:
        """Return the names of those that are not claimed."""
        return [name for name, claimed in msgspec.structs.asdict(self).items() if not claimed]


class Citation(msgspec.Struct, frozen=True):
    """The rules that a test is about, and the capability without which it is left out.

    A test that `compares` the store with the memory store cannot tell which of its rules is broken.
    """

    rules: tuple[int, ...]
    needs: str | None
    compares: bool


def rule(*numbers: int, needs: str | None = None, compares: bool = False) -> Callable[[F], F]:
    """Make a test cite rules. It is left out for a store that does not claim what it needs.

    If it `compares` the store with the memory store, its failure casts doubt on the rules, no more.
    """

    def cite(test: F) -> F:
        test.__dict__[_CITATION] = Citation(numbers, needs, compares)
        return test

    return cite


def citation(test: object) -> Citation | None:
    """Return what a test cites; None if it is not a test of the kit."""
    return getattr(test, _CITATION, None)
