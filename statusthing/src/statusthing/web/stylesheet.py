"""The colours of one site as a stylesheet, which can hold nothing else.

Its URL carries the colours, so that it can be kept for ever and every process answers it alike.
What the URL says is read as colours or refused, and nothing of it is repeated as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from statusthing.colors import canonical, legible, text_on

MOST = 500
"""How many different colours of statuses one stylesheet has; a badge of any further one is grey."""

LIGHT, DARK = "#f6f7f9", "#1c2129"
"""What is behind text in the light and in the dark, where it is hardest to read; see `site.css`."""

_COLORS = re.compile(r"(?:[0-9a-f]{6}(?:-[0-9a-f]{6})*)?")


def name_of(color: str) -> str:
    """Return the class of elements with the colour of a status, a colour that `checks` passed."""
    return f"c-{(canonical(color) or '')[1:]}"


def colors_of(colors: Iterable[str]) -> str:
    """Return colours as the URL carries them: each once, in a fixed order."""
    digits = sorted({(canonical(color) or "")[1:] for color in colors} - {""})
    return "-".join(digits[:MOST])


def stylesheet(accent: str, colors: str) -> str | None:
    """Return the stylesheet for what a URL carries; None if it is not what `colors_of` returns.

    Args:
        accent: six hexadecimal digits.
        colors: six each, joined by hyphens.
    """
    if not re.fullmatch("[0-9a-f]{6}", accent) or not _COLORS.fullmatch(colors):
        return None
    wanted = colors.split("-") if colors else []
    if len(wanted) > MOST:
        return None
    main = f"#{accent}"
    light, dark = legible(main, LIGHT), legible(main, DARK)
    lines = [
        f":root{{--accent:{main};--on-accent:{text_on(main)};--accent-text:{light}}}",
        f"@media screen and (prefers-color-scheme:dark){{:root{{--accent-text:{dark}}}}}",
        *(f".c-{each}{{background:#{each};color:{text_on('#' + each)}}}" for each in wanted),
    ]
    return "\n".join(lines) + "\n"
