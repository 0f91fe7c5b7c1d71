"""What axe-core finds on a page.

Its rules: https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from statusthing.web.routes import ROUTES

LOOKED_AT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "the public pages": frozenset({"front", "item"}),
        "what is published": frozenset(
            {
                *("admin", "new_item", "edit_item", "ask_item", "new_update"),
                *("notes", "edit_note", "ask_note", "changes"),
                *("statuses", "new_status", "edit_status", "ask_status"),
            }
        ),
        "oneself": frozenset({"setup_page", "sign_in_page", "profile"}),
        "accounts": frozenset(
            {
                *("users", "new_user", "edit_user", "ask_user", "settings"),
                *("tokens", "new_token", "ask_token"),
            }
        ),
    }
)
"""The routes of the pages that a test looks at with axe-core and keeps pictures of, by the test.

Each of those tests compares its row with the pages that it was on.
"""

_OPTIONS = {
    "resultTypes": ["violations"],
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    },
    "rules": {
        "target-size": {"enabled": True}
    },  # of WCAG 2.2, which axe-core leaves out by default
}


def violations(page: Page) -> list[str]:
    """Return what breaks WCAG 2.0, 2.1 or 2.2, level A or AA, on the page as it is now.

    There is a text for each element that breaks a rule: the rule, what it asks for, the element's
    selector and what is wrong. The page has to run scripts, as axe-core is one.
    """
    assert page.evaluate("matchMedia('(scripting: enabled)').matches"), "axe-core is a script"
    return [
        f"{rule['id']}: {rule['help']}: {' '.join(map(str, node['target']))}: "
        f"{' '.join(node['failureSummary'].split())}"
        for rule in Axe().run(page, options=_OPTIONS).response["violations"]
        for node in rule["nodes"]
    ]


def route_of(page: Page) -> str:
    """Return the name of the route that a page is at; empty where there is none."""
    path = urlsplit(page.url).path
    for row in ROUTES:
        if "GET" in row.methods and re.fullmatch(re.sub(r"{\w+}", "[^/]+", row.path), path):
            return row.name
    return ""
