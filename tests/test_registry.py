"""Finding stores: the right one and no other, and what is said of those that do not work."""

from __future__ import annotations

import re
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.plugins import BROKEN, WORKING, install

from statusthing import open_store, register, registry
from statusthing.errors import StatusThingError, UserMistake, with_cause
from statusthing.memory import MemoryStore
from statusthing.store import Store

SECONDS = 10
URL = "acme://ada:hunter2@db.example/kept?token=s3cret"


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, for plugins."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for module in set(sys.modules) - before:
        del sys.modules[module]


@pytest.fixture
def nothing_installed(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, as the only place where something can be installed."""
    monkeypatch.setattr(sys, "path", [str(plugins)])
    return plugins


@pytest.fixture
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A register of the test's own."""
    monkeypatch.setattr(registry, "_registered", {})


def mistake(url: str) -> str:
    """Return what is said about a URL that is somebody's mistake."""
    with pytest.raises(UserMistake) as raised:
        open_store(url)
    return str(raised.value)


def failure(url: str) -> StatusThingError:
    """Return the error for a store that is broken, which is nobody's mistake here."""
    with pytest.raises(StatusThingError) as raised:
        open_store(url)
    assert not isinstance(raised.value, UserMistake)
    return raised.value


# The right one


def test_a_store_is_found_by_its_scheme(plugins: Path) -> None:
    """The factory of the plugin that claims the scheme gets the URL, and makes the store."""
    install(plugins)

    assert open_store(URL).url == "acme://ada:hunter2@db.example/kept"


def test_only_the_store_asked_for_is_loaded(plugins: Path) -> None:
    """No module of another plugin is imported, to open a store or to list them all."""
    asked = install(plugins)
    other = install(plugins, "other-store", scheme="other")
    registry.installed()
    assert {asked, other}.isdisjoint(sys.modules)
    open_store(URL)

    assert asked in sys.modules
    assert other not in sys.modules


@pytest.mark.parametrize("url", ["MEMORY://", "Memory://"])
def test_the_case_of_a_scheme_does_not_matter(url: str) -> None:
    """A scheme in capitals finds the same store, which sees it in lower case."""
    assert isinstance(open_store(url), MemoryStore)


def test_capitals_in_a_plugins_scheme_do_not_matter(plugins: Path) -> None:
    """A plugin that names its scheme in capitals is found like any other."""
    install(plugins, scheme="Acme")

    assert open_store("acme:x").url == "acme:x"


def test_a_broken_plugin_harms_no_other(plugins: Path) -> None:
    """Another store opens as ever."""
    install(plugins, source=BROKEN)

    assert isinstance(open_store("memory://"), MemoryStore)


def test_a_distribution_found_twice_is_one(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy that comes first on the path is used, as Python does; there is no clash."""
    install(plugins)
    nearer = plugins / "nearer"
    nearer.mkdir()
    install(nearer, version="1.3.dev0")
    monkeypatch.syspath_prepend(nearer)

    assert [offer.origin for offer in registry.installed() if offer.name == "acme"] == [
        "acme-store 1.3.dev0"
    ]
    assert open_store("acme:x").url == "acme:x"


def test_a_plugins_own_mistake_is_passed_on(plugins: Path) -> None:
    """A store that refuses a URL says so in its own words."""
    refuse = """
from statusthing.errors import UserMistake

def make(url):
    raise UserMistake("an acme URL takes no parameters")
"""
    install(plugins, source=refuse)

    assert mistake(URL) == "an acme URL takes no parameters"


# An unknown scheme


def test_an_unknown_scheme_says_what_is_there(nothing_installed: Path) -> None:
    """The message names the scheme and those that are installed, and says what to do."""
    install(nothing_installed, scheme="zeta")
    install(nothing_installed, "other-store", scheme="alpha")

    assert mistake("mysql://root:hunter2@db/x") == (
        "no store for mysql: URLs is installed (installed: alpha, zeta); "
        "install the distribution that brings one"
    )


@pytest.mark.parametrize(
    ("url", "distribution"),
    [
        ("sqlite:///x.db", "statusthing-sqlite"),
        ("postgresql://u:hunter2@db/x", "statusthing-postgres"),
        ("postgres://u:hunter2@db/x", "statusthing-postgres"),
    ],
)
@pytest.mark.usefixtures("nothing_installed")
def test_a_store_of_ours_says_what_to_install(url: str, distribution: str) -> None:
    """For a scheme of this project, the message has the distribution, and how a clone brings it."""
    scheme = url.partition(":")[0]

    assert mistake(url) == (
        f"no store for {scheme}: URLs is installed (installed: none); install {distribution} "
        f"(in a clone: pip install ./{distribution.replace('-', '_')})"
    )


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("sqlite3:///x.db", "sqlite"),
        ("sqllite:///x.db", "sqlite"),
        ("postgresql+psycopg://u:hunter2@db/x", "postgresql"),
        ("postgres+psycopg://u:hunter2@db/x", "postgresql"),
        ("postgress:hunter2", "postgresql"),
        ("mem://", "memory"),
    ],
)
def test_a_misspelt_scheme_is_recognised(url: str, meant: str) -> None:
    """The message asks whether a scheme that looks alike is meant."""
    assert mistake(url).endswith(f"; did you mean {meant}:?")


@pytest.mark.parametrize(
    "url", ["", "status.db", "/srv/status.db", r"C:\data\status.db", ":", "://x", "1a:b", "a" * 999]
)
def test_a_path_is_not_a_url(url: str) -> None:
    """Whatever has no scheme, such as a path, is answered with how to write a file's URL."""
    assert mistake(url) == (
        "a store URL needs a scheme: for a file write sqlite:///relative.db or "
        "sqlite:////absolute/path.db"
    )


@pytest.mark.parametrize("url", ["memory://\n", "sqlite:///a\tb.db", "sqlite:///\udcff.db"])
def test_a_url_is_one_printable_line(url: str) -> None:
    """A line break, which an environment variable may end with, is named and not repeated."""
    assert mistake(url) == (
        "a store URL holds printable characters only: remove line breaks, percent-encode others"
    )


@pytest.mark.parametrize(
    "url",
    [
        "mysql://root:hunter2@db/x",
        "mysql:hunter2@db",
        "mysql:/hunter2",
        "mysql://root:hunter2/@db/x?hunter2#hunter2",
        "mysql://hunter2\n",
        "hunter2@db",
        "m:hunter2",
        f"{'m' * 100}:hunter2",
    ],
)
def test_a_mistake_shows_no_secret(url: str) -> None:
    """However malformed a URL is, the message has no more of it than its scheme."""
    said = mistake(url)

    assert "hunter2" not in said
    assert len(said) < 300


# A broken plugin


@pytest.mark.parametrize(
    ("value", "source", "cause"),
    [
        ("{module}:make", BROKEN, "ModuleNotFoundError(\"No module named 'acme_driver'\")"),
        ("{module}:make", "1 / 0", "ZeroDivisionError('division by zero')"),
        ("{module}:make", "def make(url) -> :", "SyntaxError("),
        ("{module}:nothing", WORKING, "has no attribute 'nothing'"),
        ("acme_missing:make", WORKING, "No module named 'acme_missing'"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named(
    plugins: Path, value: str, source: str, cause: str
) -> None:
    """The message has the distribution with its version, and the cause is chained."""
    install(plugins, value=value, source=source)
    error = failure(URL)

    assert str(error) == "the store for acme: URLs, from acme-store 1.2, cannot be loaded"
    assert cause in with_cause(error)


@pytest.mark.parametrize(
    ("value", "source", "cause"),
    [
        ("{module}:make", "def make(url): raise KeyError('pool')", "KeyError('pool')"),
        ("{module}:make", "def make(): pass", "TypeError("),
        ("{module}", WORKING, "TypeError(\"'module' object is not callable\")"),
    ],
)
def test_a_factory_that_fails_is_named(plugins: Path, value: str, source: str, cause: str) -> None:
    """What the factory raises, other than a mistake of the user, is chained."""
    install(plugins, value=value, source=source)
    error = failure(URL)

    assert str(error) == "the store for acme: URLs, from acme-store 1.2, fails"
    assert cause in with_cause(error)


def test_what_is_no_store_is_refused(plugins: Path) -> None:
    """The message says what the factory made, and what it lacks to be a store."""
    source = "class Half:\n  url = ''\n  def open(self): pass\n\ndef make(url): return Half()"
    install(plugins, source=source)

    assert str(failure(URL)) == (
        "the store for acme: URLs, from acme-store 1.2, makes a Half, which is no store: "
        "it lacks shared, migrate, close, read, write, wait"
    )


@pytest.mark.parametrize(
    "raised",
    [
        "ValueError(f'malformed: {url}')",
        "ValueError('malformed: ' + url.partition('://')[2])",
        "KeyError('wrong password:\\nhunter2')",
        "LookupError('p@ss and', ['hunter2', 's3cret'])",
        "OSError(2, 'no such file', '/home/kept')",
    ],
)
def test_what_a_factory_says_shows_no_secret(plugins: Path, raised: str) -> None:
    """User, password, path and parameters are kept out of the message, its cause and tracebacks."""
    install(plugins, source=f"def make(url):\n    raise {raised}")
    url = "acme://ada:p%40ss-hunter2@db.example/kept?token=s3cret"
    error = failure(url)
    told = with_cause(error) + "".join(traceback.format_exception(error)).replace(raised, "")

    assert "acme-store 1.2, fails" in told
    assert "***" in with_cause(error)
    assert {"hunter2", "ss", "kept", "s3cret"}.isdisjoint(re.findall(r"\w+", told))


def test_a_hidden_cause_still_says_where_it_arose(plugins: Path) -> None:
    """The traceback leads to the plugin's line, although the text is not the plugin's."""
    module = install(plugins, source="def make(url):\n    raise ValueError(url)")
    error = failure(URL)

    assert with_cause(error).endswith(
        "(StatusThingError('ValueError: acme://***:***@***.***/***?***=***'))"
    )
    assert f'{module}.py", line 2' in "".join(traceback.format_exception(error))


# Two claims to one scheme


def test_two_distributions_with_one_scheme_are_both_named(plugins: Path) -> None:
    """Neither of them is used, and the message names both with their versions."""
    install(plugins, "acme-one", version="1.0")
    install(plugins, "acme-two", version="2.0")

    assert mistake(URL) == (
        "acme: URLs are claimed by acme-one 1.0 and acme-two 2.0: keep one of them"
    )


def test_a_clash_concerns_its_scheme_only(plugins: Path) -> None:
    """Other stores open as ever."""
    install(plugins, "acme-one")
    install(plugins, "acme-two")

    assert isinstance(open_store("memory://"), MemoryStore)


# In process


class Kept:
    """Makes the stores of a program, the same for the same URL."""

    def __init__(self) -> None:
        self.stores: dict[str, MemoryStore] = {}

    def make(self, url: str) -> Store:
        """Return the store of a URL."""
        return self.stores.setdefault(url, MemoryStore())


@pytest.mark.usefixtures("nothing_registered")
def test_a_program_can_register_a_store() -> None:
    """`open_store` then calls the factory with the URL."""
    kept = Kept()
    register("kept", kept.make)
    store = open_store("KEPT:here")

    assert kept.stores == {"kept:here": store}


@pytest.mark.usefixtures("nothing_registered")
def test_what_is_registered_is_listed() -> None:
    """It stands among what is installed, with the name of its factory."""
    register("kept", Kept().make)

    assert [offer[:2] for offer in registry.installed() if offer.name == "kept"] == [
        ("kept", f"this program's {__name__}.Kept.make")
    ]


@pytest.mark.usefixtures("nothing_registered")
def test_to_register_again_does_nothing() -> None:
    """The same factory may be registered any number of times."""
    kept = Kept()
    register("kept", kept.make)
    register("kept", kept.make)

    assert open_store("kept:x") is kept.stores["kept:x"]


@pytest.mark.usefixtures("nothing_registered")
def test_another_factory_is_refused() -> None:
    """The first one stays, and the message names both."""
    kept = Kept()
    register("kept", kept.make)
    with pytest.raises(UserMistake) as raised:
        register("kept", Kept)  # type: ignore[arg-type]

    assert str(raised.value) == (
        f"kept: URLs are claimed by this program's {__name__}.Kept.make "
        f"and this program's {__name__}.Kept: keep one of them"
    )
    assert open_store("kept:x") is kept.stores["kept:x"]


@pytest.mark.usefixtures("nothing_registered")
def test_an_installed_store_is_not_replaced(plugins: Path) -> None:
    """Its scheme cannot be registered; the message names both, and the installed one stays."""
    install(plugins, scheme="Acme")
    with pytest.raises(UserMistake) as raised:
        register("acme", Kept().make)

    assert str(raised.value) == (
        f"acme: URLs are claimed by acme-store 1.2 and this program's {__name__}.Kept.make: "
        "keep one of them"
    )
    assert open_store("acme:x").url == "acme:x"


@pytest.mark.usefixtures("nothing_registered")
def test_what_is_installed_later_is_a_clash(plugins: Path) -> None:
    """A scheme that was registered first is refused by `open_store`, which names both."""
    register("acme", Kept().make)
    install(plugins)

    assert mistake(URL) == (
        f"acme: URLs are claimed by acme-store 1.2 and this program's {__name__}.Kept.make: "
        "keep one of them"
    )


@pytest.mark.parametrize(
    "scheme",
    ["", "a", "Acme", "1acme", "ac me", "acme:", "acme://hunter2", "ac_me", "acmé", "a" * 41],
)
@pytest.mark.usefixtures("nothing_registered")
def test_a_malformed_scheme_is_refused(scheme: str) -> None:
    """The message says what a scheme looks like, without repeating what was given."""
    with pytest.raises(UserMistake) as raised:
        register(scheme, Kept().make)

    assert str(raised.value) == (
        "a scheme is 2 to 40 lower-case letters, digits, +, - and ., and begins with a letter"
    )


@pytest.mark.usefixtures("nothing_registered")
def test_of_many_threads_one_is_first() -> None:
    """Of threads that register different factories at once, all but one get the error."""
    refused = []
    ready = threading.Barrier(8)

    def enter() -> None:
        make = Kept().make
        ready.wait(SECONDS)
        try:
            register("kept", make)
        except UserMistake:
            refused.append(make)

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)

    assert len(refused) == 7
    assert isinstance(open_store("kept:x"), MemoryStore)


@pytest.mark.usefixtures("nothing_registered")
def test_a_registered_factory_that_fails_is_named() -> None:
    """A program's own factory is told about like an installed one."""

    def make(url: str) -> Store:
        raise RuntimeError(url)

    register("kept", make)

    assert str(failure("kept:hunter2")).startswith("the store for kept: URLs, from this program's ")
