"""What a battery found, in a sentence or two that need no manual. Level 8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from localprompt.battery.results import ModelSensitivity, RankAgreement, ScorerMeasures, Sensitivity, WordEffect
from localprompt.interface.rounding import percent_text, score_text
from localprompt.search.observer import pluralize
from localprompt.stats.equality import p_of_spreads
from localprompt.stats.noise import p_of_changes
from localprompt.stats.sensitivity import Spread

_ALPHA = 0.05
_FAVOURED = 0.15
"""Share of the rows by which an answer is given more often by a variant than by the original, or than is right."""
_WORD = 40
"""Characters of a piece of the prompt."""
_NAMES = {"calibrated": "Calibration", "batch": "Batch calibration", "free": "Letting the model write freely"}
_WORSE, _UNREAD = 0.05, 0.1
"""Score that another scorer may lose, and share of answers it may not read, for its spread to be compared."""
_WORTH = 0.1
"""Share of a spread that is worth a sentence."""


def verdict(found: Sensitivity) -> str:
    """Return the verdict: how far wording moves the models, what matters most, and what reduces it."""
    return " ".join(_sentences(found))


def _sentences(found: Sensitivity) -> Iterator[str]:
    many = len(found.models) > 1
    worded = [model for model in found.models if model.overall.variants]
    if found.unlabelled:
        yield from (_unlabelled(model, many=many) for model in worded)
    elif worded:
        yield from _of_many(found, worded) if many else _of_one(found, worded[0])
    for model in found.models:
        which = f" with {model.model}" if many else ""
        if not model.overall.variants:
            yield f"No other wording was measured{which}."
        if failed := sum(variant.failed for measures in model.scorers for variant in measures.variants):
            computed = f"{pluralize(failed, 'answer')} could not be computed{which}"
            yield f"{computed}: what failed scores 0 and is an answer of its own."


def _of_one(found: Sensitivity, model: ModelSensitivity) -> Iterator[str]:
    yield _moved(model, "The wording moves the score")
    yield from _word(model, len(set(found.copies) or found.rows))
    yield from _scorers(model, found.copies)
    yield from _favourite(model, found)


def _of_many(found: Sensitivity, models: Sequence[ModelSensitivity]) -> Iterator[str]:
    moved = sorted(filter(is_moved, models), key=lambda model: -_spread(model).value)
    names = {model.model for model in moved}
    if moved:
        yield _moved(moved[0], f"The wording moves {moved[0].model} most: its score")
    if moved and _spread(moved[-1]).value < _spread(moved[0]).value:
        yield _moved(moved[-1], f"Of those that it moves, {moved[-1].model} moves least: its score")
    if others := [model.model for model in models if model.model not in names]:
        yield f"{'It' if moved else 'The wording'} moves the score of {' or '.join(others)} by no more than chance."
    yield from agreement(found.rank_agreement, "wording", names)


def agreement(found: Sequence[RankAgreement], what: str, moved: set[str]) -> Iterator[str]:
    """Yield whether models agree on which of several things of a kind is better: those that these things move."""
    taus = [each.tau for each in found if each.tau is not None and {each.first, each.second} <= moved]
    if taus:
        agree = "agree" if min(taus) > 0.5 else "do not agree" if max(taus) < 0.3 else "agree in part"
        between = f"tau {min(taus):.2f} to {max(taus):.2f}" if len(taus) > 1 else f"tau {taus[0]:.2f}"
        yield f"The models {agree} on which {what} is better ({between})."


def _moved(model: ModelSensitivity, what: str) -> str:
    moved = _spread(model)
    verb = "by" if what.endswith("moves the score") else "moves by"
    if moved.value == 0:
        return f"{what} {verb} nothing: every variant has {score_text(moved.mean, 2)}."
    ends = f"{score_text(moved.value, 2)} (from {score_text(moved.worst, 2)} to {score_text(moved.best, 2)})"
    chance = score_text(moved.by_chance.median, 2)
    if is_moved(model):
        return f"{what} {verb} {ends}; chance alone gives {chance}."
    most = score_text(moved.by_chance.quantile, 2)
    return f"{what} {verb} {ends}, which is no more than chance: equal prompts give up to {most}."


def _word(model: ModelSensitivity, n_different: int) -> Iterator[str]:
    if not model.words or (noise := model.noise) is None:
        return
    most = max(model.words, key=_weight)
    text = most.text if len(most.text) <= _WORD else most.text[: _WORD - 1] + "…"
    if most.flips is None or most.flips.mean == 0:
        if _weight(most) == (0.0, 0.0):
            yield "No word of the prompt matters by itself."
        return
    if p_of_changes(most.flips.mean, n_different, noise.changed, noise.repeats) * len(model.words) < _ALPHA:
        yield f"'{text}' matters most: without it {percent_text(most.flips.mean)} % of the answers change."
    else:
        yield f"No word is shown to change more answers than the {percent_text(noise.changed)} % that other batches do."


def _weight(word: WordEffect) -> tuple[float, float]:
    return (word.flips.mean if word.flips else 0.0, abs(word.nats.value) if word.nats else 0.0)


def _scorers(model: ModelSensitivity, copies: Sequence[int]) -> Iterator[str]:
    """Yield how much of the spread another scorer removes, on the rows and variants that it measured.

    Nothing is said of what chance alone could do, nor where it takes answers less well: what scores nothing does not
    move.
    """
    if not is_moved(model):
        return
    for measures in model.scorers[1:]:
        name, rows = _NAMES.get(measures.scorer), measures.rows
        unread = sum(each.unreadable + each.failed for each in measures.variants)
        theirs, ours = _scores(measures, rows), _scores(model.own, rows)
        shared = [place for place in theirs if place in ours]
        own, other = ([scores[place] for place in shared] for scores in (ours, theirs))
        before, after = (list(map(fmean, scores)) for scores in (own, other))
        reach = max(before) - min(before)
        lost = fmean(before) - fmean(after)
        if name is None or reach == 0 or lost > _WORSE or unread > _UNREAD * len(measures.variants) * rows:
            continue
        share = 1 - (max(after) - min(after)) / reach
        p = p_of_spreads(own, other, copies[:rows] or None)
        if abs(share) >= _WORTH and p * len(model.scorers[1:]) < _ALPHA:
            yield f"{name} removes {percent_text(share)} % of it." if share > 0 else f"{name} does not reduce it."


def _scores(measures: ScorerMeasures, rows: int) -> dict[int, tuple[float, ...]]:
    """Return the scores of each variant on the first rows."""
    return {each.variant: scores[:rows] for each, scores in zip(measures.variants, measures.scores, strict=True)}


def _favourite(model: ModelSensitivity, found: Sensitivity) -> Iterator[str]:
    original, *others = (model.own.variants[i] for i in found.worded(model).values())
    if original.favourite is not None and original.favourite_wanted is not None:
        share, wanted = original.favourite_share, original.favourite_wanted
        if share - wanted >= _FAVOURED:
            given = f"answers '{original.favourite[:_WORD]}' for {percent_text(share)} % of the rows"
            yield f"The model {given}, though it is right for {percent_text(wanted)} %."
            return
    most = max(others, key=lambda each: each.favourite_change, default=original)
    if most.favourite is not None and most.favourite_change >= _FAVOURED:
        before = percent_text(max(0.0, most.favourite_share - most.favourite_change))
        given = f"'{most.favourite[:_WORD]}' for {percent_text(most.favourite_share)} % of the rows"
        change = found.variants[most.variant].change
        yield f'With the variant "{change}" the model answers {given}, as it is for {before} %.'


def _unlabelled(model: ModelSensitivity, *, many: bool) -> str:
    overall = model.overall
    who = f"{model.model}: the" if many else "The"
    if overall.flip_rate is None:
        return ""
    flips, same = percent_text(overall.flip_rate.mean), overall.consistency
    alike = f"; two wordings agree on {percent_text(same.mean)} % of the rows" if same else ""
    return f"{who} wording changes {flips} % of the answers{alike}."


def _spread(model: ModelSensitivity) -> Spread:
    assert model.overall.spread is not None  # only without right answers
    return model.overall.spread


def is_moved(model: ModelSensitivity) -> bool:
    """Return whether the wording moves the score of a model, which has right answers, by more than chance does."""
    return _spread(model).by_chance.p < _ALPHA
