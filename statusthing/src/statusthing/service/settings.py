"""The operations on the settings of the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from statusthing.errors import VersionConflict
from statusthing.model import Settings
from statusthing.service import checks
from statusthing.service.messages import (
    GetSettingsRequest,
    GetSettingsResponse,
    SettingsView,
    UpdateSettingsRequest,
    UpdateSettingsResponse,
)
from statusthing.service.unit import Unit, given
from statusthing.store import Query, Transaction

_ID = "settings"


def _color(field: str, value: str) -> str:
    return checks.color(field, value) if value else value


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = MappingProxyType(
    {
        "title": checks.line,
        "description": checks.description,
        "logo_url": checks.own_image,
        "accent_color": _color,
        "links": checks.links,
        "footer": checks.line,
    }
)


def current(tx: Transaction) -> Settings | None:
    """Return the settings, or None as long as nobody has set any."""
    return next(iter(tx.find(Query(Settings, {"id": _ID}))), None)


def settings_view(settings: Settings | None) -> SettingsView:
    """Return the view of the settings, or of their absence."""
    if settings is None:
        return SettingsView()
    return SettingsView(
        version=settings.version, **{field: getattr(settings, field) for field in _CHECKS}
    )


def get_settings(_: GetSettingsRequest) -> Callable[[Transaction], GetSettingsResponse]:
    """Return the settings."""

    def work(tx: Transaction) -> GetSettingsResponse:
        return GetSettingsResponse(settings=settings_view(current(tx)))

    return work


def update_settings(request: UpdateSettingsRequest) -> Callable[[Unit], UpdateSettingsResponse]:
    """Change the fields that are given, or exactly those that the mask names."""
    fields = given(request, tuple(_CHECKS))
    fields = {field: _CHECKS[field](field, value) for field, value in fields.items()}

    def work(unit: Unit) -> UpdateSettingsResponse:
        before = current(unit.tx)
        version = before.version if before else 0
        if request.expected_version not in (0, version):
            raise VersionConflict(
                "Settings", _ID, expected=request.expected_version, actual=version
            )
        if before is None:
            unit.create(Settings, id=_ID, **fields)
        else:
            unit.change(before, msgspec.structs.replace(before, **fields))
        return UpdateSettingsResponse()

    return work
