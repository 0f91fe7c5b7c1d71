"""The page about the settings."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from statusthing.errors import RequestError, VersionConflict
from statusthing.service.messages import GetSettingsRequest, UpdateSettingsRequest
from statusthing.web.admin.editing import REFUSALS, editing, expected_version
from statusthing.web.admin.frame import done, page
from statusthing.web.forms import read_form
from statusthing.web.settings import PageSettings
from statusthing.web.site import Site

_TAB = "settings"
_FIELDS = PageSettings.__struct_fields__


async def edit(site: Site, request: Request) -> Response:
    """Show the form that edits the settings."""
    return await _edit_page(site, request)


async def save(site: Site, request: Request) -> Response:
    """Save the settings; where one is empty, its default holds."""
    typed = await read_form(request)
    try:
        await site.run(
            request,
            UpdateSettingsRequest(
                **{field: typed.get(field, "") for field in _FIELDS},
                update_mask=_FIELDS,
                expected_version=await _expected(site, request, typed),
            ),
        )
    except REFUSALS as error:
        return await _edit_page(site, request, typed, error)
    return done(site, request, "settings-saved", to=_TAB)


async def _expected(site: Site, request: Request, typed: Mapping[str, str]) -> int:
    """Return the version that a form was opened with.

    As long as nobody has saved any it is 0, which to the service means whichever there is.
    """
    version = expected_version(typed)
    found = await site.run(request, GetSettingsRequest())
    if found.settings.version != version:
        raise VersionConflict(
            "Settings", "settings", expected=version, actual=found.settings.version
        )
    return version


async def _edit_page(
    site: Site,
    request: Request,
    typed: Mapping[str, str] | None = None,
    error: RequestError | None = None,
) -> Response:
    found = await site.run(request, GetSettingsRequest())
    now = {field: getattr(found.settings, field) for field in _FIELDS}
    form = editing(now, found.settings.version, typed, error)
    return page(
        site,
        request,
        "admin/settings.html",
        tab=_TAB,
        status=form.status,
        form=form,
        defaults=site.renderer.settings,
    )
