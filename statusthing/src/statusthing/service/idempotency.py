"""Idempotency keys: a repeated request gets its first answer and writes nothing.

The answer is kept in the same unit as the effect, so either both are there or neither is. Neither
a password nor the secret of a token is kept: a repeat is not told the secret again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import msgspec

from statusthing.access import Principal
from statusthing.errors import InvalidArgument
from statusthing.model import KeptAnswer, View
from statusthing.service import checks
from statusthing.service.messages import Request
from statusthing.service.unit import Unit
from statusthing.store import Query, Range

KEPT_FOR = timedelta(hours=24)
"""How long a repeat gets the first answer."""

_SWEEP = 100
"""How many answers that have expired are forgotten whenever one is kept."""


_S = TypeVar("_S", bound=msgspec.Struct)


def _without(message: _S, secret: str) -> _S:
    if secret not in message.__struct_fields__:
        return message
    return msgspec.structs.replace(message, **{secret: ""})


def once(
    request: Request,
    response: type[View],
    principal: Principal,
    work: Callable[[Unit], View],
) -> Callable[[Unit], View]:
    """Make a unit of work run at most once per idempotency key.

    Args:
        request: what was asked; a key is scoped to its type and to the principal.
        response: the type of the answer.
        principal: who asked.
        work: the unit of work.

    Raises:
        InvalidArgument: the key is malformed, or, from the unit, was used for another request.
    """
    key: str = getattr(request, "request_id", "")
    if not key:
        return work
    checks.request_id("request_id", key)
    scope = (principal.key, type(request).__name__, key)
    id = hashlib.sha256(msgspec.json.encode(scope)).hexdigest()
    try:
        digest = hashlib.sha256(msgspec.json.encode(_without(request, "password"))).hexdigest()
    except UnicodeEncodeError as error:
        raise InvalidArgument("", "the request has a lone surrogate") from error

    def work_once(unit: Unit) -> View:
        for kept in unit.tx.find(Query(KeptAnswer, where={"id": id})):
            if kept.expires > unit.now:
                if kept.digest != digest:
                    raise InvalidArgument("request_id", "was used for a request that differs")
                return msgspec.json.decode(kept.answer, type=response)
            unit.tx.remove(KeptAnswer, id)
        answer = work(unit)
        unit.tx.remove_where(Query(KeptAnswer, where={"expires": Range(lt=unit.now)}), limit=_SWEEP)
        unit.tx.add(
            KeptAnswer(
                id=id,
                created=unit.now,
                updated=unit.now,
                digest=digest,
                answer=msgspec.json.encode(_without(answer, "secret")).decode(),
                expires=unit.now + KEPT_FOR,
            )
        )
        return answer

    return work_once
