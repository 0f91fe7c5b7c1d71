"""`python -m statusthing`."""

from __future__ import annotations

from statusthing.cli import main

if __name__ == "__main__":  # worker processes import this too
    main()
