"""The store obeys every rule of `statusthing.store`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from statusthing.store import Store
from statusthing.testing import Capabilities, StoreConformance
from statusthing_journal import JournalStore


class TestJournalStore(StoreConformance):
    """Runs the conformance kit."""

    capabilities = Capabilities(persistent=True, layouts=True)

    @pytest.fixture
    def factory(self, tmp_path: Path) -> Callable[[], Store]:
        """Makes stores on one new file."""
        return lambda: JournalStore(tmp_path / "status.jsonl")

    @pytest.fixture
    def relabel(self, tmp_path: Path) -> Callable[[str], None]:
        """Writes another number into the first line."""
        numbers = {"older": b"0", "current": b"1", "newer": b"2"}

        def relabel(label: str) -> None:
            path = tmp_path / "status.jsonl"
            content = re.sub(rb'(?<="journal":)\d', numbers[label], path.read_bytes(), count=1)
            path.write_bytes(content)

        return relabel
