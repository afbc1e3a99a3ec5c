"""`localprompt methods`: the search algorithms and their settings. Level 10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.options import report_options
from localprompt.cli.printable import printable, printable_line
from localprompt.cli.streams import console, say, say_json

if TYPE_CHECKING:
    from localprompt.optimizers.registry import Optimizer, Setting


@click.command()
@click.argument("name", required=False)
@report_options
def methods(name: str | None, as_json: bool) -> None:
    """List the search algorithms, or the settings of the one called NAME.

    A setting is changed with `--set name=value`. A preset's column shows only what differs from the default.
    """
    from localprompt.optimizers import names  # noqa: PLC0415 - `--help` must start fast
    from localprompt.optimizers.registry import presets, settings_of, summary  # noqa: PLC0415

    if name is None:
        rows = [(each, list(presets(each)), summary(each)) for each in names()]
        plain = [dict(zip(("method", "presets", "summary"), row, strict=True)) for row in rows]
        shown = [(each, ", ".join(known), told) for each, known, told in rows]
        _show(plain, ("name", "presets", "what it is"), shown, as_json=as_json)
        return
    settings = settings_of(name)
    local, *others = presets(name)
    plain = [_plain_setting(each) for each in settings]
    cells = [
        (
            each.name,
            as_text(each.default),
            *(as_text(each.presets[preset]) if preset in each.presets else "" for preset in others),
            each.description,
        )
        for each in settings
    ]
    if not as_json:
        say(f"{printable_line(summary(name))}\n")
    _show(plain, ("setting", local, *others, "what it is"), cells, as_json=as_json)


def as_text(value: object) -> str:
    """Return the value of a setting as `--set` reads it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(as_text, value))
    return str(value)


def plain_settings(optimizer: Optimizer) -> dict[str, object]:
    """Return the settings of a method by name, fit for JSON."""
    return {field.name: _plain(getattr(optimizer, field.name)) for field in fields(optimizer)}


def settings_text(method: str, preset: str, optimizer: Optimizer) -> str:
    """Return a method as it would run: its name, its preset, and a line a setting that says what the default is."""
    from localprompt.optimizers.registry import settings_of  # noqa: PLC0415

    lines = [f"method {method}, preset {preset}:"]
    values = {each.name: (getattr(optimizer, each.name), each.default) for each in settings_of(method)}
    width = max(map(len, values), default=0)
    for name, (value, default) in values.items():
        other = "" if value == default else f"  (default: {as_text(default)})"
        lines.append(f"  {name:{width}}  {as_text(value)}{other}")
    return printable("\n".join(lines))


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _plain_setting(setting: Setting) -> dict[str, Any]:
    return {
        "setting": setting.name,
        "default": _plain(setting.default),
        "presets": {preset: _plain(value) for preset, value in setting.presets.items()},
        "description": setting.description,
    }


def _show(
    plain: Sequence[dict[str, Any]], heads: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool
) -> None:
    if as_json:
        say_json(plain)
        return
    from localprompt.cli.tables import table  # noqa: PLC0415

    console().print(table(heads, rows, wide=heads))
