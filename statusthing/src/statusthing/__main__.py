"""`python -m statusthing`."""

from __future__ import annotations

from statusthing.cli import main

main()
