"""`localprompt transfer`: whether a prompt carries over to other models. Level 10."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from localprompt.cli.options import HomePath, listed, model_options
from localprompt.cli.prompts import listed_prompts
from localprompt.cli.spreadsheets import check_folder, write_csv
from localprompt.cli.streams import tell


@click.command()
@click.argument("tasks", metavar="TASK...", nargs=-1, required=True, type=click.Path())
@click.option("--models", metavar="A,B,...", required=True, help="Two or more: card names, GGUF files.")
@click.option(
    "--prompts",
    "sources",
    multiple=True,
    metavar="FILE|RUN|TEXT",
    help="A file with one a line, a run that found one, or a text of two words or more; repeatable. "
    "Default: the task's seed prompts.",
)
@click.option("--dry-run", is_flag=True, help="Say what it will cost, and measure nothing.")
@click.option("--csv", "csv_file", type=HomePath(dir_okay=False), help="Write all test scores to FILE.")
@model_options
def transfer(
    *,
    tasks: Sequence[str],
    models: str,
    sources: Sequence[str],
    dry_run: bool,
    csv_file: Path | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """Measure prompts for the task files TASK... on several models: does a prompt carry over?

    The best prompt of each model, and the one that is best for all, are chosen on dev and reported on test. What a run
    found is measured on the task of that run. Interrupted and called again, it goes on.
    """
    from localprompt.cli.output import print_costs  # noqa: PLC0415 - `--help` must start fast
    from localprompt.cli.progress import measuring_progress, progress  # noqa: PLC0415
    from localprompt.cli.transfer_output import print_transfer  # noqa: PLC0415
    from localprompt.comparison import transfer as measuring  # noqa: PLC0415
    from localprompt.comparison.transfer_results import CSV_COLUMNS  # noqa: PLC0415

    check_folder(csv_file)
    names = listed(models) or []
    prompts = [prompt for source in sources for prompt in listed_prompts(source, choices["store"])]
    if dry_run:
        with progress() as observer:
            plan = measuring.plan_transfer(tasks, prompts, allow_code=choices["allow_code"])
            costs = measuring.expected_costs(plan, names, choices["engine"], observer)
        print_costs(costs, as_json=as_json)
        return
    with measuring_progress(is_kept=choices["use_cache"]) as observer:
        result = measuring.transfer(tasks, names, prompts=prompts, **choices, observer=observer)
    tell(result, print_transfer, choices["store"], as_json=as_json)
    write_csv(csv_file, CSV_COLUMNS, result.to_csv(), "the result is in the store; --csv FILE writes it elsewhere")
