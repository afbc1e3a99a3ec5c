"""Results for people. Level 10. Model text is shown as text: never as markup, never with control characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from localprompt.cli.changed_rows import changed_parts
from localprompt.cli.printable import printable, printable_line
from localprompt.cli.streams import console, say_json
from localprompt.cli.tables import table
from localprompt.errors import StoreError
from localprompt.interface.rounding import p_text, percent_text, score_text
from localprompt.run.config import resume_command
from localprompt.run.history import TestRow, read_test_rows
from localprompt.store import Store, default_store
from localprompt.types import OperatorTotal, Prompt, Spend, Turn

if TYPE_CHECKING:
    from localprompt.run.estimate import Estimate
    from localprompt.run.measuring import MeasuringCost
    from localprompt.run.results import EvaluationResult, RunResult, VariantScores
    from localprompt.stats.intervals import Difference, Interval

_SHOWN_REASONS = 8
_SHOWN_CHARS = 80
_ROUNDING = 1e-9
_FAR = 1.25
"""Ends of an expected range that are told are this far apart."""
_VERDICT_STYLE = {"significant improvement": "bold green", "significantly worse": "bold red"}


def shown(prompt: Prompt) -> str:
    """Return a prompt's instruction for people, a word for none, and the number of its demos."""
    text = prompt.instruction or "(no instruction)"
    return f"{text} (and {len(prompt.demos)} demos)" if prompt.demos else text


def print_run(result: RunResult, store: Path | None, *, as_json: bool = False) -> None:
    """Print the found prompt, its scores and rows that changed, what it cost, and the command that goes on."""
    if as_json:
        say_json(result.to_json())
    else:
        print_parts(_run(result, store))


def print_costs(costs: Sequence[MeasuringCost]) -> None:
    """Print about what measuring takes with each model."""
    columns = ("model", "prompts", "rows", "tokens", "minutes")
    rows = [
        (
            each.model,
            f"{each.n_prompts}",
            f"{each.n_rows}",
            f"{each.tokens_computed:,}",
            "?" if each.seconds is None else f"{each.seconds / 60:.1f}",
        )
        for each in costs
    ]
    print_parts([Text("At most about:"), table(columns, rows, right=columns[1:])])


def print_parts(parts: Sequence[RenderableType]) -> None:
    """Print what stands below each other; a line of text is left to the terminal to wrap, so commands stay whole."""
    page = console()
    for part in parts:
        page.print(part, soft_wrap=isinstance(part, Text))


def print_evaluation(result: EvaluationResult) -> None:
    """Print the score of a prompt with its interval."""
    score = result.score
    measured = f"{result.split}: {_interval(score)} on {_examples(score.n)} ({result.model}, {result.task})"
    lines: list[RenderableType] = [boxed("Prompt", result.prompt), Text(printable_line(measured))]
    if result.unparsed:
        lines.append(Text(f"{result.unparsed} completions held no answer and score 0.", style="yellow"))
    lines += _failed(result.failed)
    lines += note_parts(result.notes)
    lines.append(_spend(result.spend))
    print_parts(lines)


def _run(result: RunResult, store: Path | None) -> list[RenderableType]:
    parts: list[RenderableType] = [boxed("Seed prompt, which stays", result.best)]
    if result.found_better:
        seed = Text(f"Seed: {printable(shown(result.seed_prompt))}", style="dim")
        parts = [boxed("Found prompt", result.best), seed]
    parts += [
        Text(""),
        *test_parts(result),
        _verdict(result),
        *changed_parts(_rows(result.run_id, store)),
        Text(""),
    ]
    if result.dev is not None:
        what = "score" if result.objective == "score" else f"{result.objective} score"
        whose = "found" if result.found_better else "seed"
        parts.append(
            Text(f"dev {what} of the {whose} prompt: {score_text(result.dev.mean)} on {_examples(result.dev.n)}")
        )
    if result.noise is not None:
        noise = result.noise
        again = f"measuring again changed {noise.changed} of {noise.n} scores"
        again += "; with --exact, where the model has it, none" if noise.changed else ""
        parts.append(Text(f"noise floor of a mean dev score: {score_text(noise.floor)} ({again})"))
    parts += runner_up_parts(result)
    parts += turn_parts(result.turns)
    parts += cost_parts(result)
    if result.expected is not None:
        parts.append(Text(f"expected {estimate_text(result.expected)}", style="dim"))
    parts += discard_parts(result.discards)
    if result.stopped:
        further = "" if result.status == "paused" else " with a higher limit"
        cut = f"The search was cut short: {result.stopped}. {_go_on(result.run_id, store)}{further} continues."
        parts.append(Text(printable(cut), style="yellow"))
    parts += note_parts(result.notes)
    parts.append(Text(f"run {result.run_id}: {result.method}, seed {result.seed}", style="dim"))
    return parts


def _rows(run_id: str, store: Path | None) -> Sequence[TestRow]:
    with suppress(StoreError), Store(store or default_store(), create=False) as opened:
        return read_test_rows(opened, run_id)
    return ()


def _go_on(run_id: str, store: Path | None) -> str:
    """Return the command that goes on with a run, with the options that it needs as far as the store knows them."""
    path, configuration = store or default_store(), None
    with suppress(StoreError), Store(path, create=False) as opened:  # what was found is shown all the same
        configuration = opened.runs.get(run_id).configuration
    return resume_command(run_id, configuration, path)


def runner_up_parts(result: RunResult) -> list[RenderableType]:
    """Return a line on the prompt that came second: how far it is from the winner, and what would decide."""
    second = result.runner_up
    if second is None:
        return []
    difference, n = second.difference, second.difference.n
    winner = "found prompt" if result.found_better else "seed prompt"
    direction = "ahead of" if difference.mean > 0 else "behind"
    by = f"{score_text(abs(difference.mean))} {direction}" if abs(difference.mean) > _ROUNDING else "level with"
    of_rows = f"{n - second.n_unseen} dev and {second.n_unseen} unused train" if second.n_unseen else f"{n} dev"
    text = f"runner-up: {by} the {winner} on {of_rows} examples"
    low, high = (score_text(each, sign="+") for each in (difference.low, difference.high))
    text += f" (95 % interval {low} to {high})"
    if difference.mean > _ROUNDING and not result.found_better:
        text += ", within one standard error, so the seed stays"
    if not second.is_decided and second.decided_by is not None:
        text += f"; about {_rounded(max(second.decided_by, n + 1)):,} examples in all would decide"
    return [Text(printable_line(f"{text}: {_shortened(shown(second.prompt))}"))]


def _rounded(n: int) -> int:
    """Return a number of at most two digits and noughts, no smaller: what is extrapolated is not known to the unit."""
    unit = int("1".ljust(len(str(n)) - 1, "0"))
    return -(-n // unit) * unit


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def cost_parts(result: RunResult) -> list[RenderableType]:
    """Return what the search and its final evaluation cost."""
    return [
        *_failed(result.failed),
        _spend(result.spend),
        _spend(result.final_evaluation, "spent on noise, choice and test"),
    ]


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
    prompts = [("seed", test.seed, test.seed_variants), ("found", test.best, test.best_variants)]
    if not result.found_better and test.best == test.seed:  # folds may have found what the last search did not
        del prompts[1]
    rows = [
        (name, score_text(each.mean), f"{score_text(each.low)} to {score_text(each.high)}", str(each.n))
        for name, each, _ in prompts
    ]
    rows += [row for name, _, variants in prompts for row in _variant_rows(name, variants)]
    scores = table(columns, rows, right=columns[1:], wide=columns)
    if not test.seed_unparsed and not test.best_unparsed:
        return [scores]
    held = f"{test.seed_unparsed} completions with the seed and {test.best_unparsed} with the found prompt"
    return [scores, Text(f"{held} held no answer and score 0.", style="yellow")]


def _variant_rows(name: str, found: VariantScores | None) -> list[tuple[str, str, str, str]]:
    """Return the rows of a prompt with its variants; none where they were not measured."""
    if found is None:
        return []
    ways = ((f"{name}, mean of 5 variants", found.mean), (f"{name}, worst: {found.change}", found.worst))
    return [
        (what, score_text(each.mean), f"{score_text(each.low)} to {score_text(each.high)}", str(each.n))
        for what, each in ways
    ]


def _verdict(result: RunResult) -> Text:
    text = Text()
    if result.found_better and result.test is not None:
        text.append(f"difference {difference_text(result.test.difference)}: ")
    text.append(result.verdict, style=verdict_style(result))
    return text


def verdict_style(result: RunResult) -> str:
    """Return the colour of a verdict."""
    return _VERDICT_STYLE.get(result.verdict, "bold yellow")


def boxed(title: str, prompt: Prompt, most_demos: int | None = None) -> Panel:
    """Return a prompt with its demos, or with so many of them, under a title."""
    text = Text(printable(prompt.instruction)) if prompt.instruction else Text("(no instruction)", style="dim")
    for number, demo in enumerate(prompt.demos[:most_demos], start=1):
        text.append(f"\n\ndemo {number}", style="dim")
        for name, value in demo.inputs.items():
            text.append(printable(f"\n{name}: {value}"))
        text.append(printable(f"\n=> {demo.output}"))
    if hidden := len(prompt.demos) - len(prompt.demos[:most_demos]):
        text.append(f"\n\nand {hidden} more demos", style="dim")
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


def _examples(n: int) -> str:
    return f"{n} example{'s'[: n != 1]}"


def _interval(score: Interval) -> str:
    low, high = score_text(score.low), score_text(score.high)
    return f"{score_text(score.mean)} (95 % interval {low} to {high})"


def difference_text(difference: Difference) -> str:
    """Return a paired difference with its interval and p in words."""
    mean, low, high = (score_text(each, sign="+") for each in (difference.mean, difference.low, difference.high))
    return f"{mean} (95 % interval {low} to {high}, paired, {p_text(difference.p)})"


def _failed(n: int) -> list[RenderableType]:
    text = "1 request killed the engine; it counts" if n == 1 else f"{n:,} requests killed the engine; they count"
    return [Text(f"{text} as unanswered.", style="yellow")] if n else []


def note_text(note: str) -> str:
    """Return a note of a result as a sentence; one that ends in an ellipsis has no room for a full stop."""
    return f"Note: {note}" + ("" if note.endswith((".", "…")) else ".")


def _spend(spend: Spend, what: str = "spent") -> Text:
    # Runs of before were not counted so.
    computed = f"{spend.tokens_computed:,} tokens, {spend.tokens_requested:,} requested"
    tokens = computed if spend.tokens_computed else f"{spend.tokens_requested:,} requested tokens"
    known = f", {percent_text(spend.hit_rate)} % of the answers from the store" if spend.answers_cached else ""
    calls = f"{spend.calls:,} model calls{known}"
    return Text(f"{what} {tokens}, {calls}, {spend.seconds:.0f} s")
