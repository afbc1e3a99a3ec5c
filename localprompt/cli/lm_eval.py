"""`localprompt lm-eval`: the command line of the LM evaluation harness with models of this project. Level 10."""

from __future__ import annotations

import click


@click.command(
    "lm-eval", context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lm_eval(arguments: tuple[str, ...]) -> None:
    """Run the LM evaluation harness, where `--model localprompt --model_args model=NAME` is a model of this project.

    All arguments are those of `lm-eval`.
    """
    from localprompt.adapters.lm_eval import run_command_line  # noqa: PLC0415 - only with the extra

    run_command_line(arguments)
