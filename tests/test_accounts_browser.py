"""The first admin, signing in, users, tokens and oneself, in Chromium, with scripts and without."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Page, expect
from tests import first_run
from tests.accessibility import LOOKED_AT, route_of, violations
from tests.browser import NARROW, WIDE, save_screenshots
from tests.conftest import Server, path_of, serving

OpenPage = Callable[..., Page]

SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")

PASSWORD = "correct horse battery"
NEW_PASSWORD = "staple, battery, horse"
WRONG, COMMON, SHORT = "wrong wrong", "password1", "short"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that nobody has set up."""
    with serving(tmp_path, sys.executable, first_run.__file__) as running:
        yield running


def fill(page: Page, **fields: str) -> None:
    """Type into fields, by their names."""
    for name, text in fields.items():
        page.locator(f"#{name}").fill(text)


def press(page: Page, name: str) -> None:
    """Press a button."""
    page.get_by_role("button", name=name, exact=True).click()


def told(page: Page, text: str) -> None:
    """Wait until the page says something."""
    expect(page.get_by_text(text).first).to_be_visible()


def set_up(page: Page, server: Server) -> None:
    """Make the first admin by the link."""
    page.goto((server.log.parent / "setup").read_text())
    fill(page, username="ada", email_address="ada@example.com", password=PASSWORD)
    press(page, "Make the account and sign in")
    expect(page).to_have_url(re.compile("/admin$"))


def sign_in(page: Page, username: str, password: str) -> None:
    """Sign in, from wherever one is."""
    page.goto("/admin/login")
    fill(page, username=username, password=password)
    press(page, "Sign in")


@pytest.mark.parametrize("javascript", [True, False])
def test_an_admin_from_first_run_to_sign_out(
    server: Server, open_page: OpenPage, *, javascript: bool
) -> None:
    """Each step says what it did, and what went wrong, without a script too."""
    page = open_page(server.url, javascript=javascript)
    page.goto((server.log.parent / "setup").read_text())
    fill(page, username="ada", email_address="ada@example.com", password=COMMON)
    press(page, "Make the account and sign in")
    told(page, "Password is one of the most common passwords")
    expect(page.locator("#username")).to_have_value("ada")
    expect(page.locator("#password")).to_have_value("")
    fill(page, password=PASSWORD)
    press(page, "Make the account and sign in")
    expect(page).to_have_url(re.compile("/admin$"))

    press(page, "Sign out ada")
    expect(page).to_have_url(re.compile("/admin/login$"))
    sign_in(page, "ada", WRONG)
    told(page, "The username or the password is wrong.")
    fill(page, password=PASSWORD)
    press(page, "Sign in")
    expect(page).to_have_url(re.compile("/admin$"))

    page.get_by_role("link", name="Users").click()
    page.get_by_role("link", name="Add a user").click()
    fill(page, username="ada", password=PASSWORD, first_name="Eve")
    press(page, "Add the user")
    told(page, "Username is taken already: choose another.")
    expect(page.locator("#first_name")).to_have_value("Eve")
    fill(page, username="eve", password=PASSWORD)
    page.locator("#role").select_option("editor")
    press(page, "Add the user")
    told(page, "The user was added.")
    page.get_by_role("link", name="Delete ada").click()
    press(page, "Delete the user")
    told(page, "is the last enabled admin")

    page.get_by_role("link", name="Profile").click()
    fill(page, current_password=WRONG, new_password=NEW_PASSWORD)
    press(page, "Change the password")
    told(page, "Current password is wrong.")
    fill(page, current_password=PASSWORD, new_password=NEW_PASSWORD)
    press(page, "Change the password")
    told(page, "The password was changed.")
    expect(page.get_by_text("this browser")).to_have_count(1)

    page.get_by_role("link", name="Settings").click()
    fill(page, title="Example status", accent_color="#b0185a")
    press(page, "Save")
    told(page, "The settings were saved.")
    page.goto("/")
    expect(page).to_have_title(re.compile("Example status"))


@pytest.mark.parametrize("javascript", [True, False])
def test_a_token_is_copied_from_the_page_and_works(
    server: Server, open_page: OpenPage, *, javascript: bool
) -> None:
    """The secret is there once; with it a program may write, until it is revoked."""
    page = open_page(server.url, javascript=javascript)
    set_up(page, server)
    page.goto("/admin/tokens")
    page.get_by_role("link", name="Add a token").first.click()
    fill(page, name="monitor")
    press(page, "Add the token")

    secret = page.locator("#secret").input_value()
    if javascript:
        page.locator("#secret").focus()
        selected = "String(getSelection()) || document.activeElement.value.slice(\
            document.activeElement.selectionStart, document.activeElement.selectionEnd)"
        assert page.evaluate(selected) == secret
    calls = {"authorization": f"Bearer {secret}"}
    added = httpx.post(server.url + path_of("AddItem"), json={"name": "api"}, headers=calls)
    assert added.status_code == 200, added.text
    page.goto("/admin/tokens")
    assert secret not in page.content()
    told(page, "monitor")
    page.get_by_role("link", name="Revoke monitor").click()
    press(page, "Revoke the token")
    told(page, "The token was revoked")
    refused = httpx.post(server.url + path_of("AddItem"), json={"name": "web"}, headers=calls)
    assert refused.status_code == 401
    assert secret not in server.log.read_text()


def test_another_browser_is_signed_out(server: Server, open_page: OpenPage) -> None:
    """One by one from the list, and all of them with a new password."""
    here, there = open_page(server.url), open_page(server.url)
    set_up(here, server)
    sign_in(there, "ada", PASSWORD)
    expect(there).to_have_url(re.compile("/admin$"))

    here.goto("/admin/profile")
    here.get_by_role("button", name=re.compile("^Sign out Chrome")).click()
    told(here, "That browser was signed out.")
    there.goto("/admin")
    expect(there).to_have_url(re.compile("/admin/login"))

    sign_in(there, "ada", PASSWORD)
    expect(there).to_have_url(re.compile("/admin$"))
    here.goto("/admin/profile")
    fill(here, current_password=PASSWORD, new_password=NEW_PASSWORD)
    press(here, "Change the password")
    told(here, "The password was changed.")
    there.goto("/admin")
    expect(there).to_have_url(re.compile("/admin/login"))


def test_forms_name_their_origin(server: Server, open_page: OpenPage) -> None:
    """Over plain HTTP to another machine it is all that a browser says of where a form is from."""
    page = open_page(server.url)
    page.goto("/admin/login")
    fill(page, username="ada", password=WRONG)

    with page.expect_request(lambda request: request.method == "POST") as sent:
        press(page, "Sign in")

    assert sent.value.all_headers()["origin"] == server.url
    told(page, "The username or the password is wrong.")


def seen(page: Page, name: str) -> str:
    """Keep pictures of a page in which nobody finds a barrier, nor has to scroll sideways.

    Return the name of its route.
    """
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], (name, scheme)
    for width in (WIDE, NARROW):
        page.set_viewport_size({"width": width, "height": 900})
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) <= 0, (name, width)
    save_screenshots(page, f"accounts-{name}")
    return route_of(page)


def test_pages_about_oneself_are_for_everybody(server: Server, open_page: OpenPage) -> None:
    """In both colour schemes, wide and narrow, with and without errors."""
    been = set()
    page = open_page(server.url)
    page.goto((server.log.parent / "setup").read_text())
    been.add(seen(page, "setup"))
    fill(page, username="ada", password=SHORT)
    press(page, "Make the account and sign in")
    been.add(seen(page, "setup-error"))
    fill(page, username="ada", password=PASSWORD)
    press(page, "Make the account and sign in")
    other = open_page(server.url)
    sign_in(other, "ada", PASSWORD)
    expect(other).to_have_url(re.compile("/admin$"))
    page.goto("/admin/profile")
    been.add(seen(page, "profile"))
    fill(page, current_password=WRONG, new_password=NEW_PASSWORD)
    press(page, "Change the password")
    been.add(seen(page, "profile-error"))
    press(page, "Sign out ada")
    been.add(seen(page, "sign-in"))
    fill(page, username="ada", password=WRONG)
    press(page, "Sign in")
    been.add(seen(page, "sign-in-error"))
    assert been == LOOKED_AT["oneself"]


def test_pages_for_admins_are_for_everybody(server: Server, open_page: OpenPage) -> None:
    """In both colour schemes, wide and narrow, with and without errors."""
    been = set()
    page = open_page(server.url)
    set_up(page, server)
    page.goto("/admin/users/new")
    been.add(seen(page, "user-new"))
    fill(page, username="grace", password=COMMON, first_name="Grace", last_name="Hopper")
    press(page, "Add the user")
    been.add(seen(page, "user-error"))
    fill(page, email_address="grace@example.com", password=PASSWORD)
    press(page, "Add the user")
    been.add(seen(page, "users"))
    page.get_by_role("link", name="Edit grace").click()
    been.add(seen(page, "user-edit"))
    page.goto("/admin/users")
    page.get_by_role("link", name="Delete grace").click()
    been.add(seen(page, "user-delete"))
    page.goto("/admin/tokens")
    been.add(seen(page, "tokens-empty"))
    page.goto("/admin/tokens/new")
    been.add(seen(page, "token-new"))
    fill(page, name="nightly backup")
    press(page, "Add the token")
    been.add(seen(page, "token-added"))
    page.goto("/admin/tokens")
    been.add(seen(page, "tokens"))
    page.get_by_role("link", name="Revoke nightly backup").click()
    been.add(seen(page, "token-revoke"))
    page.goto("/admin/settings")
    been.add(seen(page, "settings"))
    fill(page, accent_color="reddish", links="Help")
    press(page, "Save")
    been.add(seen(page, "settings-error"))
    assert been == LOOKED_AT["accounts"]
