"""The operations on statuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from statusthing.errors import InvalidArgument
from statusthing.model import DEFAULT_COLOR, Item, Status, StatusKind, status_view
from statusthing.service import checks, pages
from statusthing.service.messages import (
    AddStatusRequest,
    AddStatusResponse,
    DeleteStatusRequest,
    DeleteStatusResponse,
    GetStatusRequest,
    GetStatusResponse,
    ListStatusRequest,
    ListStatusResponse,
    ReplaceStatusRequest,
    ReplaceStatusResponse,
    StatusInput,
    UpdateStatusRequest,
    UpdateStatusResponse,
)
from statusthing.service.unit import Unit, existing, given
from statusthing.store import Query, Transaction

DEFAULTS = (
    ("UP", StatusKind.UP, DEFAULT_COLOR),
    ("ONLINE", StatusKind.ONLINE, DEFAULT_COLOR),
    ("CREATED", StatusKind.CREATED, DEFAULT_COLOR),
    ("DOWN", StatusKind.DOWN, "#FF0000"),
    ("OFFLINE", StatusKind.OFFLINE, "#FF0000"),
    ("WARNING", StatusKind.WARNING, "#EEEB8D"),
    ("INVESTIGATING", StatusKind.INVESTIGATING, "#EEEB8D"),
    ("OBSERVING", StatusKind.OBSERVING, "#EEEB8D"),
)
"""The statuses that a new server begins with: name, kind, colour."""


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = MappingProxyType(
    {
        "name": checks.name,
        "description": checks.description,
        "color": checks.color,
        "kind": checks.kind,
    }
)


def _checked(request: AddStatusRequest | StatusInput, prefix: str = "") -> dict[str, Any]:
    values = {field: getattr(request, field) for field in _CHECKS}
    values["color"] = values["color"] or DEFAULT_COLOR
    return {field: check(prefix + field, values[field]) for field, check in _CHECKS.items()}


def get_status(request: GetStatusRequest) -> Callable[[Transaction], GetStatusResponse]:
    """Return a status."""
    id = checks.required_id("status_id", request.status_id)

    def work(tx: Transaction) -> GetStatusResponse:
        return GetStatusResponse(status=status_view(existing(tx, Status, id)))

    return work


def list_statuses(request: ListStatusRequest) -> Callable[[Transaction], ListStatusResponse]:
    """Return the statuses of the kinds asked for, in the order they were added."""
    kinds = checks.kinds("kinds", request.kinds)
    page = pages.page_request(request, sorted(kind.value for kind in kinds))
    where = {"kind": kinds} if kinds else {}

    def work(tx: Transaction) -> ListStatusResponse:
        found, token = pages.find_page(tx, Status, where, page)
        return ListStatusResponse(
            statuses=tuple(status_view(status) for status in found), next_page_token=token
        )

    return work


def initial_status(request: StatusInput) -> Callable[[Unit], Status]:
    """Return what finds or makes the status that comes along with a new item.

    An id that exists means that status, as it is; an id that is free is given to the new one.
    """
    fields = None
    if request.id:
        checks.new_id("initial_status.id", request.id)
    else:
        fields = _checked(request, "initial_status.")

    def work(unit: Unit) -> Status:
        if request.id:
            for found in unit.tx.find(Query(Status, where={"id": request.id})):
                return found
        return unit.create(
            Status, id=request.id, **(fields or _checked(request, "initial_status."))
        )

    return work


def add_status(request: AddStatusRequest) -> Callable[[Unit], AddStatusResponse]:
    """Add a status."""
    fields = _checked(request)

    def work(unit: Unit) -> AddStatusResponse:
        return AddStatusResponse(status=status_view(unit.create(Status, **fields)))

    return work


def update_status(request: UpdateStatusRequest) -> Callable[[Unit], UpdateStatusResponse]:
    """Change the fields that are given, or exactly those that the mask names."""
    id = checks.required_id("status_id", request.status_id)
    fields: dict[str, Any] = given(request, ("name", "description", "color", "kind"))
    if "color" in fields:
        fields["color"] = fields["color"] or DEFAULT_COLOR
    fields = {field: _CHECKS[field](field, value) for field, value in fields.items()}

    def work(unit: Unit) -> UpdateStatusResponse:
        status = unit.current(Status, id, request.expected_version)
        unit.change(status, msgspec.structs.replace(status, **fields))
        return UpdateStatusResponse()

    return work


def delete_status(request: DeleteStatusRequest) -> Callable[[Unit], DeleteStatusResponse]:
    """Remove a status that no item has."""
    id = checks.required_id("status_id", request.status_id)

    def work(unit: Unit) -> DeleteStatusResponse:
        unit.remove(unit.current(Status, id, request.expected_version))
        return DeleteStatusResponse()

    return work


def replace_status(request: ReplaceStatusRequest) -> Callable[[Unit], ReplaceStatusResponse]:
    """Remove a status, and give the items that have it another one in the same unit."""
    id = checks.required_id("status_id", request.status_id)
    if request.replacement_id == id:
        raise InvalidArgument("replacement_id", "must be another status")

    def work(unit: Unit) -> ReplaceStatusResponse:
        status = unit.current(Status, id, request.expected_version)
        other_id = None
        if request.replacement_id:
            other_id = existing(unit.tx, Status, request.replacement_id).id
        items = unit.tx.find(Query(Item, where={"status_id": status.id}))
        for item in items:
            unit.change(item, msgspec.structs.replace(item, status_id=other_id))
        unit.remove(status)
        return ReplaceStatusResponse(items=len(items))

    return work


def add_defaults(unit: Unit) -> None:
    """Add the default statuses to a store that never had anything to show: users do not count."""
    if unit.tx.public_revision:
        return
    for name, kind, color in DEFAULTS:
        unit.create(Status, name=name, kind=kind, color=color)
