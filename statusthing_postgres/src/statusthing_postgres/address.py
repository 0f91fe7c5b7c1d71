"""Where a database is: what a URL says, and how much of it may be shown.

libpq reads the URL, which may name several hosts and any parameter that libpq knows.
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict

from statusthing.errors import UserMistake

# An @ that is not the end of the user and the password has to be encoded: one behind an / or a ? is
# likely to be in a password, or at its end, whose other special characters are not encoded either.
_URL = re.compile(
    r"""(postgres(?:ql)?://)
        (?:([^:@/?#]*)(:[^@/?#]*)?(@))?
        ([^@/?#]*(?:/[^@?#]*)?)
        (?:\?([^@#]*))?""",
    re.VERBOSE,
)
_PORTS = re.compile(r"[0-9,]*")

_NAME_BYTES = 63  # https://www.postgresql.org/docs/current/limits.html
_NAME_SHOWN = 40

# How a parameter is shown in a form, as libpq says it: empty for those that are no secret.
_SHOWN = {option.keyword.decode(): not option.dispchar for option in pq.Conninfo.get_defaults()}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A database.

    Attributes:
        url: for people's eyes, without any secret.
        parameters: of libpq.
        schema: the schema that the URL names, if it does.
    """

    url: str
    parameters: Mapping[str, Any]
    schema: str | None

    def __repr__(self) -> str:
        return self.url


def parse(url: str) -> Address:
    """Read a URL such as `postgresql://user:password@host:5432/database?schema=name`.

    Raises:
        UserMistake: it has a parameter that libpq does not know, or is not a URL of PostgreSQL's.
    """
    form = _URL.fullmatch(url)
    if form is None or not url.isprintable():
        raise UserMistake(_FORM)
    scheme, user, password, at, place, query = (part or "" for part in form.groups())
    try:
        # To libpq a + stands for itself.
        encoded = query.replace("+", "%2B")
        parameters = parse_qsl(encoded, keep_blank_values=True, errors="strict")
    except ValueError:
        raise UserMistake(_FORM) from None
    for name, _ in parameters:
        if name not in _SHOWN and name != "schema":
            msg = (
                f"a PostgreSQL URL has no parameter {name[:_NAME_SHOWN]!r}: it takes `schema`, and "
                "the parameters of libpq"
            )
            raise UserMistake(msg)
    schemas = [value for name, value in parameters if name == "schema"]
    others = [(name, value) for name, value in parameters if name != "schema"]
    try:
        known = conninfo_to_dict(f"{scheme}{user}{password}{at}{place}{_query(others)}")
    except ProgrammingError:  # whose text may have the password in it
        raise UserMistake(_FORM) from None
    if not _PORTS.fullmatch(str(known.get("port", ""))):  # a password, for want of a host
        raise UserMistake(_FORM)
    shown = [(name, value) for name, value in parameters if _SHOWN.get(name, True)]
    return Address(
        url=f"{scheme}{user}{at}{place}{_query(shown)}",
        parameters=known,
        schema=_schema(schemas),
    )


def _query(parameters: list[tuple[str, str]]) -> str:
    text = urlencode(parameters, quote_via=quote, safe="/,")
    return f"?{text}" if text else ""


_FORM = (
    "a PostgreSQL URL is postgresql://user:password@host:5432/database, percent-encoded; "
    "parameters come behind a ?"
)


def _schema(named: list[str]) -> str | None:
    if not named:
        return None
    name, *more = named
    if more or not name or "\0" in name or len(name.encode()) > _NAME_BYTES:
        msg = f"a PostgreSQL URL names one schema, of at most {_NAME_BYTES} bytes"
        raise UserMistake(msg)
    if name.startswith("pg_") or name == "information_schema":
        raise UserMistake("PostgreSQL keeps information_schema and the schemas pg_... to itself")
    return name
