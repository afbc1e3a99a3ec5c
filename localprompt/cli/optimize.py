"""`localprompt optimize`: the main job. Level 9."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from localprompt.cli.options import (
    LIMIT,
    MINUTES,
    SEED,
    assigned,
    cache_option,
    debug_option,
    engine_option,
    store_option,
)
from localprompt.cli.streams import say, say_json
from localprompt.errors import LocalPromptError


@click.command()
@click.argument("task", type=click.Path())
@click.option("--model", required=True, help="The model that answers: a card's name, a GGUF file, scripted:FILE.")
@click.option("--proposer", help="The model that writes prompts; the same by default.")
@click.option("--method", default="ape", show_default=True, help="The search algorithm.")
@click.option(
    "--preset",
    default="local",
    show_default=True,
    help="Settings of the method: local, paper; `localprompt methods` lists them.",
)
@click.option("--templates", type=click.Path(), metavar="DIR", help="A folder with meta-prompts of your own.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="A setting of the method; repeatable.")
@engine_option
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of everything random.")
@click.option("--max-minutes", type=MINUTES, help="Pause the search after so long.")
@click.option("--max-tokens", type=LIMIT, help="Tokens that the search may request.")
@click.option("--max-calls", type=LIMIT, help="Model calls that the search may make.")
@click.option("--dry-run", is_flag=True, help="Only say what would run and what it is expected to cost.")
@click.option("--allow-code", is_flag=True, help="Run the code that a metric `module:function` names.")
@store_option
@cache_option
@debug_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on standard output.")
def optimize(
    *,
    task: str,
    model: str,
    proposer: str | None,
    method: str,
    preset: str,
    templates: str | None,
    assignments: tuple[str, ...],
    engine: dict[str, object],
    seed: int,
    max_minutes: float | None,
    max_tokens: int | None,
    max_calls: int | None,
    dry_run: bool,
    allow_code: bool,
    store: Path | None,
    use_cache: bool,
    as_json: bool,
) -> None:
    """Search for a better prompt for the task file TASK and test it once on the test split."""
    from localprompt.cli.methods import plain_settings, settings_text  # noqa: PLC0415
    from localprompt.cli.output import estimate_text, print_run  # noqa: PLC0415
    from localprompt.cli.progress import progress  # noqa: PLC0415
    from localprompt.optimizers import configure  # noqa: PLC0415
    from localprompt.run import api as runs  # noqa: PLC0415 - `--help` must start fast

    settings = {**({"templates": templates} if templates else {}), **assigned("--set", assignments, "queries=8")}
    search: dict[str, Any] = {
        "method": method,
        "preset": preset,
        "proposer": proposer,
        "settings": settings,
        "engine": engine,
        "seed": seed,
        "max_tokens": max_tokens,
        "max_calls": max_calls,
        "allow_code": allow_code,
    }
    with progress() as observer:
        if dry_run:
            expected = runs.dry_run(task, model, **search, observer=observer)
            chosen = configure(method, settings, preset)
            if as_json:
                plain = {"method": method, "preset": preset, "settings": plain_settings(chosen)}
                say_json({**expected.to_json(), **plain})
            else:
                say(settings_text(method, preset, chosen))
                say(f"expected: {estimate_text(expected, max_minutes)}")
            return
        try:
            result = runs.optimize(
                task, model, **search, max_minutes=max_minutes, store=store, use_cache=use_cache, observer=observer
            )
        except (KeyboardInterrupt, LocalPromptError):
            observer.say_best()
            raise
    if as_json:
        say_json(result.to_json())
    else:
        print_run(result, store)
