"""`localprompt report`: a run or a study as a page to look at. Level 10."""

from __future__ import annotations

from contextlib import ExitStack, closing, suppress
from pathlib import Path

import click

from localprompt.cli.options import HomePath, store_options
from localprompt.cli.printable import printable_line
from localprompt.cli.spreadsheets import check_folder
from localprompt.cli.streams import say, say_json


@click.command()
@click.argument("what", metavar="[RUN|STUDY]", required=False)
@click.option("--out", type=HomePath(dir_okay=False), help="Write the page to FILE.  [default: localprompt-ID.html]")
@click.option("--open", "is_opened", is_flag=True, help="Open the page in the browser.")
@click.option("--watch", "is_watched", is_flag=True, help="Write the page again while its run goes on; Ctrl-C ends it.")
@store_options
def report(
    *, what: str | None, out: Path | None, is_opened: bool, is_watched: bool, store: Path | None, as_json: bool
) -> None:
    """Write a page that shows a run or a study: one HTML file, which asks nothing of any network.

    The argument is the beginning of the id of a run, comparison, sensitivity, transfer or port; by default the newest
    is shown. No model is loaded. With --json the data is
    printed instead.
    """
    from localprompt.reports import report as reports  # noqa: PLC0415 - `--help` must start fast
    from localprompt.run.session import opened_store  # noqa: PLC0415

    if as_json and (is_watched or is_opened or out is not None):
        raise click.UsageError("--json prints the data once and writes no page: leave out --watch, --open and --out")
    check_folder(out)
    with ExitStack() as stack:
        home = stack.enter_context(opened_store(store, create=False))
        if as_json:
            say_json(reports.find(home, what)[1].to_json())
        elif not is_watched:
            _tell(reports.report(what, out=out, store=home), is_opened)
        else:
            pages = stack.enter_context(closing(reports.watch(home, what, out)))
            with suppress(KeyboardInterrupt):
                _tell(next(pages), is_opened)
                for _ in pages:
                    pass


def _tell(path: Path, is_opened: bool) -> None:
    say(printable_line(str(path)))
    if is_opened and click.launch(str(path.absolute())):
        say("no browser could be opened: open the file yourself", err=True)
