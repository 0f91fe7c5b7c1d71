"""The rules that every store obeys, on the reference store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from statusthing.memory import MemoryStore
from statusthing.store import Store
from statusthing.testing import StoreConformance


class TestMemoryStore(StoreConformance):
    """Claims nothing: the data is in the object."""

    @pytest.fixture
    def factory(self) -> Callable[[], Store]:
        """Make stores, each with data of its own."""
        return MemoryStore
