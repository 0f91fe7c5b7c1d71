"""What distributions require, as their metadata says."""

from __future__ import annotations

import importlib.metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(*names: str) -> set[str]:
    """Return the normalized names of distributions and of all that they require, without extras."""
    found: set[str] = set()
    wanted = {canonicalize_name(name) for name in names}
    while wanted:
        found |= wanted
        required = (
            Requirement(each) for name in wanted for each in importlib.metadata.requires(name) or ()
        )
        wanted = {
            canonicalize_name(each.name)
            for each in required
            if not each.marker or each.marker.evaluate({"extra": ""})
        } - found
    return found
