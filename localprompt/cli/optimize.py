"""`localprompt optimize`: the main job. Level 8."""

from __future__ import annotations

import json

import click

from localprompt.cli.options import assigned, debug_option, engine_option
from localprompt.errors import LocalPromptError


@click.command()
@click.argument("task", type=click.Path())
@click.option("--model", required=True, help="The model that answers: a card's name or a GGUF file.")
@click.option("--proposer", help="The model that writes prompts; the same by default.")
@click.option("--method", default="ape", show_default=True, help="The search algorithm.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="A setting of the method; repeatable.")
@engine_option
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="End the search after so long.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Tokens that the search may request.")
@click.option("--max-calls", type=click.IntRange(min=1), help="Model calls that the search may make.")
@click.option("--allow-code", is_flag=True, help="Run the code that a metric `module:function` names.")
@debug_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on standard output.")
def optimize(
    *,
    task: str,
    model: str,
    proposer: str | None,
    method: str,
    assignments: tuple[str, ...],
    engine: dict[str, object],
    seed: int,
    max_minutes: float | None,
    max_tokens: int | None,
    max_calls: int | None,
    allow_code: bool,
    as_json: bool,
) -> None:
    """Search for a better prompt for the task file TASK and prove it on its test split."""
    from localprompt import runs  # noqa: PLC0415 - `--help` must start fast
    from localprompt.cli.output import print_run  # noqa: PLC0415
    from localprompt.cli.progress import progress  # noqa: PLC0415

    settings = assigned("--set", assignments, "queries=8")
    with progress() as observer:
        try:
            result = runs.optimize(
                task,
                model,
                method=method,
                proposer=proposer,
                settings=settings,
                engine=engine,
                seed=seed,
                max_minutes=max_minutes,
                max_tokens=max_tokens,
                max_calls=max_calls,
                allow_code=allow_code,
                observer=observer,
            )
        except (KeyboardInterrupt, LocalPromptError):
            observer.say_best()
            raise
    if as_json:
        click.echo(json.dumps(result.to_json()))
    else:
        print_run(result)
