"""Take every measure, print a line of JSON for each, and compare the figures with the limits.

The exit code is 1 if a call failed or a limit was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import psutil
from tests.postgres import Postgres, any_server

from bench import Measure, inserts, page, report, startup, store, wakeup
from bench.calls import GRPC, JSON, Pace, compare, in_turns, load_of
from bench.processes import STATUSTHING, Process, serving
from statusthing.v1.services_pb2 import AddNoteRequest, GetItemRequest

THOROUGH = Pace(rounds=3, seconds=5)
BRIEF = Pace(rounds=1, seconds=0.2)

FEW, MANY = 100, 1_000


def measures(pace: Pace, folder: Path) -> Iterator[tuple[str, Measure]]:
    """Take all measures, each with its name."""
    yield "import", startup.importing(4 * pace.rounds)
    yield "serve", startup.starting(pace.rounds)
    few = asyncio.run(store.fill(f"sqlite:///{folder}/few.db", FEW))
    many = asyncio.run(store.fill(f"sqlite:///{folder}/many.db", MANY))
    yield "ListItems", asyncio.run(store.listing(few, many, 10 * pace.rounds))
    yield "list of items", asyncio.run(page.listing(few, 20 * pace.rounds))
    with _serving(folder, few) as server:
        for name, conditional in {"page": False, "page, 304": True}.items():
            yield name, page.compare(server, pace, folder, conditional=conditional)
    with _serving(folder, many) as server:
        get, add = _requests(many)
        compared = partial(compare, server, token=many.token, pace=pace, folder=folder)
        yield "GetItem", compared("GetItem", JSON, get)
        yield "GetItem, gRPC", compared("GetItem", GRPC, get)
        callers = {"statusthing": many.token, "anonymous": ""}
        yield (
            "GetItem, with a token",
            in_turns(
                {
                    name: partial(load_of, server, "GetItem", JSON, get, token, pace.seconds)
                    for name, token in callers.items()
                },
                pace.rounds,
            ),
        )
        # The last, because it makes the items larger.
        yield "AddNote", compared("AddNote", JSON, add)
    # Of its own, because that has added notes by the thousand.
    own = asyncio.run(store.fill(f"sqlite:///{folder}/page.db", MANY))
    yield "page, 1 000 items", asyncio.run(page.after_writes(own, 10 * pace.rounds))
    with any_server() as postgres, postgres.database() as url:
        yield from _measures_on_postgres(pace, folder, postgres, url)


def _measures_on_postgres(
    pace: Pace, folder: Path, postgres: Postgres, url: str
) -> Iterator[tuple[str, Measure]]:
    same = asyncio.run(store.fill(f"sqlite:///{folder}/same.db", MANY))
    many = asyncio.run(store.fill(url, MANY))
    listed = store.listing_on_postgres(many, same, 10 * pace.rounds)
    yield "ListItems, PostgreSQL", asyncio.run(listed)
    with _serving(folder, many) as server:
        get, add = _requests(many)
        compared = partial(compare, server, token=many.token, pace=pace, folder=folder)
        yield "GetItem, PostgreSQL", compared("GetItem", JSON, get)
        adding = partial(load_of, server, "AddNote", JSON, add, many.token, pace.seconds)
        with postgres.database() as other:
            yield (
                "AddNote, PostgreSQL",
                in_turns(
                    {
                        "statusthing": adding,
                        "inserts": lambda: inserts.insert(other, pace.seconds),
                    },
                    pace.rounds,
                ),
            )
    yield (
        "wait",
        {
            name: wakeup.waking(filled.url, 7 * pace.rounds)
            for name, filled in {"postgres": many, "sqlite": same}.items()
        },
    )


def _serving(folder: Path, filled: store.Filled) -> AbstractContextManager[Process]:
    options = (f"--store={filled.url}", f"--setup-file={folder}/setup")
    return serving(folder / "statusthing.log", *STATUSTHING, *options)


def _requests(filled: store.Filled) -> tuple[list[GetItemRequest], list[AddNoteRequest]]:
    text = "We have found the cause. The repair takes another hour."
    return (
        [GetItemRequest(item_id=id) for id in filled.items],
        [AddNoteRequest(item_id=id, note_text=text) for id in filled.items],
    )


def main() -> None:
    """Do what the module's docstring says."""
    parser = argparse.ArgumentParser("python -m bench", description="Measure how fast it is.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--write", action="store_true", help=f"put the tables into {report.PAGE}")
    mode.add_argument(
        "--brief",
        action="store_true",
        help="take every measure for a moment only, to see that it works; no limit counts",
    )
    options = parser.parse_args()
    busy = psutil.getloadavg()[0]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in measures(BRIEF if options.brief else THOROUGH, Path(folder)):
            results[name] = measure
            print(json.dumps({"measure": name} | _rounded(measure)), flush=True)
    tables = report.tables(results, busy)
    print(f"\n{tables}")
    if options.write:
        report.write(tables)
    failed = any(
        figures.get("errors") for measure in results.values() for figures in measure.values()
    )
    missed = not all(verdict.kept for verdict in report.verdicts(results))
    sys.exit(int(failed or (missed and not options.brief)))


def _rounded(measure: Measure) -> Measure:
    return {
        subject: {figure: float(f"{value:.4g}") for figure, value in figures.items()}
        for subject, figures in measure.items()
    }


if __name__ == "__main__":
    main()
