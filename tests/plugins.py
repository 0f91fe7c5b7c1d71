"""Plugins for the tests: real distributions, each a module and its metadata in a folder."""

from __future__ import annotations

from pathlib import Path

from statusthing.registry import GROUP

WORKING = """
from statusthing.memory import MemoryStore

def make(url):
    store = MemoryStore()
    store.url = url.partition("?")[0]
    return store
"""
SHARED = """
from statusthing_sqlite import SqliteStore

def make(url):
    return SqliteStore(url.removeprefix("acme://"))
"""
BROKEN = "import acme_driver"


def install(
    folder: Path,
    name: str = "acme-store",
    *,
    version: str = "1.2",
    scheme: str = "acme",
    value: str = "{module}:make",
    source: str = WORKING,
) -> str:
    """Install a distribution that offers a store, and return the name of its module."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{module}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(
        f"[{GROUP}]\n{scheme} = {value.format(module=module)}\n"
    )
    return module
