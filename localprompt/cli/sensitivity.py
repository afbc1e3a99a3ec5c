"""`localprompt sensitivity`: how far wording moves a model. Level 9."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.options import SEED, HomePath, assigned, model_options
from localprompt.cli.prompts import named_prompt
from localprompt.cli.streams import say_json
from localprompt.errors import ConfigError, LocalPromptError, nearest

if TYPE_CHECKING:
    from localprompt.battery.results import Sensitivity

_ABOVE = 3
"""Exit code where a measure is above what --fail-above allows."""


def _sizes(command: Any) -> Any:
    for name, count in (("full", 100), ("standard", 30), ("quick", 12)):
        by_default = ", the default" if name == "standard" else ""
        command = click.option(f"--{name}", "size", flag_value=name, help=f"{count} variants{by_default}.")(command)
    return command


@click.command()
@click.argument("task", type=click.Path())
@click.option("--model", "models", multiple=True, required=True, help="A card's name, a GGUF file; repeatable.")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="TEXT|@FILE|RUN",
    help="The instruction, a file that holds it, or a run that found it; further ones are variants of the first.",
)
@_sizes
@click.option("--families", metavar="NAME,NAME,...", help="Kinds of variants; by default all that apply.")
@click.option("--scorers", metavar="NAME,NAME,...", help="Ways to take answers, beside the task's own.")
@click.option("--split", type=click.Choice(["train", "dev", "test"]), default="test", show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of everything random.")
@click.option("--unlabelled", is_flag=True, help="Use no right answers: flips, consistency, entropy, POSIX.")
@click.option("--dry-run", is_flag=True, help="Say what it will cost, and measure nothing.")
@click.option("--csv", "csv_file", type=HomePath(dir_okay=False), help="Write all scores to FILE.")
@click.option(
    "--fail-above",
    "bounds",
    multiple=True,
    metavar="MEASURE=VALUE",
    help="Exit with 3 above it: spread=0.05, ...",
)
@model_options
@click.pass_context
def sensitivity(
    ctx: click.Context,
    /,
    *,
    task: str,
    models: Sequence[str],
    prompts: Sequence[str],
    size: str | None,
    families: str | None,
    scorers: str | None,
    dry_run: bool,
    csv_file: Path | None,
    bounds: Sequence[str],
    as_json: bool,
    **choices: Any,
) -> None:
    """Measure how far the wording of a prompt of the task file TASK moves the answers of models.

    The prompt is asked in other ways that mean the same, and in formats that should not matter. Beside each measure
    stands what chance alone gives. Interrupted and called again, it goes on.
    """
    from localprompt.battery import sensitivity as measuring  # noqa: PLC0415 - `--help` must start fast
    from localprompt.cli.progress import progress  # noqa: PLC0415
    from localprompt.cli.sensitivity_output import print_costs, print_sensitivity  # noqa: PLC0415
    from localprompt.store.plain import plain  # noqa: PLC0415

    limits = _limits(bounds)
    if csv_file is not None and not csv_file.absolute().parent.is_dir():
        raise ConfigError(f"{csv_file} cannot be written: its folder does not exist", "make the folder first")
    arguments: dict[str, Any] = {
        **choices,
        "prompts": [named_prompt(each, choices["store"]) for each in prompts],
        "size": size or "standard",
        "families": _listed(families),
        "scorers": _listed(scorers),
    }
    if dry_run:
        kept = {name: value for name, value in arguments.items() if name not in ("store", "use_cache", "engine")}
        with progress() as observer:
            costs = measuring.expected_cost(
                measuring.plan_battery(task, **kept), models, arguments["engine"], observer=observer
            )
        if as_json:
            say_json([plain(each) for each in costs])
        else:
            print_costs(costs)
        return
    with progress() as observer:
        result = measuring.sensitivity(task, models, **arguments, observer=observer)
    if as_json:
        say_json(result.to_json())
    else:
        print_sensitivity(result)
    if csv_file is not None:
        _write(csv_file, result)
    if above := _above(result, limits):
        click.echo(above, err=True)
        ctx.exit(_ABOVE)


MEASURES = ("spread", "flip_rate", "prompt_sensi_score", "performance_drop", "entropy", "posix")


def _limits(bounds: Sequence[str]) -> dict[str, float]:
    limits = {}
    for name, text in assigned("--fail-above", bounds, "spread=0.05").items():
        if name not in MEASURES:
            raise click.BadParameter(f"unknown measure {name!r}; {nearest(name, MEASURES)}", param_hint="--fail-above")
        try:
            limits[name] = float(text)
        except ValueError:
            raise click.BadParameter(f"{text!r} is no number", param_hint="--fail-above") from None
        if not 0 <= limits[name] < float("inf"):
            raise click.BadParameter(f"{text!r} is no number from 0 on", param_hint="--fail-above")
    return limits


def _above(result: Sensitivity, limits: Mapping[str, float]) -> str:
    """Return which measures of which models are above their limits, for people; empty for none."""
    said = []
    for model in result.models:
        for name, limit in limits.items():
            found: Any = getattr(model.overall, name)
            value = getattr(found, "mean" if name in ("flip_rate", "prompt_sensi_score", "entropy") else "value", None)
            if value is None:
                said.append(f"{name} of {model.model} is not known here, so it is not within {limit:g}")
            elif value > limit:
                said.append(f"{name} of {model.model} is {value:.3f}, above {limit:g}")
    return "\n".join(said)


def _listed(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


def _write(path: Path, result: Sensitivity) -> None:
    from localprompt.battery.results import CSV_COLUMNS  # noqa: PLC0415 - `--help` must start fast

    try:
        # Names may hold what UTF-8 cannot say.
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.DictWriter(file, CSV_COLUMNS)
            writer.writeheader()
            writer.writerows(result.to_csv())
    except OSError as error:
        hint = "the result is in the store; --csv FILE writes it elsewhere"
        raise LocalPromptError(f"{path} cannot be written: {error.strerror}", hint) from error
