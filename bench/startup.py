"""What importing StatusThing takes, and starting its server."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench import Figures, Measure
from bench.calls import post
from bench.processes import STATUSTHING, serving


def importing(times: int) -> Measure:
    """Measure `import statusthing` in a new process, in turns with one that imports nothing."""
    taken = [(_python("pass"), _python("import statusthing")) for _ in range(times)]
    return {
        "python": {"ms": median(bare for bare, _ in taken)},
        "import": {"ms": median(full - bare for bare, full in taken)},
    }


def _python(program: str) -> float:
    began = time.perf_counter()
    # Isolated, or the folder `statusthing` of the repository would be looked through.
    subprocess.run((sys.executable, "-I", "-c", program), check=True)
    return (time.perf_counter() - began) * 1_000


def starting(times: int) -> Measure:
    """Measure `statusthing serve` on a new store, from the command to its first answer."""
    taken = [_start() for _ in range(times)]
    return {"serve": {figure: median(each[figure] for each in taken) for figure in taken[0]}}


def _start() -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        options = (f"--store=sqlite:///{folder}/new.db", f"--setup-file={folder}/setup")
        with serving(Path(folder, "log"), *STATUSTHING, *options) as server:
            post(server.address, "/statusthing.v1.StatusService/ListStatus", b"{}")
            seconds = time.perf_counter() - began
            return {"first_answer_seconds": seconds, "resident_mib": server.resident_mib()}
