"""The handlers of what load balancers and orchestrators ask for."""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from statusthing.errors import StoreError, UserMistake, with_cause
from statusthing.web.answers import UNKEPT
from statusthing.web.site import Site

_HEADERS = {"cache-control": UNKEPT}

_log = logging.getLogger("statusthing.web")


async def healthz(_: Site, __: Request) -> Response:
    """Tell that the process answers."""
    return JSONResponse({"status": "ok"}, headers=_HEADERS)


async def readyz(site: Site, _: Request) -> Response:
    """Tell whether the store answers too."""
    try:
        await site.ready()
        await site.st.revision()
    except (StoreError, UserMistake) as error:
        _log.error("not ready: %s", with_cause(error))
        answer = {"status": "unavailable", "reason": "the store does not answer"}
        return JSONResponse(answer, status_code=503, headers=_HEADERS)
    return JSONResponse({"status": "ok"}, headers=_HEADERS)
