"""What a battery found, in a sentence or two that need no manual. Level 8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from localprompt.battery.results import (
    FamilyMeasures,
    ModelSensitivity,
    RankAgreement,
    ScorerMeasures,
    Sensitivity,
    WordEffect,
)
from localprompt.interface.rounding import percent_text, score_text

_ALPHA = 0.05
_FAVOURED = 0.15
"""Share of the rows by which an answer is given more often by a variant than by the original, or than is right."""
_WORD = 40
"""Characters of a piece of the prompt."""


def verdict(found: Sensitivity) -> str:
    """Return the verdict: how far wording moves the models, what matters most, and what reduces it."""
    models = found.models
    if found.unlabelled:
        return " ".join(_unlabelled(model, many=len(models) > 1) for model in models)
    if len(models) == 1:
        return " ".join(_of_one(found, models[0]))
    return " ".join(_of_many(found))


def _of_one(found: Sensitivity, model: ModelSensitivity) -> Iterator[str]:
    yield _moved(model.overall, "The wording moves the score")
    yield from _word(model)
    yield from _scorers(model)
    yield from _favourite(model, found)


def _of_many(found: Sensitivity) -> Iterator[str]:
    by_spread = sorted(found.models, key=lambda model: -_spread(model.overall))
    most, least = by_spread[0], by_spread[-1]
    yield _moved(most.overall, f"The wording moves {most.model} most: its score")
    yield _moved(least.overall, f"It moves {least.model} least: its score")
    yield from agreement(found.rank_agreement, "wording")


def agreement(found: Sequence[RankAgreement], what: str) -> Iterator[str]:
    """Yield whether models agree on which of several things of a kind is better, where it is known."""
    taus = [each.tau for each in found if each.tau is not None]
    if taus:
        agree = "agree" if min(taus) > 0.5 else "do not agree" if max(taus) < 0.3 else "agree in part"
        between = f"tau {min(taus):.2f} to {max(taus):.2f}" if len(taus) > 1 else f"tau {taus[0]:.2f}"
        yield f"The models {agree} on which {what} is better ({between})."


def _moved(overall: FamilyMeasures, what: str) -> str:
    moved = overall.spread
    assert moved is not None  # only without right answers
    verb = "by" if what.endswith("moves the score") else "moves by"
    if moved.value == 0:
        return f"{what} {verb} nothing: every variant has {score_text(moved.mean, 2)}."
    ends = f"{score_text(moved.value, 2)} (from {score_text(moved.worst, 2)} to {score_text(moved.best, 2)})"
    chance = score_text(moved.by_chance.median, 2)
    if moved.by_chance.p < _ALPHA:
        return f"{what} {verb} {ends}; chance alone gives {chance}."
    return f"{what} {verb} {ends}, which is no more than chance: equal prompts give {chance}."


def _word(model: ModelSensitivity) -> Iterator[str]:
    if not model.words:
        return
    most = max(model.words, key=_weight)
    text = most.text if len(most.text) <= _WORD else most.text[: _WORD - 1] + "…"
    if most.flips is None or most.flips.mean == 0:
        if _weight(most) == (0.0, 0.0):
            yield "No word of the prompt matters by itself."
        return
    without = f"without it {percent_text(most.flips.mean)} % of the answers change"
    yield f"'{text}' matters most: {without}."


def _weight(word: WordEffect) -> tuple[float, float]:
    return (word.flips.mean if word.flips else 0.0, abs(word.nats.value) if word.nats else 0.0)


def _scorers(model: ModelSensitivity) -> Iterator[str]:
    own = _spread(model.overall)
    if own <= 0 or (model.overall.spread and model.overall.spread.by_chance.p >= _ALPHA):
        return
    for measures in model.scorers[1:]:
        if measures.scorer not in ("calibrated", "free"):
            continue
        name = {"calibrated": "Calibration", "free": "Letting the model write freely"}[measures.scorer]
        share = 1 - _spread(measures.families[0]) / _same_variants(model.own, measures)
        if share >= 0.1:
            yield f"{name} removes {percent_text(share)} % of it."
        elif share <= -0.1:
            yield f"{name} does not reduce it."


def _same_variants(own: ScorerMeasures, other: ScorerMeasures) -> float:
    """Return the spread by the task's own scorer over the variants that another scorer measured."""
    places = {each.variant for each in other.variants}
    means = [each.score.mean for each in own.variants if each.variant in places and each.score is not None]
    return max(max(means) - min(means), 1e-9)


def _favourite(model: ModelSensitivity, found: Sensitivity) -> Iterator[str]:
    original = model.own.variants[0]
    most = max(model.own.variants, key=lambda each: each.favourite_share)
    if most.favourite is None:
        return
    text = most.favourite[:_WORD]
    if original.favourite == most.favourite and most.favourite_share - original.favourite_share < _FAVOURED:
        if original.favourite_share > 0.5 + _FAVOURED:
            yield f"The prompt gets the answer '{text}' for {percent_text(original.favourite_share)} % of the rows."
        return
    change = found.variants[most.variant].change
    where = "as it is" if most.variant == 0 else f"with the variant '{change}'"
    yield f"It favours an answer: {where}, '{text}' for {percent_text(most.favourite_share)} % of the rows."


def _unlabelled(model: ModelSensitivity, *, many: bool) -> str:
    overall = model.overall
    who = f"{model.model}: the" if many else "The"
    if overall.flip_rate is None:
        return ""
    flips, same = percent_text(overall.flip_rate.mean), overall.consistency
    alike = f"; two wordings agree on {percent_text(same.mean)} % of the rows" if same else ""
    return f"{who} wording changes {flips} % of the answers{alike}."


def _spread(measures: FamilyMeasures) -> float:
    return measures.spread.value if measures.spread else 0.0
