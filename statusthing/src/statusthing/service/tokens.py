"""The operations on tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from statusthing.errors import InvalidArgument, PermissionDenied
from statusthing.model import Token, TokenUse, TokenView, token_view
from statusthing.service import checks, pages
from statusthing.service.credentials import digest
from statusthing.service.messages import (
    AddTokenRequest,
    AddTokenResponse,
    GetTokenRequest,
    GetTokenResponse,
    ListTokensRequest,
    ListTokensResponse,
    RevokeTokenRequest,
    RevokeTokenResponse,
)
from statusthing.service.unit import Unit, existing
from statusthing.store import Query, Transaction


def list_tokens(request: ListTokensRequest) -> Callable[[Transaction], ListTokensResponse]:
    """Return tokens without their secrets, in the order they were added."""
    page = pages.page_request(request, request.user_id)
    where = {"user_id": checks.possible_ids("user_id", [request.user_id])}

    def work(tx: Transaction) -> ListTokensResponse:
        found, following = pages.find_page(tx, Token, where if request.user_id else {}, page)
        return ListTokensResponse(tokens=views(tx, found), next_page_token=following)

    return work


def get_token(request: GetTokenRequest) -> Callable[[Transaction], GetTokenResponse]:
    """Return a token without its secret."""
    id = checks.required_id("token_id", request.token_id)

    def work(tx: Transaction) -> GetTokenResponse:
        [view] = views(tx, [existing(tx, Token, id)])
        return GetTokenResponse(token=view)

    return work


def views(tx: Transaction, tokens: Sequence[Token]) -> tuple[TokenView, ...]:
    """Return the views of tokens, each with when it was used last."""
    if not tokens:
        return ()
    ids = frozenset(token.id for token in tokens)
    used = {use.id: use.updated for use in tx.find(Query(TokenUse, {"id": ids}))}
    return tuple(token_view(token, used.get(token.id)) for token in tokens)


def add_token(request: AddTokenRequest) -> Callable[[Unit], AddTokenResponse]:
    """Add a token, which belongs to the caller's account if they have one."""
    name = checks.name("name", request.name)
    role = checks.role("role", request.role)
    expires = _utc(request.expires)

    def work(unit: Unit) -> AddTokenResponse:
        if role > unit.principal.role:
            msg = f"{unit.principal.name} may not make a token above their own role"
            raise PermissionDenied(msg)
        if expires is not None and expires <= unit.now:
            raise InvalidArgument("expires", "must be in the future")
        token = unit.create(
            Token,
            name=name,
            digest=digest(unit.secret),
            role=role,
            user_id=unit.principal.user_id or None,
            expires=expires,
        )
        return AddTokenResponse(token=token_view(token), secret=unit.secret)

    return work


def revoke_token(request: RevokeTokenRequest) -> Callable[[Unit], RevokeTokenResponse]:
    """Remove a token."""
    id = checks.required_id("token_id", request.token_id)

    def work(unit: Unit) -> RevokeTokenResponse:
        unit.remove(existing(unit.tx, Token, id))
        unit.tx.remove_where(Query(TokenUse, {"id": id}), limit=1)
        return RevokeTokenResponse()

    return work


def _utc(expires: datetime | None) -> datetime | None:
    if expires is None:
        return None
    if expires.tzinfo is None:
        raise InvalidArgument("expires", "must be an instant with a time zone")
    return expires.astimezone(UTC)
