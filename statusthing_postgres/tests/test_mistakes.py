"""What the operator can put right is said in one line; what can be lost is left alone."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from tests.postgres import Postgres, own_server
from tests.units import NOW, add, item

from statusthing.errors import SchemaOutdated, SchemaTooNew, StoreUnavailable, UserMistake
from statusthing.model import Item
from statusthing.store import Query
from statusthing_postgres import PostgresStore

if TYPE_CHECKING:
    from statusthing_postgres.tests.conftest import Database

Run = Callable[[Coroutine[Any, Any, Any]], Any]

STATUSTHING = Path(sys.executable).with_name("statusthing")
WRONG = "hunter2/&"
SET_VERSION = "UPDATE statusthing_schema_version SET version_num = %s"

REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "wrong password": ({"password": WRONG}, "refuses this user, or its password"),
    "no password": ({"password": ""}, "refuses this user, or its password"),
    "unknown user": ({"user": "nobody", "password": WRONG}, "refuses this user, or its password"),
    "unknown database": ({"name": "no_such_database"}, "is not there: create it"),
    "unknown host": (
        {"host": "no-such-host.invalid", "password": WRONG},
        "the host 'no-such-host.invalid'",
    ),
    "one unknown host": (
        {"host": "127.0.0.1:1,no-such-host.invalid", "password": WRONG},
        "the host 'no-such-host.invalid'",
    ),
}
"""What is wrong with a URL, and what is said about it."""


@contextmanager
def mistake(says: str) -> Iterator[None]:
    """Expect a mistake, reported at once and in one line."""
    begun = time.monotonic()
    with pytest.raises(UserMistake) as caught:
        yield

    assert time.monotonic() - begun < 5
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert isinstance(caught.value.__cause__, psycopg.Error)
    assert "hunter2" not in str(caught.value.__cause__)


@pytest.mark.parametrize("call", ["open", "migrate"])
@pytest.mark.parametrize(("parts", "says"), REFUSED.values(), ids=REFUSED)
def test_who_and_where(
    server: Database, run: Run, call: str, parts: dict[str, str], says: str
) -> None:
    """A wrong password, user, host or database is a mistake."""
    with mistake(says):
        run(getattr(server.store(**parts), call)())


def test_a_host_that_has_an_address(server: Database, run: Run) -> None:
    """A host that is named for its certificate only, beside its address, need not be known."""
    port = urlsplit(server.url).port
    store = server.store(
        host=f"no-such-host.invalid:{port}", hostaddr="127.0.0.1", name="no_such_database"
    )
    with mistake("is not there: create it"):
        run(store.open())


@pytest.mark.parametrize("call", ["open", "migrate"])
def test_a_server_that_is_not_there(server: Database, run: Run, call: str) -> None:
    """A refused connection is no mistake: the server may come back."""
    with socket.socket() as unused:  # bound, so that nobody else listens there
        unused.bind(("127.0.0.1", 0))
        store = server.store(host=f"127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(StoreUnavailable) as failure:
            run(getattr(store, call)())

    assert isinstance(failure.value.__cause__, psycopg.OperationalError)


@pytest.mark.parametrize(
    "parameters", [{"sslmode": "bogus"}, {"connect_timeout": "soon"}, {"port": "99999"}]
)
def test_a_parameter_that_libpq_does_not_take(
    server: Database, run: Run, parameters: dict[str, str]
) -> None:
    """What libpq or its driver refuses is the cause of the error that escapes."""
    with pytest.raises(StoreUnavailable) as failure:
        run(server.store(**parameters).open())

    assert isinstance(failure.value.__cause__, psycopg.Error)


@pytest.mark.parametrize("schema", ["", "app"])
def test_a_user_who_may_not_create_tables(
    empty: Database, run: Run, make_user: Callable[..., str], schema: str
) -> None:
    """A user who lacks the right to create the tables, or their schema, is a mistake."""
    url = make_user()
    with mistake("does not let this user create"):
        run(PostgresStore(f"{url}?schema={schema}" if schema else url).open())

    assert empty.tables() == []


@pytest.mark.parametrize(
    ("grant", "says"), [("USAGE", "does not let this user"), ("CREATE", "no schema for this user")]
)
def test_a_schema_that_is_not_for_this_user(
    empty: Database, run: Run, make_user: Callable[..., str], grant: str, says: str
) -> None:
    """A schema that the user may look into only, or create in only, is a mistake."""
    url = make_user("CREATE SCHEMA app", f"GRANT {grant} ON SCHEMA app TO {{user}}")
    with mistake(says):
        run(PostgresStore(f"{url}?schema=app").open())

    assert empty.tables() == []


def test_a_schema_that_was_prepared(run: Run, make_user: Callable[..., str]) -> None:
    """A user who owns a schema needs no right to create schemas."""
    url = make_user("CREATE SCHEMA app AUTHORIZATION {user}")
    store = PostgresStore(f"{url}?schema=app")
    run(store.open())

    assert store.schema.created
    run(store.close())


def test_a_user_may_have_a_schema_by_their_name(
    empty: Database, run: Run, make_user: Callable[..., str]
) -> None:
    """Without a schema in the URL the tables are made where PostgreSQL would make any."""
    store = PostgresStore(make_user("CREATE SCHEMA AUTHORIZATION {user}"))
    run(store.open())
    run(store.close())

    assert {schema[:5] for schema, _ in empty.tables()} == {"user_"}


@pytest.mark.parametrize("call", ["open", "migrate"])
def test_a_server_that_only_reads(empty: Database, run: Run, call: str) -> None:
    """A server that takes no writes, as a standby, is a mistake before anything is laid out."""
    empty.rows(f"ALTER DATABASE {empty.name} SET default_transaction_read_only = on")
    with mistake("is read-only: name its primary"):
        run(getattr(empty.store(), call)())


def test_a_store_that_can_only_be_read(database: Database, run: Run) -> None:
    """So is one with a layout."""
    database.rows(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    with mistake("is read-only: name its primary"):
        run(database.store().open())


@pytest.mark.parametrize(
    ("version", "call", "error"),
    [
        ("0000", "open", SchemaOutdated),
        ("9999", "open", SchemaTooNew),
        ("9999", "migrate", SchemaTooNew),
    ],
)
def test_another_layout_is_left_untouched(
    database: Database, run: Run, version: str, call: str, error: type[Exception]
) -> None:
    """Another layout is refused in one line, and no row changes."""
    database.rows(SET_VERSION, version)
    before = database.content()
    with pytest.raises(error) as refusal:
        run(getattr(database.store(), call)())

    assert database.content() == before
    assert version in str(refusal.value)
    assert "\n" not in str(refusal.value)


def count(run: Run, store: PostgresStore) -> int:
    """Open a store and count its items."""
    run(store.open())
    number: int = run(store.read(lambda transaction: transaction.count(Query(Item))))
    run(store.close())
    return number


SCHEMAS = ["app", "App", "två ord", 'a"b', "it's", "100%", "a,b", "ß" * 31, "user", "%(x)s", "a\\b"]


@pytest.fixture(scope="module")
def several(postgres: Postgres) -> Iterator[str]:
    """The URL of a database with several schemas."""
    with postgres.database() as url:
        yield url


@pytest.mark.parametrize("schema", SCHEMAS)
def test_open_makes_the_schema(several: str, postgres: Postgres, run: Run, schema: str) -> None:
    """A schema that is not there is made, by exactly its name, and found again."""
    store = PostgresStore(f"{several}?schema={quote(schema)}")
    created = []
    for _ in range(2):
        run(store.open())
        created.append(store.schema.created)
        run(store.write(add(item(f"i{len(created)}")), now=NOW))
        run(store.close())

    names = "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'"
    assert created == [True, False]
    assert count(run, store) == 2
    assert (schema,) in postgres.execute(names, urlsplit(several).path[1:])


def test_schemas_are_stores_of_their_own(empty: Database, run: Run) -> None:
    """Stores in two schemas, and one in none, do not see each other's records."""
    stores = [empty.store(), empty.store(schema="one"), empty.store(schema="two")]
    for number, store in enumerate(stores):
        run(store.open())
        for n in range(number):
            run(store.write(add(item(f"i{n}")), now=NOW))
        run(store.close())

    assert [count(run, store) for store in stores] == [0, 1, 2]


def test_other_tables_are_left_alone(empty: Database, run: Run) -> None:
    """Tables of other programs in the database stay as they are."""
    empty.rows("CREATE TABLE accounts AS SELECT 7 AS id")
    empty.rows("CREATE SCHEMA other CREATE TABLE statusthing_items (id integer)")
    before = empty.content()
    store = empty.store()
    run(store.open())
    run(store.write(add(item("a")), now=NOW))
    run(store.close())

    after = empty.content()
    assert {table: after[table] for table in before} == before
    assert empty.items() == ["a"]


@pytest.mark.parametrize("call", ["open", "migrate"])
@pytest.mark.parametrize(
    "made", ["statusthing_items (id integer)", "statusthing_schema_version (version_num text)"]
)
def test_tables_that_only_look_like_ours(empty: Database, run: Run, call: str, made: str) -> None:
    """Tables named as ours without a layout of ours are refused, and stay as they are."""
    empty.rows(f"CREATE TABLE {made}")
    before = empty.content()
    with pytest.raises(UserMistake) as refusal:
        run(getattr(empty.store(), call)())

    assert empty.content() == before
    assert "\n" not in str(refusal.value)


def statusthing(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("STATUSTHING_")}
    return subprocess.run(
        [STATUSTHING, *arguments],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


COMMANDS = [("serve", "--addr=127.0.0.1:0"), ("migrate",)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("wrong", ["wrong password", "unknown host", "unknown database"])
def test_the_command_reports_a_mistake(
    server: Database, tmp_path: Path, command: tuple[str, ...], wrong: str
) -> None:
    """It exits with 2 and one line, and shows no password."""
    parts, says = REFUSED[wrong]
    ended = statusthing(tmp_path, *command, "--store", server.with_(**parts))

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("statusthing: ")
    assert ended.stderr.count("\n") == 1
    assert says in ended.stderr
    assert "hunter2" not in ended.stderr
    assert "not-a-secret" not in ended.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_the_command_reports_a_newer_layout(
    database: Database, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """It exits with 2 and one line, and shows no password."""
    database.rows(SET_VERSION, "9999")
    ended = statusthing(tmp_path, *command, "--store", database.url)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "statusthing: the data has the layout 9999, this software knows those up to "
        "0003: install the newer version\n"
    )


def warnings(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The level of each line of our log, and the setting that it is about."""
    return [
        (record.levelname, setting)
        for record in caplog.records
        if record.name == "statusthing.postgres"
        for setting in ("synchronous_commit=off", "fsync=off")
        if setting in record.getMessage()
    ]


def test_commits_that_may_be_lost_are_warned_of(
    postgres: Postgres, database: Database, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Each `open` says once that the database acknowledges commits before they are durable."""
    postgres.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    caplog.set_level(logging.DEBUG, "statusthing.postgres")
    found: list[list[tuple[str, str]]] = []
    for _ in range(2):
        store = database.store()
        run(store.open())
        run(store.write(add(item(f"i{len(found)}")), now=NOW))
        run(store.close())
        found.append(warnings(caplog))
        caplog.clear()

    assert found == [[("WARNING", "synchronous_commit=off")]] * 2


def test_a_server_that_may_lose_everything_is_warned_of(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Each `open` says once that the server leaves it to the system when to write to the disk."""
    with own_server("fsync=off") as server:
        store = PostgresStore(server.url("postgres"))
        run(store.open())
        run(store.close())

    assert warnings(caplog) == [("WARNING", "fsync=off")]


def test_a_server_that_loses_nothing_is_not_warned_of(
    database: Database, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """With the usual settings nothing is logged at all."""
    caplog.set_level(logging.DEBUG, "statusthing")
    store = database.store()
    run(store.open())
    run(store.close())

    assert [record for record in caplog.records if record.name.startswith("statusthing")] == []
