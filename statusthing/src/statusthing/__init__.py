"""StatusThing: a status page to embed or to serve, over a pluggable store.

`build_app` is loaded when it is first asked for, so that a program that only calls the service in
process pays for neither the web nor protobuf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statusthing.access import ANONYMOUS, TRUSTED, Principal, Role
from statusthing.errors import StatusThingError
from statusthing.model import ItemView, NoteView, StatusKind, StatusView
from statusthing.registry import open_store, register
from statusthing.service import StatusThing
from statusthing.service.messages import StatusInput

if TYPE_CHECKING:
    from statusthing.app import build_app
else:

    def __getattr__(name: str) -> Any:
        if name == "build_app":
            from statusthing.app import build_app  # noqa: PLC0415 - see the module's docstring

            return build_app
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


__version__ = "0.1.0"

__all__ = [
    "ANONYMOUS",
    "TRUSTED",
    "ItemView",
    "NoteView",
    "Principal",
    "Role",
    "StatusInput",
    "StatusKind",
    "StatusThing",
    "StatusThingError",
    "StatusView",
    "__version__",
    "build_app",
    "open_store",
    "register",
]
