"""Pages in a real Chromium, which fail the test when they do what no page of ours may do.

`open_page` is the fixture for tests. The pages it opens are watched until the test ends: see
`Watch`. Nothing that they ask for leaves the machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    WebError,
    sync_playwright,
)
from tests.chromium import find_chromium

SECONDS = 30.0  # the bound of everything that is waited for

WIDE = 1280  # pixels
NARROW = 390

ARTEFACTS_VARIABLE = "STATUSTHING_TEST_ARTEFACTS"
ARTEFACTS = Path(__file__).with_name("artefacts")

_HEIGHT = 900  # pixels
_WITHOUT_ORIGIN = {"about", "blob", "data"}
_REFUSED = "Failed to load resource: the server responded with a status of "

# Besides those that Playwright gives, which is also what lets it run as root, without a sandbox.
# What is not on this machine is not even looked up.
_ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]

# Chromium tells of refused content in the console too, but not of every report and not in full.
_INIT = """
addEventListener("securitypolicyviolation", (event) => {
    const at = `${event.sourceFile || event.documentURI}:${event.lineNumber}`;
    const what = `${event.blockedURI} ${event.sample}`.trim();
    console.error(`CSP: ${event.effectiveDirective} refuses ${what} at ${at}`);
});
Object.defineProperty(window, "__pwned", {
    set() { console.error("a payload ran: it set window.__pwned"); },
});
"""


class Watch:
    """What the pages of a context did that no page of ours may do.

    That is: a message of level `error` in the console, which the refusals of the Content Security
    Policy are; an exception that nothing catches; a dialog; a request to another origin; and what
    a payload of `tests.payloads` does when it runs. That a page itself is refused, with 404 or
    409 say, is no error: the test that goes there expects it.

    Attributes:
        sins: a sentence for each, in the order they were seen.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.sins: list[str] = []
        self._origin = _origin(url)
        self._visited: set[str] = set()
        context.add_init_script(_INIT)
        context.on("console", self._on_console)
        context.on("weberror", self._on_exception)
        context.on("dialog", self._on_dialog)
        context.on("request", self._on_request)
        context.on("page", self._on_page)

    def _on_console(self, message: ConsoleMessage) -> None:
        at = message.location["url"]
        refused = message.text.startswith(_REFUSED) and at in self._visited
        if message.type == "error" and not refused:
            self.sins.append(f"console: {message.text} ({at})")

    def _on_exception(self, error: WebError) -> None:
        self.sins.append(f"exception: {error.error.message}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.sins.append(f"dialog: {dialog.type} {dialog.message!r}")
        dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        if request.is_navigation_request():
            self._visited.add(request.url)
        self._on_url(request.url)

    def _on_page(self, page: Page) -> None:
        page.on("websocket", lambda socket: self._on_url(socket.url))

    def _on_url(self, url: str) -> None:
        if urlsplit(url).scheme not in _WITHOUT_ORIGIN and _origin(url) != self._origin:
            self.sins.append(f"request off the origin: {url}")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


@contextmanager
def watched(
    browser: Browser,
    url: str,
    *,
    javascript: bool = True,
    color_scheme: Literal["light", "dark"] = "light",
    width: int = WIDE,
    reduced_motion: bool = False,
    allowed: Sequence[str] = (),
) -> Iterator[Page]:
    """Open a page in a fresh context: no cookies, nothing in the cache.

    Pages opened in its context, by the test or by the page, are watched with it. At the end, sins
    of any of them are an AssertionError.

    Args:
        browser: from the fixture.
        url: of the server; what the page goes to is relative to it.
        javascript: whether scripts run.
        color_scheme: what the reader prefers.
        width: of the window, in CSS pixels.
        reduced_motion: whether the reader prefers it.
        allowed: regular expressions of the sins that the test provokes, such as the errors of a
            server that is down.
    """
    context = browser.new_context(
        base_url=url,
        java_script_enabled=javascript,
        color_scheme=color_scheme,
        viewport={"width": width, "height": _HEIGHT},
        reduced_motion="reduce" if reduced_motion else "no-preference",
    )
    try:
        context.set_default_timeout(SECONDS * 1000)
        watch = Watch(context, url)
        yield context.new_page()
        for page in context.pages:
            page.evaluate("0")  # what it has said until now has then arrived
    finally:
        context.close()
    sins = [sin for sin in watch.sins if not any(re.search(rule, sin) for rule in allowed)]
    if sins:
        raise AssertionError("\n".join(sins))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium with a profile of its own.

    Of a module, not of the session: while Playwright runs, asyncio takes the thread for one that
    runs an event loop, and the tests of other modules run loops of their own in it.
    """
    chromium = find_chromium()
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=chromium.path,
            env={**os.environ, **chromium.environment},
            args=_ARGUMENTS,
        ) as running,
    ):
        yield running


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages as `watched` does, with its arguments after `browser`, until the test ends."""
    with ExitStack() as pages:
        yield lambda url, **options: pages.enter_context(watched(browser, url, **options))


def save_screenshots(page: Page, name: str) -> list[Path]:
    """Keep the whole page as it is now, light and dark, wide and narrow.

    The files are `screenshots/NAME-SCHEME-WIDTH.png`, WIDTH in CSS pixels, in the folder that
    `STATUSTHING_TEST_ARTEFACTS` names, by default `tests/artefacts`. After that the page has the
    size and the colours that it had.
    """
    folder = Path(os.environ.get(ARTEFACTS_VARIABLE) or ARTEFACTS) / "screenshots"
    size = page.viewport_size
    assert size is not None
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    paths = []
    schemes: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        for width in (WIDE, NARROW):
            page.set_viewport_size({"width": width, "height": _HEIGHT})
            paths.append(folder / f"{name}-{scheme}-{width}.png")
            page.screenshot(path=paths[-1], full_page=True, animations="disabled")
    page.set_viewport_size(size)
    page.emulate_media(color_scheme="dark" if dark else "light")
    return paths
