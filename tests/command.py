"""Runs the `statusthing` command to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

STATUSTHING = Path(sys.executable).with_name("statusthing")


def statusthing(
    folder: Path, *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, with a standard input and variables of the environment.

    As in `sys.argv`, bytes that are not UTF-8 are lone surrogates.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith("STATUSTHING_")}
    ended = subprocess.run(
        [STATUSTHING, *arguments],
        cwd=folder,
        env=clean | environment,
        input=stdin.encode("utf-8", "surrogateescape"),
        capture_output=True,
        timeout=20,
        check=False,
    )
    return subprocess.CompletedProcess(
        ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode()
    )


def is_one_clear_line(stderr: str) -> bool:
    """Tell whether a message is for people: one line, no traceback."""
    return stderr.startswith("statusthing: ") and stderr.count("\n") == 1
