"""What axe-core finds on a page.

Its rules: https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md
"""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

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
