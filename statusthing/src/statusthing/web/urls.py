"""Every URL of the pages, built in one place from the table of routes.

They are paths that begin with the prefix under which the application is mounted, and never name a
host: the pages work behind any proxy, and no request can put another host's name into them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from starlette.types import Scope

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


class Urls:
    """The URLs under one prefix.

    Args:
        paths: of the routes, by name; `{parameter}` stands for a value.
        prefix: under which the application is mounted, as ASGI's `root_path` says it.
    """

    def __init__(self, paths: Mapping[str, str], prefix: str) -> None:
        self._paths = paths
        self._prefix = quoted(prefix)

    def __call__(
        self, name: str, /, query: Mapping[str, str] | None = None, **parameters: str
    ) -> str:
        """Return the URL of a route.

        Args:
            name: of the route.
            query: what goes behind the question mark; empty values are left out.
            parameters: the values in its path.

        Raises:
            KeyError: there is no such route, or a parameter is missing.
        """
        path = _PARAMETER.sub(lambda found: quote(parameters[found[1]], safe=""), self._paths[name])
        given = urlencode({key: value for key, value in (query or {}).items() if value})
        return f"{self._prefix}{path}?{given}" if given else f"{self._prefix}{path}"


def quoted(path: str) -> str:
    """Return a path as it stands in URLs."""
    return quote(path, safe="/:@!$&'()*+,;=~")


def prefix_of(scope: Scope) -> str:
    """Return the prefix under which a request found the application."""
    prefix: str = scope.get("root_path", "")
    return prefix.rstrip("/")
