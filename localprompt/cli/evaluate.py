"""`localprompt evaluate`: the score of one prompt. Level 10."""

from __future__ import annotations

from typing import Any

import click

from localprompt.cli.options import MODELS, model_options
from localprompt.cli.prompts import named_prompt
from localprompt.cli.streams import tell


@click.command()
@click.argument("task", type=click.Path())
@click.option("--model", required=True, help=f"The model that answers: {MODELS}.")
@click.option("--prompt", required=True, metavar="TEXT|@FILE|RUN", help="The text, or six or more characters of an id.")
@click.option("--split", type=click.Choice(["dev", "test"]), default="test", show_default=True)
@model_options
def evaluate(*, task: str, prompt: str, as_json: bool, **choices: Any) -> None:
    """Measure one prompt on the dev or test split of the task file TASK."""
    from localprompt.cli.output import print_evaluation  # noqa: PLC0415
    from localprompt.cli.progress import progress  # noqa: PLC0415
    from localprompt.run import api as runs  # noqa: PLC0415 - `--help` must start fast

    with progress() as observer:
        result = runs.evaluate(task, prompt=named_prompt(prompt, choices["store"]), **choices, observer=observer)
    tell(result, print_evaluation, as_json=as_json)
