"""The operations, and `StatusThing`, which runs them over a store."""

from __future__ import annotations

from statusthing.service.operations import OPERATIONS, Operation
from statusthing.service.statusthing import StatusThing, utc_now, uuid7

__all__ = ["OPERATIONS", "Operation", "StatusThing", "utc_now", "uuid7"]
