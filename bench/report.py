"""What the figures have to reach, and the tables of `docs/explanation/performance.md`."""

from __future__ import annotations

import operator
import os
import platform
import re
import sqlite3
import textwrap
from collections.abc import Mapping
from importlib.metadata import version
from typing import NamedTuple

from bench import Figures, Measure, load
from bench.processes import ROOT

PAGE = ROOT / "docs" / "explanation" / "performance.md"

Results = Mapping[str, Measure]
"""By the name of the measure."""

_MEASURED = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- end -->)", re.DOTALL)

_LIBRARIES = ("statusthing", "connectrpc", "Hypercorn", "SQLAlchemy", "Jinja2", "grpcio")

_COLUMNS = {
    "calls/s": "rps",
    "p50, ms": "p50_ms",
    "p99, ms": "p99_ms",
    "CPU per call, µs": "cpu_us_per_call",
    "resident, MiB": "resident_mib",
}


class Limit(NamedTuple):
    """What one figure has to reach.

    Attributes:
        measure, subject, figure: where it is in the results.
        meaning: for readers, with the unit.
        bound: the most, or the least, that it may be.
        least: whether it is the least.
    """

    measure: str
    subject: str
    figure: str
    meaning: str
    bound: float
    least: bool = False


LIMITS = (
    Limit("GetItem", "statusthing/echo", "cpu_us_per_call", "CPU per call, times echo's", 1.8),
    Limit("GetItem", "statusthing", "p99_ms", "p99, ms", 15),
    Limit("GetItem", "statusthing", "errors", "failures", 0),
    Limit("GetItem, gRPC", "statusthing/echo", "cpu_us_per_call", "CPU per call, times echo's", 2),
    Limit("GetItem, gRPC", "statusthing", "errors", "failures", 0),
    Limit(
        "GetItem, with a token",
        "statusthing/anonymous",
        "cpu_us_per_call",
        "CPU per call, times that without one",
        1.1,
    ),
    Limit("GetItem, with a token", "statusthing", "errors", "failures", 0),
    Limit("AddNote", "statusthing/echo", "rps", "calls per second, times echo's", 0.4, least=True),
    Limit("AddNote", "statusthing", "errors", "failures", 0),
    Limit("ListItems", "1000 items", "median_ms", "1 000 items, ms", 15),
    Limit("ListItems", "1000 items/100 items", "median_ms", "1 000 items, times 100 items'", 12),
    Limit("ListItems", "100 items", "statements", "100 items, SQL statements", 4),
    Limit("ListItems", "1000 items", "statements", "1 000 items, SQL statements", 4),
    Limit("page", "statusthing/bare", "rps", "pages per second, times bare's", 0.85, least=True),
    Limit("page", "statusthing", "errors", "failures", 0),
    Limit(
        "page, 304", "statusthing/bare", "rps", "304s per second, times bare's", 0.85, least=True
    ),
    Limit("page, 304", "statusthing", "errors", "failures", 0),
    Limit("page, 1 000 items", "after a write", "median_ms", "first page after a write, ms", 60),
    Limit(
        "list of items",
        "again",
        "pages_per_second",
        "100 items for an editor, pages per second",
        200,
        least=True,
    ),
    Limit(
        "GetItem, PostgreSQL",
        "statusthing/echo",
        "rps",
        "calls per second, times echo's",
        0.2,
        least=True,
    ),
    Limit("GetItem, PostgreSQL", "statusthing", "errors", "failures", 0),
    Limit(
        "AddNote, PostgreSQL",
        "statusthing/inserts",
        "rps",
        "calls per second, times bare inserts'",
        0.25,
        least=True,
    ),
    Limit("AddNote, PostgreSQL", "statusthing", "errors", "failures", 0),
    Limit("ListItems, PostgreSQL", "postgres/sqlite", "median_ms", "times SQLite's", 1.5),
    Limit("wait", "postgres", "median_ms", "woken by another process, PostgreSQL, ms", 20),
    Limit("wait", "sqlite", "median_ms", "woken by another process, SQLite, ms", 150),
    Limit("import", "import", "ms", "more than bare Python, ms", 150),
    Limit("serve", "serve", "first_answer_seconds", "first answer, seconds", 1.5),
    Limit("serve", "serve", "resident_mib", "resident when idle, MiB", 90),
)


class Verdict(NamedTuple):
    """A limit, and what was measured."""

    limit: Limit
    measured: float

    @property
    def kept(self) -> bool:
        """Whether the limit was kept."""
        compare = operator.ge if self.limit.least else operator.le
        return bool(compare(self.measured, self.limit.bound))


def verdicts(results: Results) -> list[Verdict]:
    """Compare the figures with the limits."""
    return [Verdict(limit, results[limit.measure][limit.subject][limit.figure]) for limit in LIMITS]


def tables(results: Results, busy: float) -> str:
    """Return the results as tables of Markdown, with what they were measured on.

    Args:
        results: of all measures.
        busy: the load average before, which is 0 on a machine that does nothing else.
    """
    where = (
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores",
        f"load average before {busy:.1f}",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        *(f"{name} {version(name)}" for name in _LIBRARIES),
        f"HTTP/1.1 client {load.http.__name__}",
    )
    return "\n".join(
        [
            textwrap.fill(", ".join(where), 100),
            "",
            "| measure | figure | limit | measured | |",
            "|---|---|---|---|---|",
            *map(_verdict, verdicts(results)),
            "",
            f"| measure | program | {' | '.join(_COLUMNS)} |",
            f"|---|---|{'---|' * len(_COLUMNS)}",
            *(
                f"| {name} | {program} | "
                + " | ".join(_cell(figures, figure) for figure in _COLUMNS.values())
                + " |"
                for name, measure in results.items()
                for program, figures in measure.items()
                if "rps" in figures and "/" not in program
            ),
            "",
        ]
    )


def _verdict(verdict: Verdict) -> str:
    limit = verdict.limit
    bound = f"at {'least' if limit.least else 'most'} {limit.bound:g}"
    kept = "ok" if verdict.kept else "missed"
    return f"| {limit.measure} | {limit.meaning} | {bound} | {_short(verdict.measured)} | {kept} |"


def _cell(figures: Figures, figure: str) -> str:
    return _short(figures[figure]) if figure in figures else ""


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"  # noqa: PLR2004 - three digits


def write(text: str) -> None:
    """Put the tables into the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_MEASURED.sub(lambda _: f"\n{text}\n", page), encoding="utf-8")
