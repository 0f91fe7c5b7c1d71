"""The templates: Jinja2, with everything escaped that is not HTML already, and nothing undefined.

Each resource has a folder of its own below `templates/`; all pages extend `layout.html`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    TemplateSyntaxError,
)
from markupsafe import Markup

from statusthing.web.forms import LABELS
from statusthing.web.stylesheet import name_of

FOLDER = Path(__file__).parent / "templates"


class Templates:
    """Renders templates by name.

    Args:
        reload: look for changes of the files each time.
    """

    def __init__(self, *, reload: bool) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=reload,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["time"] = time_element
        self._environment.globals |= {"labels": LABELS, "name_of": name_of}

    def render(self, name: str, /, **context: Any) -> Markup:
        """Return a template with what it needs, as HTML."""
        html = self._environment.get_template(name).render(context)
        return Markup(html)  # noqa: S704 - the environment escapes


def time_element(at: datetime) -> Markup:
    """Return an instant as an element: absolute, and the script adds how long ago it was."""
    at = at.astimezone(UTC)
    html = f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}">{at.day} {at:%b %Y, %H:%M} UTC</time>'
    return Markup(html)  # noqa: S704 - digits and the names of months


def where(error: Exception) -> str:
    """Say where a template failed: file, line and message. Empty if none did."""
    if isinstance(error, TemplateSyntaxError):
        return f"{error.filename}:{error.lineno}: {error.message}"
    lines = [line for line in _lines(error) if Path(line[0]).is_relative_to(FOLDER)]
    if lines:
        file, line = lines[-1]
        return f"{file}:{line}: {type(error).__name__}: {error}"
    return str(error) if isinstance(error, TemplateError) else ""


def _lines(error: Exception) -> Iterator[tuple[str, int]]:
    traceback = error.__traceback__
    while traceback is not None:
        # Jinja2 makes tracebacks name the templates and their lines.
        yield traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next
