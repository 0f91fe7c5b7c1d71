"""The watch over pages in Chromium, axe-core and the parser see what they are there to see."""

from __future__ import annotations

import html
import struct
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, Page
from tests import sinner
from tests.accessibility import violations
from tests.browser import ARTEFACTS_VARIABLE, NARROW, WIDE, save_screenshots, watched
from tests.chromium import VARIABLE, NoChromium, find_chromium, kept_chromium
from tests.conftest import serving
from tests.markup import html_errors, injected
from tests.payloads import PAYLOADS, Payload

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the site of sins."""
    folder = tmp_path_factory.mktemp("site")
    with serving(folder, sys.executable, sinner.__file__) as server:
        yield server.url


# Pages in Chromium

SEEN = {
    "complaint": "console: oh no",
    "exception": "exception: nothing is not defined",
    "rejection": "exception: oh no",
    "missing": "console: Failed to load resource: the server responded with a status of 404",
    "style": "console: CSP: style-src-attr refuses inline",
    "script": "console: CSP: script-src-elem refuses inline",
    "dialog": "dialog: alert '1'",
    "question": "dialog: confirm 'Are you sure",
    "payload": "a payload ran",
    "origin": "request off the origin: http://elsewhere.example/x.png",
    "socket": "request off the origin: ws://127.0.0.1:9/",
}


@pytest.mark.parametrize("path", SEEN)
def test_a_sin_is_seen(browser: Browser, site: str, path: str) -> None:
    """Each of the things that no page may do fails the test of the page that does it."""
    with pytest.raises(AssertionError, match=SEEN[path]), watched(browser, site) as page:
        page.goto(path)


def test_the_sins_of_a_page_that_a_page_opens_are_seen(browser: Browser, site: str) -> None:
    """A new window is watched as its opener is."""

    def follow(page: Page) -> None:
        page.goto("popup")
        with page.expect_popup() as popup:
            page.click("button")
        popup.value.wait_for_load_state()

    with pytest.raises(AssertionError, match="alert"), watched(browser, site) as page:
        follow(page)


def test_a_refused_style_is_seen_without_javascript(browser: Browser, site: str) -> None:
    """Chromium itself tells of it then."""
    with (
        pytest.raises(AssertionError, match="Content Security Policy"),
        watched(browser, site, javascript=False) as page,
    ):
        page.goto("style")


def both(page: Page) -> None:
    """Commit two sins."""
    page.goto("complaint")
    page.goto("dialog")


def test_every_sin_is_told(browser: Browser, site: str) -> None:
    """The failure has all of them, in the order they were seen."""
    with pytest.raises(AssertionError) as failure, watched(browser, site) as page:
        both(page)

    assert str(failure.value) == f"console: oh no ({site}/complaint)\ndialog: alert '1'"


def test_sins_that_a_test_provokes_can_be_allowed(browser: Browser, site: str) -> None:
    """Only those that it names."""
    with watched(browser, site, allowed=["^console: oh no", "^dialog: alert"]) as page:
        both(page)
    with (
        pytest.raises(AssertionError) as failure,
        watched(browser, site, allowed=["^console: oh no"]) as page,
    ):
        both(page)

    assert str(failure.value) == "dialog: alert '1'"


def test_a_failure_of_the_test_is_not_hidden_by_sins(browser: Browser, site: str) -> None:
    """What the test itself says comes first."""

    def fail(page: Page) -> None:
        both(page)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), watched(browser, site) as page:
        fail(page)


@pytest.mark.parametrize("javascript", [True, False])
def test_a_clean_page_passes(open_page: OpenPage, site: str, *, javascript: bool) -> None:
    """With scripts and without, and although the page of an address is that there is none."""
    page = open_page(site, javascript=javascript)

    assert page.goto("clean").status == 200  # type: ignore[union-attr]
    assert page.goto("gone").status == 404  # type: ignore[union-attr]


def test_a_page_is_opened_as_the_reader_wants_it(open_page: OpenPage, site: str) -> None:
    """Colours, width and motion are what the test says."""
    page = open_page(site, color_scheme="dark", width=NARROW, reduced_motion=True)
    page.goto("clean")

    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert page.evaluate("innerWidth") == NARROW
    assert page.locator("h1").bounding_box()["width"] == 100  # type: ignore[index]


def test_scripts_run_unless_the_test_says_otherwise(browser: Browser, site: str) -> None:
    """Without JavaScript there is no dialog, as no script runs."""
    with watched(browser, site, javascript=False) as page:
        page.goto("dialog")


def test_pages_have_no_cookies_of_others(open_page: OpenPage, site: str) -> None:
    """Each is opened in a context of its own."""
    first, second = open_page(site), open_page(site)
    first.goto("clean")
    first.evaluate("document.cookie = 'a=b'")
    second.goto("clean")

    assert second.evaluate("document.cookie") == ""


@pytest.mark.parametrize("javascript", [True, False])
def test_screenshots_show_both_schemes_and_both_widths(
    open_page: OpenPage,
    site: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    javascript: bool,
) -> None:
    """Four pictures of the whole page are kept, and the page is then as it was."""
    monkeypatch.setenv(ARTEFACTS_VARIABLE, str(tmp_path))
    page = open_page(site, javascript=javascript, color_scheme="dark", width=500)
    page.goto("clean")

    paths = save_screenshots(page, "clean")

    names = [f"clean-{s}-{w}.png" for s in ("light", "dark") for w in (WIDE, NARROW)]
    assert paths == [tmp_path / "screenshots" / name for name in names]
    widths = [struct.unpack(">I", path.read_bytes()[16:20])[0] for path in paths]
    assert widths == [WIDE, NARROW, WIDE, NARROW]
    assert len({path.read_bytes() for path in paths}) == 4
    assert page.viewport_size == {"width": 500, "height": 900}
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


@pytest.mark.parametrize(
    ("path", "rule"),
    [("contrast", "color-contrast"), ("nameless", "button-name"), ("target", "target-size")],
)
def test_a_barrier_is_found(open_page: OpenPage, site: str, path: str, rule: str) -> None:
    """axe-core runs the rules of WCAG, those of 2.2 too, and the finding names the element."""
    page = open_page(site)
    page.goto(path)

    found = violations(page)

    assert found
    assert all(text.startswith(f"{rule}: ") for text in found)


# Chromium itself


def test_a_chromium_that_is_named_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable wins over PATH."""
    program = tmp_path / "mine"
    program.touch(0o755)
    monkeypatch.setenv(VARIABLE, str(program))

    assert find_chromium().path == program


def test_a_chromium_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under any of its names."""
    program = tmp_path / "google-chrome"
    program.touch(0o755)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_chromium().path == program


def test_a_chromium_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in the variable is told, and no other one is taken."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone"))

    with pytest.raises(NoChromium, match=VARIABLE):
        find_chromium()


def test_another_machine_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where npm has none that runs, the error names the ways out."""
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    with pytest.raises(NoChromium, match=f"(?s)no chromium.*Install Chromium.*{VARIABLE}"):
        kept_chromium(tmp_path)


# HTML

PAGE = sinner.PAGE.format(
    '<h2 title="{name}" class="item">{name}</h2><a href="{url}">more</a>'
    '<div class="text note">{note}</div><svg><a href="/x"></a></svg>'
).replace('href="style.css"', 'href="data:text/css,p{{}}"')


def shown(name: str = "x", note: str = "<p>x</p>", url: str = "https://x.example/") -> str:
    """Return a page that does not escape anything."""
    return PAGE.format(name=name, note=note, url=url)


NOTE = """<h1>x</h1><p><strong>a</strong> <em>b</em> <del>c</del> <code>d</code><br>
<a href="mailto:x@y.example" rel="nofollow" title="x">e</a> <a href="/x">f</a></p><hr>
<blockquote><ol start="2"><li>g</li></ol><pre><code class="language-x">h</code></pre></blockquote>
<table><thead><tr><th>i</th></tr></thead><tbody><tr><td>j</td></tr></tbody></table>"""


@pytest.mark.parametrize(
    "page",
    [
        shown("another"),
        shown(note=NOTE),
        shown(note=""),
        shown(url="http://y.example/javascript:"),
        shown(url="/relative:x"),
        shown("&lt;script>alert(1)&lt;/script> {{ 7 }}"),
    ],
)
def test_harmless_text_injects_nothing(page: str) -> None:
    """Other text, links of other schemes that are allowed, and all that a note may have."""
    assert injected(page, shown(), note_class="note") == []
    assert html_errors(page) == []


@pytest.mark.parametrize(
    ("page", "finding"),
    [
        (shown("<b>x</b>"), "/html/body/main/h2: has b, not none, at 0"),
        (shown("<!-- x -->"), "h2: has comment, not none"),
        (shown("</h2><p>"), "main: has p, not a, at 2"),
        (shown('" onclick="alert(1)'), "handles an event: onclick='alert(1)'"),
        (shown('" ONCLICK="alert(1)'), "handles an event: onclick"),
        (shown('" id="x'), "differs in attributes: id"),
        (shown(url="javascript:alert(1)"), "a: href is 'javascript:alert(1)'"),
        (shown(url=" JAVA&#10;script&colon;x"), "a: href is "),
        (shown(url="data:text/html,x"), "a: href is "),
        (shown(url="vbscript:x"), "a: href is "),
        (shown(note="<script>x</script>"), "div/script: is no element of a note"),
        (shown(note="<p><img src=x></p>"), "p/img: is no element of a note"),
        (shown(note="<p style='color: red'>"), "p: has more attributes: style"),
        (shown(note="<a href='javascript:x'>x</a>"), "div/a: href is 'javascript:x'"),
        (shown(note="<a href='data:text/css,x'>x</a>"), "div/a: href is 'data:text/css,x'"),
        (shown(note="<svg><a href=x></a></svg>"), "svg: is no element of a note"),
        (shown(note="<!-- x -->"), "comment: is no element of a note"),
        (shown(note="</div><p>x</p><div class=note>"), "main: has p, not "),
        (shown().replace('rel="stylesheet"', 'rel="import"'), "rel is 'import'"),
        (
            shown().replace("<svg><a href", "<svg><a xlink:href=javascript:x href"),
            "a: xlink:href is 'javascript:x'",
        ),
        (shown().replace("</main>", "</main><p>"), "body: has p, not none, at 1"),
    ],
)
def test_text_that_became_markup_is_found(page: str, finding: str) -> None:
    """Whatever it became: an element, an attribute, an address, a comment."""
    findings = injected(page, shown(), note_class="note")

    assert any(finding in found for found in findings), findings


@pytest.mark.parametrize("name", ["script", "style"])
def test_another_script_or_style_is_found(name: str) -> None:
    """What is in these elements is code, never what the page shows."""
    page, reference = (f"<!doctype html><p><{name}>{text}</{name}>" for text in ("a", "b"))

    [finding] = injected(page, reference, note_class="note")
    assert finding.endswith(f"/{name}: has another text: 'a'")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<p>x", "1:3: Unexpected start tag (p). Expected DOCTYPE."),
        ("<!doctype html><p id=a><i id=a></i>", "2 elements have the id 'a'"),
        ("<!doctype html><p></b>", "1:22: Unexpected end tag (b). Ignored."),
    ],
)
def test_invalid_html_is_found(text: str, error: str) -> None:
    """With the place, or the id that is not unique."""
    assert error in html_errors(text)


# Payloads


def plain(text: str) -> str:
    """Return a text with its encodings and its invisible characters taken away."""
    text = unicodedata.normalize("NFKC", unquote(html.unescape(text)))
    return "".join(each for each in text if unicodedata.category(each) not in {"Cf", "Cc"})


def test_there_are_enough_payloads_and_none_twice() -> None:
    """200 are the least."""
    assert len({payload.text for payload in PAYLOADS}) == len(PAYLOADS) >= 200


@pytest.mark.parametrize("category", sorted({payload.category for payload in PAYLOADS}))
def test_a_payload_is_seen_when_it_runs(category: str) -> None:
    """Each calls or sets what the watch over pages listens for."""
    for payload in PAYLOADS:
        if payload.category == category:
            assert any(mark in plain(payload.text) for mark in ("alert(1)", "__pwned")), payload


@pytest.mark.parametrize("payload", PAYLOADS, ids=[payload.category for payload in PAYLOADS])
def test_a_payload_is_found_in_the_markup_unless_it_is_escaped(payload: Payload) -> None:
    """Of the categories that are markup wherever they stand; escaped, none is found."""
    escaped = html.escape(payload.text)

    assert injected(shown(escaped, escaped), shown(), note_class="note") == []
    if payload.category in {"script", "handler", "svg and mathml"}:
        assert injected(shown(payload.text), shown(), note_class="note")
        assert injected(shown(note=payload.text), shown(), note_class="note")
