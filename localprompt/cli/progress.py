"""What a run does, for the person who waits. Level 10. Everything goes to standard error."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from localprompt.cli.output import shown
from localprompt.cli.printable import printable
from localprompt.cli.streams import console
from localprompt.errors import LocalPromptError
from localprompt.interface.rounding import score_text
from localprompt.search.observer import SilentObserver
from localprompt.types import Prompt, Spend

_QUIET_S = 15.0
"""Without a terminal, a line about a long call at most so often."""


class Reporter(SilentObserver):
    """An observer that prints lines, and remembers what an interrupted run should say."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._best: tuple[Prompt, float, int] | None = None
        self._last_line_s = time.monotonic()

    def stage(self, text: str) -> None:
        """Print what the run does now."""
        self._line(text)

    note = fetching = stage

    def progress(self, done: int, total: int) -> None:
        """Print how far a long call is, now and then."""
        if done < total and time.monotonic() - self._last_line_s > _QUIET_S:
            self._line(f"  {done} of {total}")

    def best(self, prompt: Prompt, mean: float, n: int) -> None:
        """Print the new best prompt."""
        self._best = (prompt, mean, n)
        self._line(f"  best so far {score_text(mean, 2)} on {n} dev examples: {shown(prompt)}")

    def say_best(self) -> None:
        """Print the best prompt so far, for a run that does not reach its end."""
        if self._best is not None:
            prompt, mean, n = self._best
            self._line(f"The best prompt so far scores {score_text(mean, 2)} on {n} dev examples:")
            self._line(shown(prompt))

    def _line(self, text: str) -> None:
        self._last_line_s = time.monotonic()
        # `Text` is never read as markup: model text in square brackets is no colour command.
        self._console.print(Text(printable(text)), soft_wrap=True)


class LiveReporter(Reporter):
    """The same with a bar at the bottom of the terminal."""

    def __init__(self, console: Console, bar: Progress) -> None:
        super().__init__(console)
        self._bar = bar
        self._id = bar.add_task("", total=None, standing="")
        self._planned = 0
        self._spent = Spend()

    def stage(self, text: str) -> None:
        """Show what the run does now beside the bar."""
        self._bar.reset(self._id, description=printable(text), total=None, visible=True)
        self._bar.start()

    def plan(self, calls: int) -> None:
        """Remember the length of the whole, for the time left."""
        self._planned = calls
        self._redraw()

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._id, completed=done, total=total)

    def fetching(self, text: str) -> None:
        """Print it without the bar, which comes back with the next stage.

        The hub's client draws a bar of its own, which must have the terminal to itself.
        """
        self._bar.update(self._id, visible=False)  # else its lines would be taken for still there when it comes back
        self._bar.stop()
        super().fetching(text)

    def best(self, prompt: Prompt, mean: float, n: int) -> None:
        """Print the new best prompt above the bar."""
        super().best(prompt, mean, n)
        self._redraw()

    def spend(self, spend: Spend) -> None:
        """Show what has been spent."""
        self._spent = spend
        self._redraw()

    def _redraw(self) -> None:
        parts = [f"best {score_text(self._best[1], 2)}"] if self._best else []
        parts.append(f"{self._spent.tokens_computed:,} tokens")
        left = self._planned - self._spent.calls
        if self._spent.calls and left > 0:
            seconds = round(self._spent.seconds / self._spent.calls * left)
            parts.append(f"about {seconds // 60}:{seconds % 60:02} left")
        self._bar.update(self._id, standing=" · ".join(parts))


class _Count(ProgressColumn):
    """Requests done of the running call."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")


def columns(encoding: str = "utf-8") -> tuple[ProgressColumn, ...]:
    """Return what stands beside the bar: stage, requests of the running call, best and spend, time."""
    return (
        SpinnerColumn("dots" if encoding.startswith("utf") else "line"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        _Count(),
        TextColumn("{task.fields[standing]}", markup=False),
        TimeElapsedColumn(),
    )


@contextmanager
def progress() -> Iterator[Reporter]:
    """Yield an observer that draws a bar on a terminal and prints plain lines elsewhere."""
    page = console(err=True)
    if not page.is_terminal or page.is_dumb_terminal:
        reporter = Reporter(page)
        with logged(reporter.fetching):
            yield reporter
        return
    with Progress(*columns(page.encoding), console=page, transient=True) as bar:
        live = LiveReporter(page, bar)
        with logged(live.fetching):
            yield live


@contextmanager
def search_progress() -> Iterator[Reporter]:
    """Yield the same for a search; one that ends early says what it has found."""
    with progress() as reporter:
        try:
            yield reporter
        except (KeyboardInterrupt, LocalPromptError):
            reporter.say_best()
            raise


@contextmanager
def measuring_progress(*, is_kept: bool) -> Iterator[Reporter]:
    """Yield the same for what goes on when it is called again; broken off, it says so if its answers are kept."""
    with progress() as reporter:
        try:
            yield reporter
        except KeyboardInterrupt:
            if is_kept:
                reporter.note("What was answered is in the store: the same command goes on from there.")
            raise


class _Saying(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


@contextmanager
def logged(say: Callable[[str], None]) -> Iterator[None]:
    """Say what the library logs while this lasts: the steps of pulling a model."""
    logger, handler = logging.getLogger("localprompt"), _Saying(say)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
