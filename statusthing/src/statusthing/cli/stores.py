"""`statusthing migrate` and `statusthing stores`."""

from __future__ import annotations

import asyncio
from collections import Counter

import click

from statusthing.cli.options import store_option
from statusthing.registry import failures_named, installed, open_store
from statusthing.store import Store


@click.command()
@store_option
def migrate(store: str) -> None:
    """Bring the layout of a store up to date, or make an empty one."""
    chosen = open_store(store)
    with failures_named(store):
        version = asyncio.run(_migrate(chosen))
    click.echo(f"data in {chosen.url} is laid out as version {version}")


async def _migrate(store: Store) -> str:
    await store.migrate()
    await store.open()
    try:
        return store.schema.version
    finally:
        await store.close()


@click.command()
@store_option
def stores(store: str) -> None:
    """List the installed stores.

    An asterisk marks the store that takes the URL of --store; none is marked if no store does.
    Exclamation marks show that several claim one scheme.
    """
    scheme = store.partition(":")[0].lower()
    offers = installed()
    claims = Counter(offer.name for offer in offers)
    for name, origin, _ in offers:
        mark = "!" if claims[name] > 1 else "*" if name == scheme else " "
        click.echo(f"{mark} {name}:  {origin}")
