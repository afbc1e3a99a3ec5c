"""Options that several commands share. Level 8."""

from __future__ import annotations

import click

DEBUG = "localprompt.debug"
"""Key of `Context.meta`, which a command shares with the group above it."""


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = value or ctx.meta.get(DEBUG, False)


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_remember, help="Show the traceback of an error."
)
"""May stand before the command or behind it."""
