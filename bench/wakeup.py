"""How long it takes until a wait in one process hears of a change that another one makes.

python -m bench.wakeup URL    adds an item for each line that it reads, and prints when it began
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from statistics import median
from typing import IO

from bench import Figures
from bench.processes import ROOT, STOP_SECONDS
from statusthing import StatusThing, open_store

WAKE_SECONDS = 10.0
"""The longest that is waited for a change."""

PAUSE_SECONDS = 0.2
"""How long a wait lasts before something happens."""


def waking(url: str, times: int) -> Figures:
    """Measure from the beginning of a write in another process to the end of the wait in this one.

    The clock of `time.monotonic` is the same in all processes, on Linux.
    """
    command = (sys.executable, "-m", "bench.wakeup", url)
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            taken = asyncio.run(_wait(url, times, writer.stdin, writer.stdout))
        finally:
            writer.communicate(timeout=STOP_SECONDS)
    return {"median_ms": median(taken) * 1_000}


async def _wait(url: str, times: int, to: IO[str] | None, of: IO[str] | None) -> list[float]:
    """Return how many seconds each write took to be heard of."""
    taken = []
    async with StatusThing(open_store(url)) as st:
        for _ in range(times):
            waiting = asyncio.create_task(st.store.wait(await st.revision()))
            await asyncio.sleep(PAUSE_SECONDS)
            print(file=to, flush=True)
            await asyncio.wait_for(waiting, WAKE_SECONDS)
            heard = time.monotonic()
            taken.append(heard - float(next(iter(of or ()))))
    return taken


async def _write(url: str) -> None:
    async with StatusThing(open_store(url)) as st:
        while await asyncio.to_thread(sys.stdin.readline):
            began = time.monotonic()
            await st.items.add(name=f"woken at {began}")
            print(began, flush=True)


if __name__ == "__main__":
    asyncio.run(_write(sys.argv[1]))
