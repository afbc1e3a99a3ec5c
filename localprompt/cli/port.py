"""`localprompt port`: a found prompt and another model. Level 10."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.options import LIMIT, MINUTES, MODELS, engine_and_store_options
from localprompt.cli.streams import tell

if TYPE_CHECKING:
    from rich.text import Text

    from localprompt.run.ported import Port
    from localprompt.stats.intervals import Difference, Interval


@click.command()
@click.argument("run")
@click.option("--model", required=True, help=f"The new model: {MODELS}.")
@click.option("--proposer", help="The model that writes prompts; default: the old run's own one, else the new model.")
@click.option("--method", help="Of the new search, with its defaults; default: the old run's with its settings.")
@click.option("--max-minutes", type=MINUTES, help="Minutes until the result is there; no limit at all: as the old run.")
@click.option("--max-tokens", type=LIMIT, help="Tokens that the search may compute; no limit at all: as the old run.")
@click.option("--max-calls", type=LIMIT, help="Calls that the search may make; no limit at all: as the old run.")
@engine_and_store_options
def port(*, run: str, store: Path | None, as_json: bool, **choices: Any) -> None:
    """Move the prompt that the run RUN found to another model: what the swap loses, and what a new search wins back.

    RUN is the beginning of a run's id; its task and its scores with the old model are in the store. The new search
    begins with the prompts that the old one found. Called again with the same arguments, it continues where it stopped.
    """
    from localprompt.cli.progress import search_progress  # noqa: PLC0415
    from localprompt.run import port as porting  # noqa: PLC0415 - `--help` must start fast

    with search_progress() as observer:
        result = porting.port(run, **choices, store=store, observer=observer)
    tell(result, _print, as_json=as_json)


def _print(result: Port) -> None:
    from rich.text import Text  # noqa: PLC0415 - `--help` must start fast

    from localprompt.cli.output import boxed, note_parts, print_parts  # noqa: PLC0415
    from localprompt.cli.printable import printable  # noqa: PLC0415
    from localprompt.cli.tables import table  # noqa: PLC0415

    prompts = (("old seed", result.old_seed), ("old winner", result.old_best), ("new winner", result.new_best))
    rows = [
        (name, *(_interval(each) for each in (prompt.old_dev, prompt.new_dev, prompt.old_test, prompt.new_test)))
        for name, prompt in prompts
    ]
    dev = "dev" if result.objective == "score" else f"dev ({result.objective})"
    columns = ("", f"{dev}, old model", f"{dev}, new model", "test, old model", "test, new model")
    differences = (
        ("old winner, from the old model to the new one", result.swap),
        ("with the new model, from the old seed to the old winner", result.kept),
        ("with the new model, from the old winner to the new one", result.gain),
    )
    conclusion = result.conclusion
    style = "bold green" if result.is_worth_it else "bold"
    print_parts(
        [
            Text(printable(f"{conclusion[0].upper()}{conclusion[1:]}."), style=style),
            boxed("New winner", result.new_best.prompt),
            table(columns, rows, right=columns[1:], wide=columns[1:]),
            Text(""),
            *(Text(f"{what}: {_difference(each)}") for what, each in differences),
            *_regret(result),
            *note_parts(result.notes),
            Text(printable(f"port {result.id}: {result.old_model} to {result.model}, {result.method}"), style="dim"),
            Text(f"run {result.run_id}, from run {result.old_run_id}", style="dim"),
        ]
    )


def _regret(result: Port) -> list[Text]:
    from rich.text import Text  # noqa: PLC0415 - `--help` must start fast

    from localprompt.interface.rounding import percent_text  # noqa: PLC0415

    if result.regret is None or result.regret <= 0:
        return []
    return [Text(f"who keeps the old prompt has {percent_text(result.regret)} % less than with the new one (regret)")]


def _interval(score: Interval | None) -> str:
    from localprompt.interface.rounding import score_text  # noqa: PLC0415 - `--help` must start fast

    if score is None:
        return "-"
    low, high = score_text(score.low), score_text(score.high)
    return f"{score_text(score.mean)} [{low}, {high}], n {score.n}"


def _difference(difference: Difference) -> str:
    from localprompt.cli.output import difference_text  # noqa: PLC0415 - `--help` must start fast

    return f"{difference_text(difference)} on {difference.n} test examples"
