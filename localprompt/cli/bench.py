"""`localprompt models bench` and `models check`: how fast a model is here, and whether it can be used. Level 10."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.options import engine_option, report_options
from localprompt.cli.streams import console, say, say_json, tell
from localprompt.interface.rounding import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localprompt.engine.tuning import Trial
    from localprompt.lm.speed import Benchmark, Footprint

_UNUSABLE = 1
_SETTINGS = ("use_extra_bufts", "n_ubatch", "n_threads", "flash_attn", "n_ctx", "n_seq_max", "lanes")
_EXPLAINED = {
    "pp512": "reading 512 tokens",
    "tg128": "writing 128 tokens, one after another",
    "scoring": "distinct tokens of labels after many messages",
    "generation": "writing many completions at once",
}


@click.command()
@click.argument("name_or_file", metavar="NAME|FILE")
@click.option(
    "--repetitions", type=click.IntRange(1, 1000), default=5, show_default=True, help="Of each measurement, by turns."
)
@engine_option
@report_options
def bench(name_or_file: str, repetitions: int, engine: dict[str, object], as_json: bool) -> None:
    """Measure how fast a model is here: as llama-bench does (pp512, tg128), and as a search asks it."""
    from localprompt.cli.progress import progress  # noqa: PLC0415 - `--help` must start fast
    from localprompt.lm.speed import benchmark  # noqa: PLC0415

    with progress() as reporter:
        reporter.stage(f"loading {name_or_file}")
        found = benchmark(name_or_file, engine, repetitions, reporter.progress)
    tell(found, _print, as_json=as_json)


@click.command()
@click.argument("name_or_file", metavar="NAME|FILE")
@engine_option
@report_options
@click.pass_context
def check(ctx: click.Context, name_or_file: str, engine: dict[str, object], as_json: bool) -> None:
    """Try whether a model can be used here: header, memory, chat template, decoding, grammar; exit 1 if it cannot."""
    from localprompt.cli.tables import facts_table  # noqa: PLC0415
    from localprompt.hub.files import present  # noqa: PLC0415
    from localprompt.lm.check import check_model  # noqa: PLC0415

    path = present(name_or_file)
    findings = list(check_model(path, engine))
    usable = all(finding.state != "failed" for finding in findings)
    if as_json:
        say_json({"path": str(path), "usable": usable, "checks": [asdict(finding) for finding in findings]})
    else:
        rows = [(finding.name, f"{finding.state}: {finding.said}") for finding in findings]
        console().print(facts_table([("file", str(path)), *rows, ("usable", "yes" if usable else "no")]))
    if not usable:
        ctx.exit(_UNUSABLE)


def _print(found: Benchmark) -> None:
    from localprompt.cli.tables import facts_table, table  # noqa: PLC0415

    plain = {"scoring": "pp512", "generation": "tg128"}
    cells = [
        (
            rate["name"],
            f"{rate['mean']:.1f} ± {rate['deviation']:.1f}",
            "" if rate["ratio"] is None else f"{rate['ratio']:.2f} x {plain[rate['name']]}",
            _EXPLAINED[rate["name"]],
        )
        for rate in found.to_json()["rates"]
    ]
    console(wide=True).print(table(("rate", "tokens/s", "ratio", "what"), cells, right=("tokens/s",)))
    say("")
    console(wide=True).print(facts_table(_rows(found)))


def _rows(found: Benchmark) -> list[tuple[str, str]]:
    settings, load = asdict(found.settings), found.speed.load
    rows = [("file", found.path), ("settings", _choice(settings, _SETTINGS))]
    rows += [("tried", f"{_choice(each.settings, tuple(each.settings))}: {_rate(each)}") for each in found.trials]
    rows += _memory(found.memory, "" if found.settings.n_engines == 1 else " for each engine")
    if load is not None:
        rows.append(("beside it", f"load {load:.1f} in the minute before: on a busy machine rates are too low"))
    return rows


def _memory(found: Footprint, each: str) -> Iterator[tuple[str, str]]:
    """Yield what is needed and occupied of each kind of memory."""
    yield "memory", f"about {size_text(found.host.total)}{each}: {found.host}"
    if found.gpus is not None:
        where = "a part of it on GPUs" if found.shares_ram else "on GPUs"
        held = ", ".join(f"{size_text(size)} of weights on {name}" for name, size in found.held.items())
        yield where, f"about {size_text(found.gpus.total)}{each}: {found.gpus}; llama.cpp has put there {held}"
    if (now := found.occupied) is None:
        yield "occupied", "not known on this system"
    else:
        own, mapped, peak = map(size_text, (now.own, now.mapped, now.peak))
        yield "occupied", f"{own} of its own, {mapped} mapped from files; at most {peak} together"


def _choice(settings: dict[str, Any], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name}={settings[name]}" for name in names)


def _rate(trial: Trial) -> str:
    return "failed" if trial.rate is None else f"{trial.rate:.1f} tokens/s of {trial.of}"
