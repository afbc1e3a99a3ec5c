"""Options that several commands share. Level 10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
DEBUG = "localprompt.debug"
"""Key of `Context.meta`, which a command shares with the group above it."""


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = value or ctx.meta.get(DEBUG, False)


def assigned(option: str, assignments: Sequence[str], example: str) -> dict[str, str]:
    """Return NAME=VALUE pairs by name; of a name given twice the last value counts.

    Raises:
        BadParameter: for text without a name or `=`.
    """
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{assignment!r} is not NAME=VALUE, such as {example}", param_hint=option)
        values[name.strip()] = value.strip()
    return values


def listed(names: str | None) -> list[str] | None:
    """Return the names of an option that takes several with commas between them; None where it was not given."""
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


class HomePath(click.Path):
    """A path, in which `~` is the home folder also where no shell has replaced it, as behind `--store=`."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, expanded."""
        from localprompt.interface.paths import expanded  # noqa: PLC0415 - `--help` must start fast

        return super().convert(expanded(value), param, ctx)


MINUTES = click.FloatRange(min=0, min_open=True)

SEED = click.IntRange(min=0, max=10**15)

LIMIT = click.IntRange(min=1, max=10**15)
"""Tokens or calls: far beyond any search, and far below the largest number that a result may hold."""


def _together(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


def _engine(ctx: click.Context, param: click.Parameter, assignments: tuple[str, ...]) -> dict[str, object]:
    """Return engine settings as their types."""
    exact: dict[str, object] = {"exact": True} if ctx.meta.get(_EXACT) else {}
    if not assignments:
        return exact
    from localprompt.engine.settings import typed  # noqa: PLC0415 - `--help` must start fast

    return exact | typed(assigned("--engine", assignments, "n_ctx=4096"))


def _exact(ctx: click.Context, param: click.Parameter, is_exact: bool) -> None:
    ctx.meta[_EXACT] = is_exact


_EXACT = "localprompt.exact"
_exact_option = click.option(
    "--exact",
    is_flag=True,
    is_eager=True,  # before `--engine`, of whose settings it is one
    expose_value=False,
    callback=_exact,
    help="Scores that are equal bit for bit whatever is computed with them; slower, and refused where it cannot be.",
)
_settings_option = click.option(
    "--engine",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_engine,
    help="How models are run; repeatable. Names: n_ctx, n_threads, n_ubatch, n_seq_max, lanes, use_extra_bufts, "
    "kv_type, flash_attn, n_gpu_layers, main_gpu, tensor_split, n_engines, stream_ctx.",
)
engine_option = _together(_exact_option, _settings_option)
"""Reaches the command as settings by name."""

MODELS = (
    "a card's name, a GGUF file, ollama:NAME, hf:REPO, http://HOST:PORT/v1#NAME, python:MODULE:FUNCTION, scripted:FILE"
)
"""What names a model; docs/models.md says more."""

store_option = click.option(
    "--store",
    type=HomePath(dir_okay=False),
    metavar="PATH",
    help="The file of runs and answers; by default $LOCALPROMPT_STORE or one in the user's data folder.",
)
"""Reaches the command as a path or None, which is the default store."""

cache_option = click.option(
    "--no-cache", "use_cache", flag_value=False, default=True, help="Share no answers with other runs."
)
"""Reaches the command as `use_cache`, True unless given."""

allow_code_option = click.option(
    "--allow-code", is_flag=True, help="Run the code that a metric `module:function` names."
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on standard output.")

debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_remember, help="Show the traceback of an error."
)
"""May stand before the command or behind it."""


def objective_option(said: str) -> Callable[[_Command], _Command]:
    """Return the option of what a search maximises, with what its help says."""
    objectives = click.Choice(["score", "robust", "worst"])
    return click.option("--objective", type=objectives, default="score", show_default=True, help=said)


report_options = _together(debug_option, json_option)
"""Of each command that prints something."""
store_options = _together(store_option, report_options)
"""Of each command that opens the store."""
engine_and_store_options = _together(engine_option, allow_code_option, store_options)
"""Of what asks a model and shares its answers with other runs."""
model_options = _together(engine_option, allow_code_option, store_option, cache_option, report_options)
"""Of each command that begins to ask a model."""
