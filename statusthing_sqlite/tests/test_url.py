"""Where a store is, as a URL."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from statusthing.errors import UserMistake
from statusthing_sqlite import SqliteStore, from_url

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///statusthing.db", "statusthing.db"),
        ("sqlite:///data/a%20b%3F%23%25%C3%A9.db", "data/a b?#%é.db"),
    ],
)
def test_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, url: str, path: str
) -> None:
    """Three slashes mean a path from the folder the program was in when it made the store."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    store = from_url(url)
    monkeypatch.chdir("/")
    run(store.open())
    run(store.close())

    assert (tmp_path / path).is_file()
    assert store.url == url


def test_an_absolute_path(tmp_path: Path, run: Run) -> None:
    """Four slashes mean an absolute path."""
    url = f"sqlite:///{tmp_path}/statusthing.db"
    store = from_url(url)
    run(store.open())
    run(store.close())

    assert url.startswith("sqlite:////")
    assert (tmp_path / "statusthing.db").is_file()
    assert store.url == url == SqliteStore(tmp_path / "statusthing.db").url


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://statusthing.db",
        "sqlite://user:secret@host/statusthing.db",
        "sqlite://[secret/statusthing.db",
        "sqlite:///statusthing.db?mode=ro",
        "sqlite:///statusthing.db#part",
        "sqlite:///a%00b",
        "sqlite:///%FF.db",
        "sqlite:///:memory:",
    ],
)
def test_anything_else_is_a_mistake(url: str) -> None:
    """One sentence says what to write instead, and repeats no password."""
    with pytest.raises(UserMistake) as mistake:
        from_url(url)

    assert "\n" not in str(mistake.value)
    assert "secret" not in str(mistake.value)


def test_memory_is_another_store() -> None:
    """Whoever asks SQLite for a store in memory is pointed to `memory://`."""
    with pytest.raises(UserMistake, match="memory://"):
        SqliteStore(":memory:")
