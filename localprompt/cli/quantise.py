"""`localprompt models quantize`: a model at other levels of quantisation. Level 10."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from localprompt.cli.options import HomePath, report_options
from localprompt.cli.printable import printable_line
from localprompt.cli.streams import console, say, say_json
from localprompt.interface.rounding import size_text

if TYPE_CHECKING:
    from localprompt.hub.quantising import Plan, Quantised


@click.command()
@click.argument("name_or_file", metavar="NAME|FILE")
@click.option(
    "--to",
    "levels",
    required=True,
    metavar="LEVELS",
    help="Levels with commas between them: Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q3_K_M,Q2_K and llama.cpp's others.",
)
@click.option("--out", "folder", type=HomePath(), metavar="FOLDER", help="Where the files go; by default beside FILE.")
@click.option(
    "--imatrix", type=HomePath(dir_okay=False), metavar="FILE", help="An importance matrix as GGUF, of `llama-imatrix`."
)
@click.option("--threads", "n_threads", type=click.IntRange(1, 1024), help="By default the physical cores.")
@click.option("--force", is_flag=True, help="Make files anew that are there already.")
@report_options
def quantize(  # noqa: PLR0917 - options come by name
    name_or_file: str,
    levels: str,
    folder: Path | None,
    imatrix: Path | None,
    n_threads: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a model at other levels of quantisation, with llama.cpp's own quantiser."""
    from localprompt.cli.progress import progress  # noqa: PLC0415 - `--help` must start fast
    from localprompt.hub.quantising import carry_out, plan  # noqa: PLC0415

    wanted = [level for level in levels.split(",") if level.strip()]
    with progress() as reporter:
        chosen = plan(name_or_file, wanted, folder=folder, imatrix=imatrix, force=force)
        expected = {target.level: size_text(target.size_bytes) for target in chosen.targets}
        begun: list[str] = []

        def show(level: str, done: int, total: int) -> None:
            if level not in begun:
                begun.append(level)
                reporter.stage(f"{level}: {expected[level]}")
            reporter.progress(done, total)

        made = []
        for each in carry_out(chosen, n_threads=n_threads or 0, progress=show):
            what = "is there already and was left as it is" if each.was_there else f"made in {each.seconds:.1f} s"
            reporter.note(f"{each.level}: {each.path.name} {what}")
            made.append(each)
    if as_json:
        say_json(_as_json(chosen, made))
    else:
        _print(chosen, made)


def _as_json(plan: Plan, made: list[Quantised]) -> dict[str, object]:
    return {
        "source": str(plan.header.path),
        "requantised_from": plan.requantised_from or None,
        "imatrix": None if plan.imatrix is None else str(plan.imatrix),
        "files": [
            {**asdict(each), "path": str(each.path), "requantised_from": each.requantised_from or None} for each in made
        ],
    }


def _print(plan: Plan, made: list[Quantised]) -> None:
    from localprompt.cli.tables import table  # noqa: PLC0415

    columns = ("level", "file", "size", "bits per weight", "seconds")
    cells = [
        (
            each.level,
            str(each.path),
            size_text(each.size_bytes),
            f"{each.bits_per_weight:.2f}",
            "was there" if each.was_there else f"{each.seconds:.1f}",
        )
        for each in made
    ]
    console(wide=True).print(table(columns, cells, right=columns[2:], wide=("file",)))
    if plan.requantised_from:
        say(
            f"Requantised: {printable_line(plan.header.path.name)} is itself quantised ({plan.requantised_from}), "
            "so these files are worse than ones of the same level made from F16."
        )
        if any(each.level == "Q8_0" for each in made):
            say("Q8_0: no better than its source; `localprompt models bench` says whether it is faster here.")
    for each in made:
        if each.n_fallback:
            n = f"{each.n_fallback} of {len(plan.header.tensors)} tensors"
            say(f"{each.level}: {n} do not divide into its blocks and are of another type, mostly a larger one.")
