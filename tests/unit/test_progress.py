"""What the person who waits sees."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from localprompt.cli.progress import LiveReporter, Reporter, columns
from localprompt.types import Demo, Prompt, Spend


def test_lines_name_stage_and_best_and_nothing_is_read_as_markup() -> None:
    out = io.StringIO()
    reporter = Reporter(Console(file=out, width=200))
    reporter.stage("comparing [red]3[/red] prompts")
    reporter.progress(1, 2)
    reporter.best(Prompt("Say [/] it.", (Demo({"input": "a"}, "b"),)), 0.5, 8)
    reporter.note("a note")
    reporter.say_best()
    assert out.getvalue().splitlines() == [
        "comparing [red]3[/red] prompts",
        "  best so far 0.50 on 8 dev examples: Say [/] it. (and 1 demo)",
        "a note",
        "The best prompt so far scores 0.50 on 8 dev examples:",
        "Say [/] it. (and 1 demo)",
    ]


def test_without_a_score_there_is_no_best_to_say() -> None:
    out = io.StringIO()
    Reporter(Console(file=out)).say_best()
    assert out.getvalue() == ""


def test_while_a_model_is_fetched_the_terminal_belongs_to_the_hubs_own_bar() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=30)
    with Progress(*columns(), console=console, transient=True) as bar:
        reporter = LiveReporter(console, bar)
        reporter.stage("loading a model with a long name, so that the bar takes several lines")
        bar.refresh()
        reporter.fetching("tiny.gguf (file 1 of 1, 10 MB)")
        while_fetching = bar.live.is_started
        fetched = len(out.getvalue())
        reporter.stage("estimating")
        bar.refresh()
        assert (while_fetching, bar.live.is_started) == (False, True)
    assert "\x1b[1A" not in out.getvalue()[fetched:].partition("estimating")[0]  # nothing above is erased


@pytest.mark.parametrize(("calls", "left"), [(250, "about 0:30 left"), (143, "about 1:00 left"), (1000, "")])
def test_on_a_terminal_a_bar_shows_best_spend_and_the_time_left(calls: int, left: str) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200)
    with Progress(*columns(), console=console) as bar:
        reporter = LiveReporter(console, bar)
        reporter.stage("comparing [9] prompts")
        reporter.plan(1000)
        reporter.best(Prompt("Say it."), 0.75, 32)
        reporter.spend(Spend(99_999, 678, calls, 10.0, tokens_computed=12_345))
        reporter.progress(3, 4)
        bar.refresh()
        assert not bar.finished
    shown = out.getvalue()
    for piece in ("comparing [9] prompts", "3/4", "best 0.75", "12,345 tokens", left):
        assert piece in shown
    assert ("left" in shown) == bool(left)
