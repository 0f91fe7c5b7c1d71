"""`statusthing audit`: what was done, by whom and from where."""

from __future__ import annotations

import json

import click
import msgspec

from statusthing.cli.options import store_option
from statusthing.cli.service import COMMAND_LINE, with_service
from statusthing.cli.text import columns, instant
from statusthing.service import StatusThing
from statusthing.service.messages import AuditEntry
from statusthing.service.pages import MAX_PAGE

_HEADS = ("TIME", "ACTOR", "ACTION", "KIND", "SUBJECT", "ADDRESS", "CORRELATION ID")
_NAMES = ("username", "name")


@click.command()
@store_option
@click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    help="The most entries to show.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print an object on each line, with all there is."
)
def audit(store: str, limit: int, *, as_json: bool) -> None:
    """Show changes and failed sign-ins, the newest first."""

    async def work(st: StatusThing) -> list[AuditEntry]:
        entries: list[AuditEntry] = []
        page_token = ""
        while len(entries) < limit:
            page = await st.audit.list(
                page_size=min(limit - len(entries), MAX_PAGE),
                page_token=page_token,
                principal=COMMAND_LINE,
            )
            entries += page
            page_token = page.next_page_token
            if not page_token:
                break
        return entries

    entries = with_service(store, work)
    if as_json:
        for entry in entries:
            # In ASCII, which moves no terminal's cursor.
            click.echo(json.dumps(msgspec.to_builtins(entry)))
        return
    for line in columns(_HEADS, map(_row, entries)):
        click.echo(line)


def _row(entry: AuditEntry) -> tuple[str, ...]:
    return (
        instant(entry.time),
        entry.actor,
        entry.action,
        entry.kind,
        _name(entry),
        entry.address,
        entry.correlation_id,
    )


def _name(entry: AuditEntry) -> str:
    """Return what the record is called; of one without a name, its id."""
    record = json.loads(entry.after or entry.before or "{}")
    return next((record[field] for field in _NAMES if record.get(field)), entry.subject)
