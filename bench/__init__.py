"""The benchmark: `nox -s bench`. It is part of no distribution.

Attributes:
    Figures: of one program, by name; the names end with the unit.
    Measure: the figures of everything compared, by its name, or `a/b` for the ratios of two.
"""

from __future__ import annotations

Figures = dict[str, float]
Measure = dict[str, Figures]
