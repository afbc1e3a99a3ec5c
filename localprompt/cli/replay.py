"""`localprompt replay`: repeat a run without its model. Level 10."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from localprompt.cli.options import allow_code_option, store_options


@click.command()
@click.argument("run")
@click.option("--force", is_flag=True, help="Replay even if the version or meta-prompts differ.")
@allow_code_option
@store_options
def replay(*, run: str, store: Path | None, as_json: bool, **choices: Any) -> None:
    """Repeat a run from its stored answers alone: no model is loaded, nothing is computed, nothing is written.

    RUN is the beginning of a run's id. The replay of an unfinished run ends where its answers end.
    """
    from localprompt.cli.progress import progress  # noqa: PLC0415
    from localprompt.cli.show import print_run  # noqa: PLC0415
    from localprompt.run import resume as resuming  # noqa: PLC0415 - `--help` must start fast

    with progress() as observer:
        result = resuming.replay(run, store=store, observer=observer, **choices)
    print_run(result, store, as_json=as_json)
