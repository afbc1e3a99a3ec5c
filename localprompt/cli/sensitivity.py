"""`localprompt sensitivity`: how far wording moves a model. Level 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.options import MODELS, SEED, HomePath, assigned, listed, model_options
from localprompt.cli.printable import printable
from localprompt.cli.prompts import named_prompt
from localprompt.cli.spreadsheets import check_folder, write_csv
from localprompt.cli.streams import tell
from localprompt.errors import nearest

if TYPE_CHECKING:
    from localprompt.battery.results import Sensitivity

_ABOVE = 3
"""Exit code where a measure is above what --fail-above allows."""


def size_options(command: Any) -> Any:
    """Give a command the sizes of a battery; it gets `size`, None where none is named."""
    for name, count in (("full", 100), ("standard", 30), ("quick", 12)):
        by_default = ", the default" if name == "standard" else ""
        command = click.option(f"--{name}", "size", flag_value=name, help=f"{count} variants{by_default}.")(command)
    return command


@click.command()
@click.argument("task", type=click.Path())
@click.option("--model", "models", multiple=True, required=True, help=f"Repeatable: {MODELS}.")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="TEXT|@FILE|RUN",
    help="The instruction, a file that holds it, or a run that found it (six or more characters of its id); further "
    "ones are variants of the first.",
)
@size_options
@click.option("--families", metavar="NAME,NAME,...", help="Kinds of variants; by default all that apply.")
@click.option("--scorers", metavar="NAME,NAME,...", help="Ways to take answers, beside the task's own.")
@click.option("--split", type=click.Choice(["train", "dev", "test"]), default="test", show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of everything random.")
@click.option("--unlabelled", is_flag=True, help="Use no right answers: flips, consistency, entropy, POSIX.")
@click.option("--dry-run", is_flag=True, help="Say what it will cost, and measure nothing.")
@click.option("--csv", "csv_file", type=HomePath(dir_okay=False), help="Write all scores to FILE.")
@click.option(
    "--fail-above", "bounds", multiple=True, metavar="MEASURE=VALUE", help="Exit with 3 above it: spread=0.05, ..."
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

    The prompt is asked in other ways that mean the same, and in formats that should not matter. Beside each spread
    stands what chance alone gives. Interrupted and called again, it goes on.
    """
    from localprompt.battery import sensitivity as measuring  # noqa: PLC0415 - `--help` must start fast
    from localprompt.battery.results import CSV_COLUMNS  # noqa: PLC0415
    from localprompt.cli.output import print_costs  # noqa: PLC0415
    from localprompt.cli.progress import measuring_progress, progress  # noqa: PLC0415
    from localprompt.cli.sensitivity_output import print_sensitivity  # noqa: PLC0415

    limits = _limits(bounds, unlabelled=choices["unlabelled"])
    if csv_file is not None and choices["unlabelled"]:
        raise click.UsageError("--csv holds scores, and with --unlabelled there are none", ctx)
    check_folder(csv_file)
    arguments: dict[str, Any] = {
        **choices,
        "prompts": [named_prompt(each, choices["store"]) for each in prompts],
        "size": size or "standard",
        "families": listed(families),
        "scorers": listed(scorers),
    }
    if dry_run:
        kept = {name: value for name, value in arguments.items() if name not in ("store", "use_cache", "engine")}
        with progress() as observer:
            costs = measuring.expected_costs(
                measuring.plan_battery(task, **kept), models, arguments["engine"], observer=observer
            )
        print_costs(costs, as_json=as_json)
        return
    with measuring_progress(is_kept=choices["use_cache"]) as observer:
        result = measuring.sensitivity(task, models, **arguments, observer=observer)
    tell(result, print_sensitivity, choices["store"], as_json=as_json)
    write_csv(csv_file, CSV_COLUMNS, result.to_csv(), "the result is in the store; --csv FILE writes it elsewhere")
    if above := _above(result, limits):
        click.echo(printable(above), err=True)
        ctx.exit(_ABOVE)


_OF_ANSWERS = ("flip_rate", "entropy", "posix")
MEASURES = ("spread", "prompt_sensi_score", "performance_drop", *_OF_ANSWERS)
_ROUNDING = 1e-9


def _limits(bounds: Sequence[str], *, unlabelled: bool) -> dict[str, float]:
    limits = {}
    for name, text in assigned("--fail-above", bounds, "spread=0.05").items():
        if name not in MEASURES:
            raise click.BadParameter(f"unknown measure {name!r}; {nearest(name, MEASURES)}", param_hint="--fail-above")
        if unlabelled and name not in _OF_ANSWERS:
            raise click.BadParameter(
                f"{name} needs right answers; without: {', '.join(_OF_ANSWERS)}", param_hint="--fail-above"
            )
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
            if value is None or not model.overall.variants:
                said.append(f"{name} of {model.model} is not known here, so it is not within {limit:g}")
            elif value > limit + _ROUNDING:
                said.append(f"{name} of {model.model} is {value:.3f}, above {limit:g}")
    return "\n".join(said)
