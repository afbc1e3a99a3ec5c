"""`localprompt resume`: go on with a run. Level 9."""

from __future__ import annotations

from pathlib import Path

import click

from localprompt.cli.options import LIMIT, MINUTES, debug_option, engine_option, store_option
from localprompt.cli.streams import say_json
from localprompt.errors import LocalPromptError


@click.command()
@click.argument("run")
@click.option("--model", help="Where the model is now; by default where it was.")
@click.option("--proposer", help="Where the proposer is now; by default where it was.")
@engine_option
@click.option("--max-minutes", type=MINUTES, help="Pause again after so long.")
@click.option("--max-tokens", type=LIMIT, help="Tokens for the whole search, instead of those of then.")
@click.option("--max-calls", type=LIMIT, help="Model calls for the whole search, instead of those of then.")
@click.option("--force", is_flag=True, help="Begin anew where model, version or settings differ.")
@click.option("--allow-code", is_flag=True, help="Run the code that a metric `module:function` names.")
@store_option
@debug_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on standard output.")
def resume(
    *,
    run: str,
    model: str | None,
    proposer: str | None,
    engine: dict[str, object],
    max_minutes: float | None,
    max_tokens: int | None,
    max_calls: int | None,
    force: bool,
    allow_code: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Go on with a run that was interrupted, killed or paused, or that ended at a limit.

    RUN is the beginning of a run's id. Nothing is computed twice, and the result is that of a run which was never
    interrupted.
    """
    from localprompt.cli.output import print_run  # noqa: PLC0415
    from localprompt.cli.progress import progress  # noqa: PLC0415
    from localprompt.run import resume as resuming  # noqa: PLC0415 - `--help` must start fast

    with progress() as observer:
        try:
            result = resuming.resume(
                run,
                model=model,
                proposer=proposer,
                engine=engine,
                max_minutes=max_minutes,
                max_tokens=max_tokens,
                max_calls=max_calls,
                force=force,
                allow_code=allow_code,
                store=store,
                observer=observer,
            )
        except (KeyboardInterrupt, LocalPromptError):
            observer.say_best()
            raise
    if as_json:
        say_json(result.to_json())
    else:
        print_run(result, store)
