"""`localprompt replay`: repeat a run without its model. Level 9."""

from __future__ import annotations

from pathlib import Path

import click

from localprompt.cli.options import debug_option, store_option
from localprompt.cli.streams import say_json


@click.command()
@click.argument("run")
@click.option("--force", is_flag=True, help="Repeat it though version or meta-prompts differ.")
@click.option("--allow-code", is_flag=True, help="Run the code that a metric `module:function` names.")
@store_option
@debug_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on standard output.")
def replay(*, run: str, force: bool, allow_code: bool, store: Path | None, as_json: bool) -> None:
    """Repeat a run from its stored answers alone: no model is loaded, nothing is computed, nothing is written.

    RUN is the beginning of a run's id. The replay of an unfinished run ends where its answers end.
    """
    from localprompt.cli.output import print_run  # noqa: PLC0415
    from localprompt.cli.progress import progress  # noqa: PLC0415
    from localprompt.run import resume as resuming  # noqa: PLC0415 - `--help` must start fast

    with progress() as observer:
        result = resuming.replay(run, force=force, allow_code=allow_code, store=store, observer=observer)
    if as_json:
        say_json(result.to_json())
    else:
        print_run(result, store)
