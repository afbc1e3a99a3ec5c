"""`localprompt resume`: go on with a run. Level 9."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from localprompt.cli.options import LIMIT, MINUTES, allow_code_option, engine_option, store_options


@click.command()
@click.argument("run")
@click.option("--model", help="Where the model is now; by default where it was.")
@click.option("--proposer", help="Where the proposer is now; by default where it was.")
@engine_option
@click.option("--max-minutes", type=MINUTES, help="Pause again after so long.")
@click.option("--max-tokens", type=LIMIT, help="Tokens for the whole search, instead of those of then.")
@click.option("--max-calls", type=LIMIT, help="Model calls for the whole search, instead of those of then.")
@click.option("--force", is_flag=True, help="Begin anew where model, version or settings differ.")
@allow_code_option
@store_options
def resume(*, run: str, store: Path | None, as_json: bool, **choices: Any) -> None:
    """Go on with a run that was interrupted, killed or paused, or that ended at a limit.

    RUN is the beginning of a run's id. Nothing is computed twice, and the result is that of a run which was never
    interrupted.
    """
    from localprompt.cli.output import print_run  # noqa: PLC0415
    from localprompt.cli.progress import search_progress  # noqa: PLC0415
    from localprompt.run import resume as resuming  # noqa: PLC0415 - `--help` must start fast

    with search_progress() as observer:
        result = resuming.resume(run, store=store, observer=observer, **choices)
    print_run(result, store, as_json=as_json)
