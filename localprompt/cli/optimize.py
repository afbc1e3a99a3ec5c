"""`localprompt optimize`: the main job. Level 10."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.options import LIMIT, MINUTES, MODELS, SEED, assigned, model_options, objective_option
from localprompt.cli.streams import say, say_json

if TYPE_CHECKING:
    from localprompt.run.estimate import Estimate


@click.command()
@click.argument("task", type=click.Path())
@click.option("--model", required=True, help=f"The model that answers: {MODELS}.")
@click.option("--proposer", help="Writes prompts; the same model by default.")
@click.option("--method", default="auto", show_default=True, help="The search algorithm.")
@click.option(
    "--preset",
    default="local",
    show_default=True,
    help="Settings of the method: local, paper; `localprompt methods` lists them.",
)
@click.option("--templates", type=click.Path(), metavar="DIR", help="A folder with meta-prompts of your own.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="A setting of the method; repeatable.")
@objective_option(
    "What is maximised: the score of a prompt as it is; or of it and four cheap variants, which costs 5 times as many "
    "tokens: robust, the mean less half the distance to the worst, or worst."
)
@click.option(
    "--from", "from_run", metavar="RUN", help="Begin with the best prompts of this run beside the task's own."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@click.option("--max-minutes", type=MINUTES, help="Minutes after which the result is there; the method is sized to it.")
@click.option("--pause-after", type=MINUTES, help="Pause the search after this many minutes.")
@click.option("--max-tokens", type=LIMIT, help="Tokens that the search may compute; the method is sized to it.")
@click.option("--max-calls", type=LIMIT, help="Model calls that the search may make; the method is sized to it.")
@click.option("--log", type=click.Choice(["mlflow"]), help="Also log the finished run to MLflow, where it is set to.")
@click.option("--dry-run", is_flag=True, help="Only say what would run and what it is expected to cost.")
@model_options
def optimize(
    *,
    task: str,
    templates: str | None,
    assignments: tuple[str, ...],
    pause_after: float | None,
    log: str | None,
    dry_run: bool,
    store: Path | None,
    use_cache: bool,
    as_json: bool,
    **search: Any,
) -> None:
    """Search for a better prompt for the task file TASK and test it once on the test split."""
    from localprompt.cli.progress import search_progress  # noqa: PLC0415
    from localprompt.cli.show import print_run  # noqa: PLC0415
    from localprompt.run import api as runs  # noqa: PLC0415 - `--help` must start fast

    search["settings"] = {
        **({"templates": templates} if templates else {}),
        **assigned("--set", assignments, "queries=8"),
    }
    if log:
        import localprompt.adapters.mlflow  # noqa: F401, PLC0415 - a missing package is told before a search is paid for
    with search_progress() as observer:
        if dry_run:
            _say_expected(
                runs.dry_run(task, **search, store=store, observer=observer), pause_after, search, as_json=as_json
            )
            return
        result = runs.optimize(
            task, **search, pause_after=pause_after, store=store, use_cache=use_cache, observer=observer
        )
    print_run(result, store, as_json=as_json)
    if log:
        from localprompt.adapters.mlflow import log_run  # noqa: PLC0415

        logged = log_run(result)
        prompts = f", its prompts as {' and '.join(logged.prompts)}" if logged.prompts else ""
        say(f"MLflow has it as the run {logged.run_id}{prompts}", err=True)
        if logged.problem:
            say(logged.problem, err=True)


def _say_expected(expected: Estimate, pause_after: float | None, search: Mapping[str, Any], *, as_json: bool) -> None:
    from localprompt.cli.methods import plain_settings, settings_text  # noqa: PLC0415
    from localprompt.cli.output import estimate_text  # noqa: PLC0415
    from localprompt.optimizers import configure  # noqa: PLC0415

    method, preset = search["method"], search["preset"]
    sizes = {name: size for name, size in expected.sizes.items() if name != "dev_examples"}
    chosen = configure(method, {**search["settings"], **sizes}, preset)
    if as_json:
        say_json({**expected.to_json(), "method": method, "preset": preset, "settings": plain_settings(chosen)})
    else:
        say(settings_text(method, preset, chosen))
        say(f"expected: {estimate_text(expected, pause_after)}")
