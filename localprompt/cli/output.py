"""Results for people. Level 8. Model text is shown as text: never as markup, never with control characters."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from localprompt.types import Prompt, Spend

if TYPE_CHECKING:
    from localprompt.analysis.stats import Difference, Interval
    from localprompt.runs import EvaluationResult, RunResult

_DIRECTION_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_VERDICT_STYLE = {"significant improvement": "bold green", "significantly worse": "bold red"}


def printable(text: str) -> str:
    """Return the text without what could command a terminal: controls, direction overrides, lone surrogates."""
    return "".join(
        c for c in text if c in "\n\t" or not (unicodedata.category(c) in ("Cc", "Cs") or c in _DIRECTION_CONTROLS)
    )


def shown(prompt: Prompt) -> str:
    """Return a prompt's instruction for people, a word for none, and the number of its demos."""
    text = prompt.instruction or "(no instruction)"
    return f"{text} (and {len(prompt.demos)} demos)" if prompt.demos else text


def print_run(result: RunResult) -> None:
    """Print the found prompt, both scores on test, their difference, and what it cost."""
    Console(highlight=False).print(_run(result))


def print_evaluation(result: EvaluationResult) -> None:
    """Print the score of a prompt with its interval."""
    score = result.score
    lines: list[RenderableType] = [
        _boxed("Prompt", result.prompt),
        Text(f"{result.split}: {_interval(score)} on {score.n} examples ({result.model}, {printable(result.task)})"),
    ]
    if result.unparsed:
        lines.append(Text(f"{result.unparsed} completions held no answer and score 0.", style="yellow"))
    lines.append(_spend(result.spend))
    Console(highlight=False).print(Group(*lines))


def _run(result: RunResult) -> RenderableType:
    scores = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "test score", "95 % interval", "examples"):
        scores.add_column(name, justify="right" if name else "left")
    for name, each in (("seed", result.test.seed), ("found", result.test.best)):
        scores.add_row(name, f"{each.mean:.3f}", f"{each.low:.3f} to {each.high:.3f}", str(each.n))
    parts: list[RenderableType] = [
        _boxed("Found prompt", result.best),
        Text(f"Seed: {printable(shown(result.seed_prompt))}", style="dim"),
        Text(""),
        scores,
        _verdict(result),
        Text(""),
    ]
    seed_unparsed, best_unparsed = result.test.seed_unparsed, result.test.best_unparsed
    if seed_unparsed or best_unparsed:
        held = f"{seed_unparsed} completions with the seed and {best_unparsed} with the found prompt held no answer"
        parts.append(Text(f"{held} and score 0.", style="yellow"))
    if result.dev is not None:
        parts.append(Text(f"dev score of the found prompt: {result.dev.mean:.3f} on {result.dev.n} examples"))
    parts.append(_spend(result.spend))
    if result.discards:
        reasons = ", ".join(f"{n} {reason}" for reason, n in result.discards.items())
        parts.append(Text(f"proposals not used: {reasons}"))
    if result.stopped:
        parts.append(Text(f"The search was cut short: {result.stopped}.", style="yellow"))
    parts += [Text(printable(f"Note: {note}."), style="yellow") for note in result.notes]
    parts.append(Text(f"run {result.run_id}: {result.method}, seed {result.seed}", style="dim"))
    return Group(*parts)


def _verdict(result: RunResult) -> Text:
    text = Text()
    if result.found_better:
        text.append(f"difference {_difference(result.test.difference)}: ")
    text.append(result.verdict, style=_VERDICT_STYLE.get(result.verdict, "bold yellow"))
    return text


def _boxed(title: str, prompt: Prompt) -> Panel:
    text = Text(printable(prompt.instruction)) if prompt.instruction else Text("(no instruction)", style="dim")
    for number, demo in enumerate(prompt.demos, start=1):
        text.append(f"\n\ndemo {number}", style="dim")
        for name, value in demo.inputs.items():
            text.append(printable(f"\n{name}: {value}"))
        text.append(printable(f"\n=> {demo.output}"))
    return Panel(text, title=title, title_align="left")


def _interval(score: Interval) -> str:
    return f"{score.mean:.3f} (95 % interval {score.low:.3f} to {score.high:.3f})"


def _difference(difference: Difference) -> str:
    p = "p < 0.0001" if difference.p < 1e-4 else f"p = {difference.p:.4f}"
    return f"{difference.mean:+.3f} (95 % interval {difference.low:+.3f} to {difference.high:+.3f}, paired, {p})"


def _spend(spend: Spend) -> Text:
    shared = f" ({spend.tokens_decoded:,} decoded: the rest was shared)" if spend.tokens_decoded else ""
    return Text(f"spent {spend.tokens_requested:,} tokens{shared}, {spend.calls:,} model calls, {spend.seconds:.0f} s")
