"""Several processes that do the same work: started, watched, replaced when they end, stopped."""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from statusthing import limits
from statusthing.server import STOP_SIGNALS, ignore_stop_signals

Work = Callable[..., None]
"""What a process does: called with the arguments for all of them, and with a function to call once
it is ready.

It is found by its name in a fresh interpreter, so it stands at the top of a module, and its
arguments can be pickled. It ends after SIGTERM.
"""

_STOP_SECONDS = limits.GRACE_SECONDS + 2 * limits.CUT_SECONDS + 0.5
_REPLACE_SECONDS = 1.0  # between two starts in one place, so that what cannot start costs little

_log = logging.getLogger(__name__)

# Fresh interpreters: of threads, locks and open databases, a fork would copy the useless half.
_spawn = multiprocessing.get_context("spawn")


class _Worker:
    """A process."""

    def __init__(self, work: Work, arguments: tuple[Any, ...]) -> None:
        self._said, says = _spawn.Pipe(duplex=False)
        self.process = _spawn.Process(target=_run, args=(work, arguments, says), daemon=True)
        self.started = time.monotonic()
        with _sigint_held_back():
            self.process.start()
        says.close()

    def is_ready(self) -> bool:
        """Wait until it is ready; false if it ended before."""
        with contextlib.suppress(EOFError):
            return bool(self._said.recv())
        self.process.join()
        return False


class _Crew:
    """The processes, and whether they are to stop."""

    def __init__(self, work: Work, arguments: tuple[Any, ...], on_stop: Callable[[], None]) -> None:
        self._on_stop = on_stop
        self._starting = False
        self._make = functools.partial(_Worker, work, arguments)
        self.workers: list[_Worker] = []
        self.stopping = False

    def start(self) -> None:
        """Start one more, unless they are to stop."""
        self._starting = True
        if not self.stopping:
            self.workers.append(self._make())
        self._starting = False
        if self.stopping:
            self._end()

    def replace_ended(self) -> None:
        """Wait until some process ends, and start another in its place."""
        ended = wait([worker.process.sentinel for worker in self.workers])
        for worker in [each for each in self.workers if each.process.sentinel in ended]:
            worker.process.join()
            if self.stopping:
                return
            _log.error("process %d ended (%s); another takes its place", *_end_of(worker))
            time.sleep(max(0.0, worker.started + _REPLACE_SECONDS - time.monotonic()))
            self.workers.remove(worker)
            self.start()

    def stop(self) -> None:
        """Have all of them end; called by a signal, at any moment."""
        self.stopping = True
        if not self._starting:  # otherwise `start` sees to it
            self._end()

    def _end(self) -> None:
        self._on_stop()
        for worker in self.workers:
            worker.process.terminate()

    def ended_well(self) -> bool:
        """Wait for the end of all of them; kill those that do not come to it."""
        latest = time.monotonic() + _STOP_SECONDS
        for worker in self.workers:
            worker.process.join(max(0.0, latest - time.monotonic()))
            worker.process.kill()
            worker.process.join()
        return all(worker.process.exitcode in {0, -signal.SIGTERM} for worker in self.workers)


def supervise(
    count: int,
    work: Work,
    arguments: tuple[Any, ...],
    *,
    on_start: Callable[[], None],
    on_stop: Callable[[], None],
) -> int:
    """Keep `count` processes at work until SIGINT or SIGTERM, then stop them.

    To be called from the main thread. The first process starts alone, so that whatever keeps all
    of them from starting is said once.

    Args:
        count: how many processes.
        work: see `Work`.
        arguments: what it is called with.
        on_start: called once, when all of them are ready.
        on_stop: called once, when the signal arrives.

    Returns:
        An exit code: that of the first process if it could not start; 1 if one did not stop as it
        should; otherwise 0.
    """
    crew = _Crew(work, arguments, on_stop)

    def stop(*_: object) -> None:
        crew.stop()

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    crew.start()
    if not all(worker.is_ready() for worker in crew.workers) and not crew.stopping:
        return max(1, crew.workers[0].process.exitcode or 0)
    for _ in range(count - 1):
        crew.start()
    # A process that could not start is replaced below, which the others need not wait for.
    for worker in crew.workers[1:]:
        worker.is_ready()
    if not crew.stopping:
        on_start()
    while not crew.stopping:
        crew.replace_ended()
    ended_well = crew.ended_well()
    ignore_stop_signals()
    return 0 if ended_well else 1


def _run(work: Work, arguments: tuple[Any, ...], says: Connection) -> None:
    """Work, in the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work(*arguments, lambda: says.send("ready"))


@contextlib.contextmanager
def _sigint_held_back() -> Iterator[None]:
    """Start a process that is deaf to SIGINT from its first moment.

    A terminal sends it to every process; those that work end when their parent says so.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # which otherwise is started within, and lets signals in
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _end_of(worker: _Worker) -> tuple[int | None, str]:
    code = worker.process.exitcode or 0
    return worker.process.pid, signal.Signals(-code).name if code < 0 else f"exit code {code}"
