"""Processes that serve, and what the operating system says of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).parents[1]

STATUSTHING = (str(Path(sys.executable).with_name("statusthing")), "serve", "--addr=127.0.0.1:0")
"""The command, on a free port; the store is wanting."""

STOP_SECONDS = 20.0

TICK_SECONDS = 0.01
"""In what steps the CPU time of a process grows, on Linux: in less time none may be seen."""


class Process(NamedTuple):
    """A process that serves.

    Attributes:
        system: what the operating system knows of it.
        address: HOST:PORT.
    """

    system: psutil.Process
    address: str

    def cpu_seconds(self) -> float:
        """How long it has kept processors busy so far, with all its threads."""
        times = self.system.cpu_times()
        return times.user + times.system

    def resident_mib(self) -> float:
        """How much of its memory is in RAM."""
        return self.system.memory_info().rss / 2**20


@contextmanager
def serving(log: Path, *command: str) -> Iterator[Process]:
    """Run a command that says where it listens; its standard error goes to the file `log`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STATUSTHING_")}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        line = next(iter(process.stdout or ()), "")
        if not line.startswith("listening on http://"):
            raise RuntimeError(f"{' '.join(command)} does not serve: {log.read_text()}")
        yield Process(psutil.Process(process.pid), line.strip().rpartition("/")[2])
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.communicate()
