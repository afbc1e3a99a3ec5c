"""`localprompt resume`: go on with a run. Level 10."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from localprompt.cli.options import LIMIT, MINUTES, allow_code_option, engine_option, store_options


@click.command()
@click.argument("run")
@click.option("--model", help="Current location of the model; default: its original location.")
@click.option("--proposer", help="Where the proposer is now; by default where it was.")
@engine_option
@click.option("--max-minutes", type=MINUTES, help="Minutes until the result is there; by default as many as at first.")
@click.option("--pause-after", type=MINUTES, help="Pause again after this many minutes.")
@click.option("--max-tokens", type=LIMIT, help="New token limit for the whole search.")
@click.option("--max-calls", type=LIMIT, help="New limit on model calls for the whole search.")
@click.option("--force", is_flag=True, help="Restart the search if model, version or settings differ.")
@allow_code_option
@store_options
def resume(*, run: str, store: Path | None, as_json: bool, **choices: Any) -> None:
    """Continue a run that was interrupted, killed or paused, or that ended at a limit.

    RUN is the beginning of a run's id. Nothing is computed twice, and the result is that of a run which was never
    interrupted.
    """
    from localprompt.cli.progress import search_progress  # noqa: PLC0415
    from localprompt.cli.show import print_run  # noqa: PLC0415
    from localprompt.run import resume as resuming  # noqa: PLC0415 - `--help` must start fast

    with search_progress() as observer:
        result = resuming.resume(run, store=store, observer=observer, **choices)
    print_run(result, store, as_json=as_json)
