"""Sensitivity for people: a verdict, then tables. Level 10."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from localprompt.battery.results import (
    ALL,
    FamilyMeasures,
    ModelSensitivity,
    RankAgreement,
    ScorerMeasures,
    Sensitivity,
)
from localprompt.cli.output import answers_note, print_parts
from localprompt.cli.printable import cut, printable
from localprompt.cli.tables import p_cell, signed, table, two, within
from localprompt.interface.advice import command
from localprompt.interface.rounding import p_text, percent_text, score_text
from localprompt.search.observer import pluralize
from localprompt.stats.intervals import Interval
from localprompt.stats.resampling import Estimate
from localprompt.stats.variance import VarianceShares

_MOST_WORDS = 10
_CHANGE = 60
"""Characters of what a variant changes."""
_STRONG, _WEAK = 0.10, 0.02
"""Shares of answers that a word changes from which it is shown in the prompt."""

_SOURCES = {
    "prompt": "wording",
    "model": "model",
    "quantisation": "quantisation",
    "example": "example",
    "prompt_model": "wording that is better for some models",
    "prompt_example": "wording that is better for some examples",
    "model_example": "model that is better for some examples",
    "residual": "the rest",
}


def print_sensitivity(found: Sensitivity, store: Path | None) -> None:
    """Print the verdict, then families, words, scorers, worst and best, and over models what they have in common.

    Last comes the command that shows the rest; `store` is named in it.
    """
    print_parts(list(_parts(found, store)))


def _parts(found: Sensitivity, store: Path | None) -> Iterator[RenderableType]:
    yield Text(printable(found.verdict), style="bold")
    rows = pluralize(len(found.rows), f"{found.split} row")
    variants = pluralize(len(found.variants) - 1, "variant")
    what = "`changed`: answers that are not those to the prompt as it is"
    what += "" if found.unlabelled else "; `chance`: the spread of equal prompts"
    yield Text(printable(f"\n{found.task}: {variants} of one prompt on {rows} ({what})."))
    if len(found.models) > 1:
        yield from _models(found)
    for model in found.models:
        yield from _model(found, model)
    if found.variance is not None:
        yield Text("")
        yield variance_table(found.variance)
    for note in (*_notes(found), *found.notes):
        yield Text(printable(f"note: {note}"))
    if found.id:
        page = f"{command('report', found.id, store=store)} writes a page with every variant"
        yield Text(printable(f"sensitivity {found.id}: {page}"), style="dim")


def _model(found: Sensitivity, model: ModelSensitivity) -> Iterator[RenderableType]:
    yield Text(printable(f"\n{model.model}{f' ({model.quantisation})' if model.quantisation else ''}\n"), style="bold")
    yield _families(model.own, unlabelled=found.unlabelled)
    moves = not found.unlabelled and model.overall.variants > 0
    if moves:
        yield Text(f"\nAll together: {_measures(model.overall)}.")
    if model.words:
        yield Text("\nWords of the prompt: the share of answers that change without them.\n")
        yield _word_map(found, model)
        yield Text("")
        yield _words(model)
    if len(model.scorers) > 1 and not found.unlabelled:
        yield Text("\nThe same variants, answers taken in other ways:\n")
        yield _scorers(model)
        if len(model.scorer_agreement) > 1:
            yield from agreement_lines(model.scorer_agreement, "wording", "scorers")
    if moves:
        yield from _extremes(found, model)


def _families(measures: ScorerMeasures, *, unlabelled: bool) -> RenderableType:
    of_scores = ("worst", "best", "spread", "95 % interval", "chance", "p", "changed")
    of_answers = ("changed", "consistency", "entropy", "POSIX")
    columns = ("family", "n", *(of_answers if unlabelled else of_scores))
    cells = _of_answers if unlabelled else _of_scores
    named = {ALL: "all together"}
    rows = [(named.get(each.family, each.family), f"{each.variants}", *cells(each)) for each in measures.families]
    shown = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    return table([columns[i] for i in shown], [[row[i] for i in shown] for row in rows], right=columns[1:])


def _of_answers(measures: FamilyMeasures) -> tuple[str, ...]:
    return _percent(measures.flip_rate), _mean(measures.consistency), _mean(measures.entropy), _value(measures.posix)


def _of_scores(measures: FamilyMeasures) -> tuple[str, ...]:
    spread, changed = measures.spread, _percent(measures.flip_rate)
    if spread is None or not measures.variants:
        return ("", "", "", "", "", "", changed)
    scores, chance = map(two, (spread.worst, spread.best, spread.value)), spread.by_chance
    return (*scores, within(spread), two(chance.median), p_cell(chance.p), changed)


def _measures(overall: FamilyMeasures) -> str:
    """Return the measures that have no column of their own; docs/sensitivity.md explains them."""
    spread, drop = overall.spread, overall.performance_drop
    assert spread is not None  # only without right answers
    by_chance = spread.by_chance
    said = {
        "mean": two(spread.mean),
        "standard deviation": two(spread.deviation),
        "worst of each row": two(spread.worst_of_each.mean),
        "consistency": _mean(overall.consistency),
        "PromptSensiScore": _mean(overall.prompt_sensi_score),
        "performance drop": "" if drop is None else signed(drop.value),
        "entropy": _mean(overall.entropy),
        "class consistency": _value(overall.class_consistency),
        "POSIX": _value(overall.posix),
        "Cochran's Q": f"{by_chance.q:.1f} ({p_text(by_chance.p_of_q, 3)})",
    }
    return ", ".join(f"{name} {value}" for name, value in said.items() if value)


def _word_map(found: Sensitivity, model: ModelSensitivity) -> RenderableType:
    """Return the prompt with what matters in it marked: reversed and bold by how much."""
    text, instruction, end = Text(), found.variants[0].prompt.instruction, 0
    for word in model.words:
        start, stop = word.span
        share = word.flips.mean if word.flips else 0.0
        style = "bold reverse" if share >= _STRONG else "underline" if share >= _WEAK else ""
        text.append(printable(instruction[end:start]))
        text.append(printable(instruction[start:stop]), style=style)
        text.append(f"({percent_text(share)})" if share >= _WEAK else "", style="dim")
        end = stop
    text.append(printable(instruction[end:]))
    return text


def _words(model: ModelSensitivity) -> RenderableType:
    columns = ("without", "changed", "log-probability", "95 % interval", "score")
    by_weight = sorted(model.words, key=lambda each: -(each.flips.mean if each.flips else 0.0))
    rows = [
        (
            cut(each.text, _CHANGE),
            _percent(each.flips),
            "" if each.nats is None else f"{each.nats.value:+.2f} nats",
            within(each.nats, sign="+"),
            signed(each.difference.difference.mean),
        )
        for each in by_weight[:_MOST_WORDS]
    ]
    return table(columns, rows, right=columns[1:])


def _scorers(model: ModelSensitivity) -> RenderableType:
    columns = ("scorer", "n", "rows", "mean", "spread", "chance", "p", "unreadable", "agreement")
    rows = []
    for each in model.scorers:
        spread = each.families[0].spread
        if spread is None:
            continue
        unread = sum(variant.unreadable for variant in each.variants) / (len(each.variants) * each.rows)
        counts = (f"{each.families[0].variants}", f"{each.rows}")
        scores = map(two, (spread.mean, spread.value, spread.by_chance.median))
        agreement = "" if each.agreement is None else f"{each.agreement:+.2f}"
        p = p_cell(spread.by_chance.p)
        rows.append((each.scorer, *counts, *scores, p, f"{percent_text(unread)} %", agreement))
    return table(columns, rows, right=columns[1:])


def _extremes(found: Sensitivity, model: ModelSensitivity) -> Iterator[RenderableType]:
    overall, scores = model.overall, {each.variant: each.score for each in model.own.variants}
    for name, place in (("Worst", overall.worst), ("Best", overall.best)):
        text, score = found.variants[place], scores[place]
        if score is None:
            continue
        what = f"{name}, {two(score.mean)}: {text.family}, {text.change}"
        yield Text(printable(f"\n{what}"), style="bold")
        yield Text(printable(cut(text.shown, 600)), style="dim")


def _models(found: Sensitivity) -> Iterator[RenderableType]:
    of_scores = () if found.unlabelled else ("as it is", "mean", "worst", "best", "spread", "chance")
    columns = ("model", "levels", *of_scores, "changed")
    rows = []
    for model in found.models:
        overall, original = model.overall, model.own.variants[0].score
        spread, cells = overall.spread, [""] * len(of_scores)
        if spread is not None and original is not None and overall.variants:
            by_chance = spread.by_chance.median
            cells = [*map(two, (original.mean, spread.mean, spread.worst, spread.best, spread.value, by_chance))]
        rows.append((model.model, model.quantisation, *cells, _percent(overall.flip_rate)))
    yield Text("")
    yield table(columns, rows, right=columns[2:], wide=("model",))
    yield from agreement_lines(found.rank_agreement, "wording")


def agreement_lines(found: Sequence[RankAgreement], what: str, whose: str = "models") -> Iterator[RenderableType]:
    """Yield a line with the rank correlations of each pair of models, or whatever else ranks, where they are known."""
    taus = [f"{each.first} and {each.second}: {each.tau:+.2f}" for each in found if each.tau is not None]
    if taus:
        yield Text(printable(f"\nDo {whose} agree on which {what} is better? Kendall's tau: " + "; ".join(taus)))


def variance_table(variance: VarianceShares) -> RenderableType:
    """Return where scores come from, a line a source."""
    columns = ("share of the variance of scores", "%", "95 % interval")
    rows = []
    for name, source in _SOURCES.items():
        share = getattr(variance, name)
        if share is not None:
            known = share.low is not None and share.high is not None
            within = f"{percent_text(share.low)} to {percent_text(share.high)}" if known else ""
            rows.append((source, percent_text(share.value), within))
    return table(columns, rows, right=columns[1:])


def _notes(found: Sensitivity) -> Iterator[str]:
    if found.smallest_difference is None and not found.unlabelled:
        yield f"{pluralize(len(found.rows), 'row')} can show no difference between two prompts: measure more"
    if found.smallest_difference is not None:
        points = f"{100 * found.smallest_difference:.0f}"
        yield f"two prompts must differ by about {points} points for {len(found.rows)} rows to show it reliably"
    for model in found.models:
        if model.noise is not None:
            band, changed = score_text(model.noise.band, 3), percent_text(model.noise.changed)
            again = f"the same prompt in other batches: scores within {band}, {changed} % of the answers change"
            again += " (with --exact, where a model has it, none do)" if model.noise.changed else ""
            yield f"{model.model}: {again}" if len(found.models) > 1 else again
        if model.too_long:
            left_out = pluralize(len(model.too_long), "variant")
            yield f"{model.model}: {left_out} did not fit its context, or it takes no chats"
    yield answers_note(model.spend for model in found.models)


def _percent(interval: Interval | None) -> str:
    return "" if interval is None else f"{percent_text(interval.mean)} %"


def _mean(interval: Interval | None) -> str:
    return "" if interval is None else two(interval.mean)


def _value(estimate: Estimate | None) -> str:
    return "" if estimate is None else two(estimate.value)
