"""What the author of a store needs to test it: the conformance kit.

A class derived from `StoreConformance`, with a fixture that makes stores, checks every numbered
rule of `statusthing.store`. Needs the extra `statusthing[testing]`.
"""

from __future__ import annotations

import pkgutil

import pytest

# Before they are imported, so that their assertions tell what was found and what was expected.
pytest.register_assert_rewrite(
    *(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__))
)

from statusthing.testing.conformance import StoreConformance  # noqa: E402
from statusthing.testing.rules import Capabilities  # noqa: E402

__all__ = ["Capabilities", "StoreConformance"]
