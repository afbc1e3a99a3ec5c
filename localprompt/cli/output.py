"""Results for people. Level 10. Model text is shown as text: never as markup, never with control characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from localprompt.cli.printable import printable, printable_line
from localprompt.cli.streams import console, say_json
from localprompt.cli.tables import table, within
from localprompt.interface.rounding import p_text, percent_text, score_text
from localprompt.reports.verdict import failed_text, spent
from localprompt.search.observer import pluralize
from localprompt.store.plain import plain
from localprompt.types import OperatorTotal, Prompt, Spend, Turn

if TYPE_CHECKING:
    from localprompt.run.estimate import Estimate
    from localprompt.run.measuring import MeasuringCost
    from localprompt.run.results import EvaluationResult, RunResult, VariantScores
    from localprompt.stats.intervals import Difference

_SHOWN_REASONS = 8
_FAR = 1.25
"""Ends of an expected range that are told are this far apart."""


def shown(prompt: Prompt) -> str:
    """Return a prompt's instruction for people, a word for none, and the number of its demos."""
    text = prompt.instruction or "(no instruction)"
    return f"{text} (and {pluralize(len(prompt.demos), 'demo')})" if prompt.demos else text


def print_costs(costs: Sequence[MeasuringCost], *, as_json: bool) -> None:
    """Print about what measuring takes with each model."""
    if as_json:
        say_json(list(map(plain, costs)))
        return
    columns = ("model", "prompts", "rows", "tokens", "minutes")
    rows = []
    for each in costs:
        minutes = "?" if each.seconds is None else f"{each.seconds / 60:.1f}"
        rows.append((each.model, f"{each.n_prompts}", f"{each.n_rows}", f"{each.tokens_computed:,}", minutes))
    print_parts([Text("At most about:"), table(columns, rows, right=columns[1:])])


def print_parts(parts: Sequence[RenderableType]) -> None:
    """Print what stands below each other; a line of text is left to the terminal to wrap, so commands stay whole."""
    page = console()
    for part in parts:
        page.print(part, soft_wrap=isinstance(part, Text))


def print_evaluation(result: EvaluationResult) -> None:
    """Print the score of a prompt with its interval."""
    score = result.score
    found = f"{score_text(score.mean)} (95 % interval {within(score, 3)})"
    measured = f"{result.split}: {found} on {pluralize(score.n, 'example')} ({result.model}, {result.task})"
    lines: list[RenderableType] = [boxed("Prompt", result.prompt), Text(printable_line(measured))]
    if result.unparsed:
        lines.append(Text(f"completions without an answer, which score 0: {result.unparsed}", style="yellow"))
    if result.failed:
        lines.append(Text(failed_text(result.failed), style="yellow"))
    lines += note_parts(result.notes)
    lines.append(Text(spent("It", result.spend)))
    print_parts(lines)


def turn_parts(turns: Sequence[Turn]) -> list[RenderableType]:
    """Return what each operator of a search gained on dev and for how many tokens: those that paid, then the others."""
    totals = OperatorTotal.of(turns)
    kinds = {
        "what paid on dev": [
            f"{each.operator} {score_text(each.gain, sign='+')}{_cost(each)}" for each in totals if each.gain
        ],
        "tried without a gain": [f"{each.operator}{_cost(each)}" for each in totals if each.tokens and not each.gain],
    }
    return [Text(printable_line(f"{what}: {'; '.join(parts)}")) for what, parts in kinds.items() if parts]


def _cost(total: OperatorTotal) -> str:
    times = f", {total.turns} turns" if total.turns > 1 else ""
    return f" ({total.tokens:,} tokens, {percent_text(total.share)} %{times})"


def discard_parts(discards: Mapping[str, int]) -> list[RenderableType]:
    """Return how many proposals were not used, by the most frequent reasons."""
    reasons = list(discards.items())
    shown = ", ".join(f"{n} {printable_line(reason)}" for reason, n in reasons[:_SHOWN_REASONS])
    more = f" and {len(reasons) - _SHOWN_REASONS} more reasons" if len(reasons) > _SHOWN_REASONS else ""
    return [Text(f"proposals not used: {shown}{more}")] if reasons else []


def note_parts(notes: Iterable[str]) -> list[RenderableType]:
    """Return notes, a sentence each."""
    return [Text(printable(note_text(note)), style="yellow") for note in notes]


def test_parts(result: RunResult) -> list[RenderableType]:
    """Return the scores on test as a table: of the seed prompt, and of the found one where it is another."""
    if (test := result.test) is None:
        return []
    columns = ("", "test score", "95 % interval", "examples")
    found = "found" if result.found_better else "found without the fold"
    prompts = [("seed", test.seed, test.seed_variants), (found, test.best, test.best_variants)]
    if not result.found_better and test.best == test.seed:  # folds may have found what the last search did not
        del prompts[1]
    rows = [(name, score_text(each.mean), within(each, 3), str(each.n)) for name, each, _ in prompts]
    rows += [row for name, _, variants in prompts for row in _variant_rows(name, variants)]
    return [table(columns, rows, right=columns[1:], wide=columns)]


def _variant_rows(name: str, found: VariantScores | None) -> list[tuple[str, str, str, str]]:
    """Return the rows of a prompt with its variants; none where they were not measured."""
    if found is None:
        return []
    ways = ((f"{name}, mean of 5 variants", found.mean), (f"{name}, worst: {found.change}", found.worst))
    return [(what, score_text(each.mean), within(each, 3), str(each.n)) for what, each in ways]


def boxed(title: str, prompt: Prompt, most_demos: int | None = None) -> Panel:
    """Return a prompt with its demos, or with so many of them, under a title."""
    text = Text(printable(prompt.instruction)) if prompt.instruction else Text("(no instruction)", style="dim")
    for number, demo in enumerate(prompt.demos[:most_demos], start=1):
        text.append(f"\n\ndemo {number}", style="dim")
        for name, value in demo.inputs.items():
            text.append(printable(f"\n{name}: {value}"))
        text.append(printable(f"\n=> {demo.output}"))
    if hidden := len(prompt.demos) - len(prompt.demos[:most_demos]):
        text.append(f"\n\nand {pluralize(hidden, 'more demo')}", style="dim")
    return Panel(text, title=title, title_align="left")


def estimate_text(expected: Estimate, pause_after: float | None = None) -> str:
    """Return an estimate in words."""
    text = f"about {expected.proposals:,} proposals and {expected.evaluations:,} evaluations, "
    text += f"{expected.tokens_computed:,} tokens ({expected.tokens_requested:,} requested)"
    least, most = expected.tokens_least, expected.tokens_most
    if least is not None and most is not None and most > _FAR * least:
        text += (
            f", or {least:,} to {most:,}: whether the last step fits the limits depends on how long prompts turn out"
        )
    if expected.seconds is not None:
        text += f", {expected.seconds / 60:.1f} minutes on this machine"
        if pause_after is not None and pause_after < expected.seconds / 60:
            text += f"; the search would pause after {pause_after:g}"
    if expected.final_calls:
        text += f"; after it, for noise, choice and test, {expected.final_calls:,} evaluations"
        text += f", {expected.final_tokens_computed:,} tokens"
    if expected.final_seconds is not None:
        text += f", {expected.final_seconds / 60:.1f} minutes"
    return text


def answers_note(spends: Iterable[Spend]) -> str:
    """Return what measuring took, with all models together."""
    whole = sum(spends, Spend())
    return f"{whole.tokens_decoded:,} tokens; {whole.answers_cached:,} of {whole.answers:,} answers were known"


def difference_text(difference: Difference) -> str:
    """Return a paired difference with its interval and p in words."""
    mean = score_text(difference.mean, sign="+")
    return f"{mean} (95 % interval {within(difference, 3, '+')}, paired, {p_text(difference.p)})"


def note_text(note: str) -> str:
    """Return a note of a result as a sentence; one that ends in an ellipsis has no room for a full stop."""
    return f"Note: {note}" + ("" if note.endswith((".", "…")) else ".")
