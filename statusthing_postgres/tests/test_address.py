"""What a URL says, and how much of it is shown."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg import pq

from statusthing import open_store
from statusthing.errors import UserMistake
from statusthing_postgres import PostgresStore, from_url
from statusthing_postgres.address import parse


@pytest.mark.parametrize(
    ("rest", "parameters"),
    [
        ("", {}),
        ("/", {}),
        ("host", {"host": "host"}),
        ("host/data", {"host": "host", "dbname": "data"}),
        ("ada@host:1/data", {"user": "ada", "host": "host", "port": "1", "dbname": "data"}),
        ("ada:secret@/data", {"user": "ada", "password": "secret", "dbname": "data"}),
        ("one:1,two:2/data", {"host": "one,two", "port": "1,2", "dbname": "data"}),
        ("one,two/?port=7", {"host": "one,two", "port": "7"}),
        ("[::1]:1/data", {"host": "::1", "port": "1", "dbname": "data"}),
        ("[::1]:1,[fe80::2]:2/", {"host": "::1,fe80::2", "port": "1,2"}),
        ("one,[::1]:1,two/", {"host": "one,::1,two", "port": ",1,"}),
        ("/data?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "data"}),
        ("%2Frun%2Fpostgresql/data", {"host": "/run/postgresql", "dbname": "data"}),
        (
            "a%40b:%3A%2F%3F%23%25%20%C3%A9@host/d%C3%A4ta%20base",
            {"user": "a@b", "password": ":/?#% é", "host": "host", "dbname": "däta base"},
        ),
        ("host?sslmode=require", {"host": "host", "sslmode": "require"}),
        ("/?user=a%26b&password=1+1%3D2", {"user": "a&b", "password": "1+1=2"}),
        ("/data?options=-c%20geqo%3Doff", {"options": "-c geqo=off", "dbname": "data"}),
    ],
)
@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_parameters(scheme: str, rest: str, parameters: dict[str, str]) -> None:
    """Each part of a URL becomes the parameter of libpq that it means."""
    address = parse(f"{scheme}://{rest}")

    assert {name: value for name, value in address.parameters.items() if value} == parameters
    assert address.schema is None


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ("app", "app"),
        ("App", "App"),
        ('a%20b%22c%27%C3%A9%26%3D"', 'a b"c\'é&="'),
        ("a+b", "a+b"),
        ("é" * 31, "é" * 31),
        ("x" * 63, "x" * 63),
    ],
)
def test_the_schema(value: str, schema: str) -> None:
    """A URL may name a schema, which is no parameter of libpq, with any characters."""
    address = parse(f"postgresql://host/data?sslmode=disable&schema={value}&port=1")

    assert address.schema == schema
    assert address.parameters == {
        "host": "host",
        "dbname": "data",
        "sslmode": "disable",
        "port": "1",
    }


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("ada:hunter2@host/?colour=hunter2", "no parameter 'colour': it takes `schema`"),
        ("ada:hunter2@host/?hunter=1&schema=a", "no parameter 'hunter'"),
        (f"ada:hunter2@host/?{'x' * 5_000}=1", "no parameter 'xxx"),
        ("ada:hunter2@host/#part", "a PostgreSQL URL is postgresql://"),
        ("ada:hunter2@[::1/data", "a PostgreSQL URL is postgresql://"),
        ("ada:hunter2%ZZ@host/data", "a PostgreSQL URL is postgresql://"),
        ("ada:hunter2%00@host/data", "a PostgreSQL URL is postgresql://"),
        ("ada:hunter2@host/data?user=%FF", "a PostgreSQL URL is postgresql://"),
        ("ada:hun@ter2@host/data", "a PostgreSQL URL is postgresql://"),
        ("ada:hun/ter2@host/data", "a PostgreSQL URL is postgresql://"),
        ("ada:hun?ter2@host/data", "a PostgreSQL URL is postgresql://"),
        ("ada:hun#ter2@host/data", "a PostgreSQL URL is postgresql://"),
        ("ada:hun\nter2@host/data", "a PostgreSQL URL is postgresql://"),
        ("ada:hunter2/data", "a PostgreSQL URL is postgresql://"),
        ("ada:hunter2@host:port/data", "a PostgreSQL URL is postgresql://"),
        ("ada:hunter2@host/?port=1,x", "a PostgreSQL URL is postgresql://"),
        ("ada:hunter2@host/?schema=a&schema=b", "names one schema, of at most 63 bytes"),
        ("ada:hunter2@host/?schema=", "names one schema"),
        ("ada:hunter2@host/?schema", "names one schema"),
        ("ada:hunter2@host/?schema=a%00b", "names one schema"),
        (f"ada:hunter2@host/?schema={'x' * 64}", "names one schema"),
        (f"ada:hunter2@host/?schema={'é' * 32}", "names one schema"),
        ("ada:hunter2@host/?schema=pg_temp", "to itself"),
        ("ada:hunter2@host/?schema=information_schema", "to itself"),
    ],
)
def test_a_mistake(rest: str, says: str) -> None:
    """A URL that cannot be used is refused in one short line without a secret."""
    with pytest.raises(UserMistake) as mistake:
        parse(f"postgresql://{rest}")

    assert says in str(mistake.value)
    assert len(str(mistake.value)) < 200
    assert "\n" not in str(mistake.value)
    assert "ter2" not in str(mistake.value)
    assert mistake.value.__cause__ is None


@pytest.mark.parametrize(
    "url", ["postgresql:", "postgresql:host", "postgresql:/host", "sqlite://host", "://host", ""]
)
def test_another_kind_of_url(url: str) -> None:
    """A URL of another form is refused."""
    with pytest.raises(UserMistake, match="a PostgreSQL URL is postgresql://"):
        parse(url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_both_schemes_open_it(scheme: str) -> None:
    """`open_store` makes this store for either scheme, in any case."""
    for each in (scheme, scheme.upper()):
        store = open_store(f"{each}://ada:hunter2@host/data")

        assert isinstance(store, PostgresStore)
        assert store.url == f"{scheme}://ada@host/data"


@pytest.mark.parametrize(
    ("rest", "shown"),
    [
        ("host/data", "host/data"),
        ("ada@host/data", "ada@host/data"),
        ("ada:hunter2@host/data", "ada@host/data"),
        (":hunter2@host/data", "@host/data"),
        ("ada:hunter2@one:1,[::1]:2/data", "ada@one:1,[::1]:2/data"),
        ("a%40b:c%3Ad@/d%20b?host=/run/x", "a%40b@/d%20b?host=/run/x"),
        (
            "host/data?password=hunter2&schema=S%20%26&sslpassword=hunter2&user=ada",
            "host/data?schema=S%20%26&user=ada",
        ),
        ("host/?password=hunter2", "host/"),
    ],
)
def test_what_is_shown(rest: str, shown: str) -> None:
    """The store's URL is the one that it was given, without anything secret."""
    assert from_url(f"postgresql://{rest}").url == f"postgresql://{shown}"


SECRETS = [
    option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar == b"*"
]
ODD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=8)


def told(url: str) -> str:
    """Return everything that the store and its refusals say about a URL."""
    try:
        store = from_url(url)
    except UserMistake as mistake:
        return f"{mistake!r} {mistake} {mistake.__cause__!r}"
    return f"{store.url} {store!r} {store} {vars(store)['url']}"


def test_libpq_has_secrets() -> None:
    """The passwords are among the parameters whose values libpq does not want shown."""
    assert {"password", "sslpassword"} <= set(SECRETS)


@given(ODD)
@example("hunter/2@host")
@example("hunter?2@host")
@example("hunter@2@host#")
@example("hun&ter=2")
def test_no_password_is_ever_shown(password: str) -> None:
    """Neither as it is nor encoded, wherever it stands, encoded rightly or not at all."""
    # What is said of a URL without such a password, which may be one of these words.
    endings = ("", "?sslmode=disable", "?no-such=1", "?schema=pg_x", "#")
    safe = told("postgresql:") + "".join(
        told(f"postgresql://ada:x@db.example/data{end}") for end in endings
    )
    encoded = quote(password, safe="")
    urls = [
        f"postgresql://ada:{written}@db.example/data{end}"
        for written in (encoded, password)
        for end in endings
    ]
    urls += [
        f"postgresql://ada@db.example/data?{name}={encoded}{end}"
        for name in SECRETS
        for end in ("", "&no-such=1", "&schema=pg_x")
    ]

    for url in urls:
        words = told(url)
        assert password in safe or password not in words, url
        assert encoded in safe or encoded not in words, url
        assert repr(password)[1:-1] in safe or repr(password)[1:-1] not in words, url


@given(rest=st.text())
def test_any_text_is_a_url_or_a_mistake(rest: str) -> None:
    """Whatever follows the scheme, what is said about it is one line."""
    assert len(told(f"postgresql://{rest}").splitlines()) == 1
