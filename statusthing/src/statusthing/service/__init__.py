"""The operations, and `StatusThing`, which runs them over a store."""

from __future__ import annotations

from statusthing.service.operations import OPERATIONS, Operation
from statusthing.service.statusthing import StatusThing

__all__ = ["OPERATIONS", "Operation", "StatusThing"]
