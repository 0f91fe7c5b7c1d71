"""The public page: under load, beside an application that only sends the same bytes; and made.

And the list of items for those who edit them, which is made for each of them.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from statistics import median

import httpx

from bench import Figures, Measure, load
from bench.calls import WARM_UP, Pace, in_turns
from bench.processes import TICK_SECONDS, Process, serving
from bench.store import Filled
from statusthing import build_app, open_store

CLIENTS = 32

MILLISECONDS = 1_000

_OF_THE_SERVER = {"date", "server"}  # headers that Hypercorn adds to every answer


def compare(server: Process, pace: Pace, folder: Path, *, conditional: bool) -> Measure:
    """Measure the front page against a bare application that sends the same bytes.

    Args:
        server: StatusThing.
        pace: how often, and how long.
        folder: for the files that the baseline needs.
        conditional: have every client know the page already, so that the answers are 304.

    Returns:
        See `in_turns`.
    """
    page = folder / "page.http"
    response, body = _get(server)
    head = "\r\n".join(f"{k}: {v}" for k, v in response.getheaders() if k not in _OF_THE_SERVER)
    page.write_bytes(head.encode() + b"\r\n\r\n" + body)
    bare = (sys.executable, "-m", "bench.bare", str(page))
    with serving(folder / "bare-page.log", *bare) as baseline:
        return in_turns(
            {
                name: partial(_load_of, process, pace.seconds, conditional=conditional)
                for name, process in {"statusthing": server, "bare": baseline}.items()
            },
            pace.rounds,
        )


def _get(process: Process) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(process.address, timeout=load.ANSWER_SECONDS)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def _load_of(process: Process, seconds: float, *, conditional: bool) -> Figures:
    response, page = _get(process)
    call = load.Call("/", [b""], len(page), clients=CLIENTS)
    if conditional:
        condition = {"if-none-match": response.headers["etag"]}
        call = call._replace(headers=condition, status=304, size=0)
    warm_up = load.http(process.address, call, seconds * WARM_UP)
    before = process.cpu_seconds()
    came = load.http(process.address, call, seconds)
    cpu_seconds = max(process.cpu_seconds() - before, TICK_SECONDS)
    return {
        "rps": came.calls / came.seconds,
        "p50_ms": came.p50 * MILLISECONDS,
        "p99_ms": came.p99 * MILLISECONDS,
        "errors": warm_up.errors + came.errors,
        "cpu_seconds": cpu_seconds,
        "cpu_us_per_call": cpu_seconds / came.calls * 1_000_000,
        "resident_mib": process.resident_mib(),
    }


async def after_writes(filled: Filled, times: int) -> Measure:
    """Measure the first request for the page after a write, from the reading to the last byte.

    Each of the writes is to another item. The very first page, for which nothing is there yet, is
    told apart.
    """
    app = build_app(open_store(filled.url))
    transport = httpx.ASGITransport(app)
    async with app, httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

        async def page() -> float:
            began = time.perf_counter()
            (await client.get("/")).raise_for_status()
            return (time.perf_counter() - began) * MILLISECONDS

        first = await page()
        taken = []
        for item in filled.items[:times]:
            await app.st.notes.add(item, "The repair is done, and we keep watching.")
            taken.append(await page())
    return {"first": {"ms": first}, "after a write": {"median_ms": median(taken)}}


async def listing(filled: Filled, times: int) -> Measure:
    """Measure how many lists of items an editor is shown in a second, in process.

    The first one, for which no row is there yet, is told apart.
    """
    app = build_app(open_store(filled.url))
    sent = {"authorization": f"Bearer {filled.token}"}
    transport = httpx.ASGITransport(app)
    async with (
        app,
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=sent) as client,
    ):

        async def lists(number: int) -> float:
            began = time.perf_counter()
            for _ in range(number):
                (await client.get("/admin")).raise_for_status()
            return time.perf_counter() - began

        first = await lists(1)
        seconds = median([await lists(times) for _ in range(3)])
    return {
        "first": {"ms": first * MILLISECONDS},
        "again": {"pages_per_second": times / seconds},
    }
