"""`localprompt compare`: several methods with the same budget. Level 10."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from localprompt.cli.options import LIMIT, MODELS, HomePath, assigned, listed, model_options, objective_option
from localprompt.cli.spreadsheets import check_folder, write_csv
from localprompt.cli.streams import say_json, tell
from localprompt.errors import ConfigError
from localprompt.interface.advice import command

if TYPE_CHECKING:
    from localprompt.search.observer import Observer

_EXAMPLE = "ape.queries=8"
_OF_A_SITTING = ("resume", "model", "proposer", "allow_code", "csv_file", "csv_runs", "store", "as_json", "debug")
_FILE = HomePath(dir_okay=False)


@click.command()
@click.argument("tasks", metavar="TASK...", nargs=-1, type=click.Path())
@click.option(
    "--methods", metavar="NAME,NAME,...", help="Default: all search methods, see `localprompt methods`; not `manual`."
)
@click.option("--model", help=f"The model that answers: {MODELS}.")
@click.option("--proposer", help="The model that writes prompts; the same by default.")
@click.option(
    "--seeds",
    "n_seeds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Runs of each method on a task.",
)
@click.option("--max-tokens", type=LIMIT, help="Tokens that each search may compute; methods are sized to it.")
@click.option("--max-calls", type=LIMIT, help="Model calls that each search may make; methods are sized to it.")
@click.option(
    "--preset", default="local", show_default=True, help="Settings of the methods that have it: local, paper."
)
@click.option("--set", "assignments", multiple=True, metavar="METHOD.NAME=VALUE", help="Repeatable.")
@objective_option("What each search maximises, see `localprompt optimize --help`.")
@click.option("--resume", metavar="COMPARISON", help="Continue a comparison, named by the beginning of its id.")
@click.option("--dry-run", is_flag=True, help="Say what a run will cost, and run nothing.")
@click.option("--csv", "csv_file", type=_FILE, help="Write the table to FILE: a row per task and method.")
@click.option("--csv-runs", type=_FILE, help="Write a row per run to FILE.")
@model_options
@click.pass_context
def compare(
    ctx: click.Context,
    /,
    *,
    resume: str | None,
    dry_run: bool,
    csv_file: Path | None,
    csv_runs: Path | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """Compare methods on the task files TASK... with the same budget, seed prompts and splits.

    Called again with the same arguments, or with --resume alone, it continues where it stopped; nothing is computed
    twice.
    The exit code is 1 if a run failed; the others are compared all the same.
    """
    from localprompt.cli.compare_output import print_comparison  # noqa: PLC0415
    from localprompt.cli.progress import progress  # noqa: PLC0415
    from localprompt.comparison import plan as comparing  # noqa: PLC0415 - `--help` must start fast

    for path in (csv_file, csv_runs):
        check_folder(path)
    if csv_file is not None and csv_runs is not None and csv_file.resolve() == csv_runs.resolve():
        raise ConfigError(f"--csv and --csv-runs both name {csv_file}", "give each its own file")
    with progress() as observer:
        if resume is not None:
            result = comparing.resume_comparison(resume, **_kept(ctx, choices), observer=observer)
        elif not dry_run:
            result = comparing.compare(**_wanted(ctx, choices), observer=observer)
        else:
            _say_costs(_wanted(ctx, choices), choices["n_seeds"], as_json, observer)
            return
    allowed = ("--allow-code",) if choices["allow_code"] else ()
    again = partial(command, "compare", "--resume", result.id, *allowed, store=choices["store"])
    tell(result, print_comparison, again(), as_json=as_json)
    for path, rows, option in ((csv_file, result.to_csv(), "--csv"), (csv_runs, result.runs_to_csv(), "--csv-runs")):
        write_csv(path, list(rows[0]), rows, f"{again(option, 'FILE')} writes it elsewhere")
    if result.failures:
        ctx.exit(1)


def _say_costs(arguments: Mapping[str, Any], n_seeds: int, as_json: bool, observer: Observer) -> None:
    from localprompt.cli.compare_output import print_costs  # noqa: PLC0415
    from localprompt.comparison import plan as comparing  # noqa: PLC0415

    of_a_run = {name: value for name, value in arguments.items() if name not in ("n_seeds", "store", "use_cache")}
    costs = comparing.expected_costs(**of_a_run, observer=observer)
    if as_json:
        say_json([{"task": each.task, "method": each.method, **each.cost.to_json()} for each in costs])
    else:
        print_costs(costs, n_seeds)


def _wanted(ctx: click.Context, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a new comparison."""
    missing = [name for name in ("tasks", "model", "max_tokens") if not choices[name]]
    if missing:
        raise click.UsageError("TASK..., --model and --max-tokens are needed, or --resume", ctx)
    methods = listed(choices["methods"])
    settings = _by_method(assigned("--set", choices["assignments"], _EXAMPLE))
    rest = {name: value for name, value in choices.items() if name != "assignments"}
    return {**rest, "methods": methods, "settings": settings}


def _kept(ctx: click.Context, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with which a comparison goes on; everything else was decided when it began."""
    for param in ctx.command.params:
        is_given = ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        if is_given and param.name not in _OF_A_SITTING:
            raise click.UsageError(f"{param.get_error_hint(ctx)} was fixed when the comparison started; omit it", ctx)
    return {name: choices[name] for name in ("model", "proposer", "allow_code", "store")}


def _by_method(assignments: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return settings by method and name."""
    settings: dict[str, dict[str, str]] = {}
    for key, value in assignments.items():
        method, dot, name = key.partition(".")
        if not dot or not method or not name:
            raise click.BadParameter(f"{key!r} does not name a method, such as {_EXAMPLE}", param_hint="--set")
        settings.setdefault(method, {})[name] = value
    return settings
