"""`localprompt export`: a found prompt in the forms that other programs take. Level 10."""

from __future__ import annotations

from pathlib import Path

import click

from localprompt.cli.options import HomePath, store_options
from localprompt.cli.printable import printable, printable_line
from localprompt.cli.streams import say, say_json

_FORMS = ("text", "chat-json", "ollama", "llama-server", "openai", "promptfoo", "dspy", "langchain", "lm-eval")


@click.command()
@click.argument("run")
@click.option("--to", required=True, type=click.Choice(_FORMS), help="The form.")
@click.option("--out", type=HomePath(), help="The folder.  [default: localprompt-ID-FORM]", metavar="FOLDER")
@click.option(
    "--rows",
    type=click.Choice(("dev", "test")),
    default="dev",
    show_default=True,
    help="Rows that go along with promptfoo and lm-eval; one of them is the example.",
)
@click.option("--model", help="Where the run's model is now; default: where it was.")
@store_options
def export(
    *, run: str, to: str, out: Path | None, rows: str, model: str | None, store: Path | None, as_json: bool
) -> None:
    """Write the prompt that the run RUN found in the form of another program, into a folder.

    RUN is the beginning of a run's id. Beside each form lies example.json: a row exactly as the model is shown it, with
    its token ids and the model's answer. docs/exports.md says what each form keeps, and what it costs.
    """
    from localprompt.exports.export import export as exporting  # noqa: PLC0415 - `--help` must start fast

    done = exporting(run, to, out=out, rows=rows, model=model, store=store)  # type: ignore[arg-type]
    if as_json:
        say_json(done.to_json())
        return
    say(printable_line(str(done.folder)))
    say(printable("\n".join([f"  {name}" for name in done.files])))
    say(printable(done.use))
    for note in done.notes:
        say(printable(f"Note: {note}."), err=True)
