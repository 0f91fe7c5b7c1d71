"""Options, and how they are read from the environment."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from statusthing.errors import UserMistake

DEFAULT_STORE = "sqlite:///statusthing.db"


def _not_empty(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Refuse an empty variable of the environment, which click takes for one that is not set.

    It is rather a mistake in a unit file, after which the default would serve other data.
    """
    if context.get_parameter_source(option.name or "") is ParameterSource.DEFAULT:
        for name in option.envvar or ():
            if name in os.environ:
                raise UserMistake(f"{name} is empty: give it a value, or remove it")
    return value


option = functools.partial(click.option, show_default=True, show_envvar=True, callback=_not_empty)
"""An option that can come from the environment. `callback=None` allows an empty variable."""

store_option: Callable[[Any], Any] = option(
    "--store",
    metavar="URL",
    default=DEFAULT_STORE,
    envvar=["STATUSTHING_STORE"],
    help="Where everything is kept, such as sqlite:////srv/statusthing.db for a file.",
)

role_option: Callable[[Any], Any] = click.option(
    "--role",
    type=click.Choice(("viewer", "editor", "admin")),
    required=True,
    help="What is allowed: to read, to write too, or to manage users and tokens too.",
)
