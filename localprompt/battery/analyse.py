"""Answers become measures. Level 8. The measures themselves, with formulas and sources, are in stats/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from statistics import fmean

import numpy as np

from localprompt.battery.ask import Answered, ByScorer, Replies
from localprompt.battery.results import (
    ALL,
    SAMPLING,
    FamilyMeasures,
    ModelSensitivity,
    Noise,
    RankAgreement,
    ScorerMeasures,
    Sensitivity,
    VariantMeasures,
    WordEffect,
)
from localprompt.battery.scorers import Measured
from localprompt.run.measuring import ModelIdentity
from localprompt.stats.equality import differences_from_original
from localprompt.stats.intervals import Interval, interval
from localprompt.stats.noise import noise_band
from localprompt.stats.ranks import kendall_tau
from localprompt.stats.resampling import Estimate, mean_of
from localprompt.stats.sensitivity import (
    LabelShift,
    answer_entropy,
    class_consistency,
    consistency_rate,
    flip_rates,
    label_shifts,
    performance_drop,
    posix,
    prompt_sensi_score,
    sensitivity_entropy,
    spread,
)
from localprompt.tasks.copies import numbered
from localprompt.types import Spend
from localprompt.variants.variant import Variant

DELETION = "deletion"
"""The family that makes the word map."""
_AROUND = " \"'.,;:!?"
"""Signs around a written answer that do not make it another one; before it only the first three, for there is .5."""


def analyse(
    who: ModelIdentity, variants: Sequence[Variant], answered: Answered, spend: Spend, *, unlabelled: bool
) -> ModelSensitivity:
    """Return what one model's answers say.

    Args:
        who: answered.
        variants: all that there are, the original first.
        answered: to them.
        spend: what it took.
        unlabelled: no right answers are known, so there are no scores.
    """
    codes = _Codes(bool(variants[0].task.labels))
    own = answered.by_scorer[0]
    found = [_Scored(each, variants, codes, unlabelled=unlabelled).measures(own) for each in answered.by_scorer]
    if answered.replies is not None and answered.replies.rows:
        everything, *families = found[0].families
        found[0] = replace(
            found[0], families=(replace(everything, posix=_posix(answered.replies, variants)), *families)
        )
    nats = next((each for each in answered.by_scorer if each.measured[0].right), None)
    return ModelSensitivity(
        **asdict(who),
        scorers=tuple(found),
        words=() if unlabelled else tuple(_words(variants, found[0], nats)),
        noise=None if unlabelled else _noise(own.measured[0], answered.again, codes, numbered(variants[0].task.test)),
        answers=tuple(codes.texts),
        too_long=answered.too_long,
        spend=spend,
        scorer_agreement=() if unlabelled else _scorer_agreement(answered.by_scorer, variants),
    )


class _Codes:
    """Numbers for answers: equal answers have equal ones."""

    def __init__(self, is_closed: bool) -> None:
        self.texts: list[str] = []
        self._is_closed = is_closed
        self._numbers: dict[str, int] = {}

    def of(self, answer: str | None) -> int:
        """Return the number of an answer; -1 for none."""
        if answer is None:
            return -1
        # Written answers that differ in case or punctuation alone are one.
        written = " ".join(answer.casefold().split()).lstrip(_AROUND[:3]).rstrip(_AROUND)
        form = answer if self._is_closed else written or answer
        if form not in self._numbers:
            self._numbers[form] = len(self.texts)
            self.texts.append(answer)
        return self._numbers[form]


class _Scored:
    """The variants by one scorer, as tables."""

    def __init__(self, by: ByScorer, variants: Sequence[Variant], codes: _Codes, *, unlabelled: bool) -> None:
        self._by = by
        self._all = variants
        self._families = [variants[place].family for place in by.places]
        self._renames = [bool(variants[place].outputs) for place in by.places]
        self._rows = variants[0].task.test[: by.rows]
        self._labels = variants[0].task.labels
        self._copies = numbered(self._rows)
        self._scores = None if unlabelled else np.array([each.scores for each in by.measured])
        answers = [[codes.of(answer) for answer in each.answers] for each in by.measured]
        self._answers = [] if by.scorer.of_target else answers
        self._texts = codes.texts

    def measures(self, own: ByScorer) -> ScorerMeasures:
        """Return all measures; `own` is by the task's own scorer."""
        places = range(len(self._families))
        families = dict.fromkeys(self._families[1:])
        of_families = [[0, *(i for i in places[1:] if self._families[i] == name)] for name in families]
        wordings = [i for i in places if self._families[i] != SAMPLING]
        groups = [(ALL, wordings), *zip(families, of_families, strict=True)]
        return ScorerMeasures(
            scorer=self._by.scorer.name,
            what=self._by.scorer.what,
            rows=self._by.rows,
            variants=tuple(self._variants()),
            families=tuple(self._family(name, places) for name, places in groups),
            agreement=None if self._by is own or self._scores is None else _scorers_tau(own, self._by, self._all),
            scores=() if self._scores is None else tuple(map(tuple, self._scores.tolist())),
            answers=tuple(map(tuple, self._answers)),
        )

    def _variants(self) -> list[VariantMeasures]:
        scores, n_others = self._scores, len(self._by.measured) - 1
        differences = [None] * n_others if scores is None else differences_from_original(scores, self._copies)
        flips = flip_rates(self._answers, self._copies) if self._answers else [None] * n_others
        shifts = label_shifts(self._answers) if self._answers else [LabelShift(0.0, None, 0.0, 0.0)] * (n_others + 1)
        rows = zip(self._by.measured, (None, *differences), (None, *flips), shifts, strict=True)
        found = []
        for i, (measured, difference, flipped, shift) in enumerate(rows):
            favourite = shift.favourite
            found.append(
                VariantMeasures(
                    variant=self._by.places[i],
                    score=None if scores is None else interval(scores[i].tolist(), self._copies),
                    difference=difference,
                    flips=flipped,
                    nats=self._nats(i),
                    favourite=None if favourite is None else self._texts[favourite],
                    favourite_share=shift.share,
                    favourite_change=shift.change,
                    favourite_wanted=None if favourite is None or scores is None else self._wanted(favourite),
                    label_shift=shift.distance,
                    unreadable=measured.unreadable if self._answers else 0,
                    failed=measured.failed,
                )
            )
        return found

    def _nats(self, i: int) -> float | None:
        """Return the mean change of the log-probability of the right answer; None for the original."""
        original, measured = self._by.measured[0], self._by.measured[i]
        change = _nats(original, measured, self._copies) if i and self._scores is not None else None
        return None if change is None else change.value

    def _wanted(self, code: int) -> float | None:
        """Return the share of rows of which an answer is a right one; None where answers are written."""
        return fmean(self._texts[code] in row.targets for row in self._rows) if self._labels else None

    def _family(self, name: str, places: Sequence[int]) -> FamilyMeasures:
        copies = self._copies
        scores = None if self._scores is None else self._scores[list(places)]
        answers = np.array([self._answers[i] for i in places]) if self._answers else None
        means = [0.0] * len(places) if scores is None else scores.mean(axis=1).tolist()
        flips = None
        if answers is not None and len(places) > 1:
            flips = interval((answers[1:] != answers[0]).mean(axis=0).tolist(), copies)
        entropy, of_classes, of_replies = self._of_distributions(places)
        if answers is not None and self._by.scorer.writes:
            entropy = answer_entropy(answers, copies)
        return FamilyMeasures(
            family=name,
            variants=len(places) - 1,
            spread=None if scores is None else spread(scores, copies),
            worst=self._by.places[places[means.index(min(means))]],
            best=self._by.places[places[means.index(max(means))]],
            flip_rate=flips,
            consistency=None if answers is None else consistency_rate(answers, copies),
            prompt_sensi_score=None if scores is None else prompt_sensi_score(scores, copies),
            performance_drop=None if scores is None else performance_drop(scores, copies),
            entropy=entropy,
            class_consistency=of_classes,
            posix=of_replies,
        )

    def _of_distributions(self, places: Sequence[int]) -> tuple[Interval | None, Estimate | None, Estimate | None]:
        """Return entropy, consistency of classes and POSIX; None where the labels' likelihoods are not known.

        Rows that the model could not be asked about with some variant are left out.
        """
        if not self._by.measured[0].distributions:
            return None, None, None
        table = np.array([self._by.measured[i].distributions for i in places])
        asked = np.flatnonzero(np.isfinite(table).all(axis=(0, 2)))
        if not asked.size:
            return None, None, None
        table, copies, consistency = table[:, asked], [self._copies[i] for i in asked], None
        if self._scores is not None:
            wanted = [self._rows[i].targets for i in asked]
            right = [next((self._labels.index(t) for t in each if t in self._labels), -1) for each in wanted]
            consistency = class_consistency(table, right, copies)
        return sensitivity_entropy(table, copies), consistency, self._posix(places)

    def _posix(self, places: Sequence[int]) -> Estimate | None:
        """Return POSIX with the chosen label as the reply, whose log-probability every variant has given.

        Variants with other label words are left out: the same reply is another text for them. So are rows that the
        model could not be asked about.
        """
        places = [i for i in places if not self._renames[i]]
        codes = np.array([self._answers[i] for i in places])
        asked = np.flatnonzero((codes >= 0).all(axis=0))
        if not asked.size:
            return None
        per_token = np.array([self._by.measured[i].label_logprobs for i in places])[:, asked]  # K x N x C
        numbers = np.array([self._labels.index(text) if text in self._labels else 0 for text in self._texts])
        replies, rows = numbers[codes[:, asked]], np.arange(asked.size)
        of_replies = np.array([[each[rows, reply] for reply in replies] for each in per_token])
        copies = [self._copies[i] for i in asked]
        return posix(np.minimum(of_replies, 0.0), np.ones(replies.shape), copies)


def rank_agreement(found: Sensitivity) -> tuple[RankAgreement, ...]:
    """Return whether each pair of models agrees on which wording is better."""
    means = [{place: fmean(model.own.scores[i]) for place, i in found.worded(model).items()} for model in found.models]
    return tuple(
        RankAgreement(first.model, second.model, _tau(*both))
        for (first, second), both in zip(combinations(found.models, 2), combinations(means, 2), strict=True)
    )


def _scorer_agreement(scorers: Sequence[ByScorer], variants: Sequence[Variant]) -> tuple[RankAgreement, ...]:
    return tuple(
        RankAgreement(first.scorer.name, second.scorer.name, _scorers_tau(first, second, variants))
        for first, second in combinations(scorers, 2)
    )


def _scorers_tau(first: ByScorer, second: ByScorer, variants: Sequence[Variant]) -> float | None:
    """Return the rank correlation of two scorers on the wordings and rows that both measured."""
    n = min(first.rows, second.rows)
    means = [
        {
            place: fmean(each.scores[:n])
            for place, each in zip(by.places, by.measured, strict=True)
            if variants[place].family != SAMPLING
        }
        for by in (first, second)
    ]
    return _tau(*means)


def _tau(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    shared = [place for place in first if place in second]
    return kendall_tau([first[place] for place in shared], [second[place] for place in shared]) if shared else None


def _words(variants: Sequence[Variant], own: ScorerMeasures, nats: ByScorer | None) -> list[WordEffect]:
    """Return what each deletion does, in the order of the prompt."""
    original, instruction = variants[0], variants[0].prompt.instruction
    right = dict(zip(nats.places, nats.measured, strict=True)) if nats is not None else {}
    copies = numbered(original.task.test)
    found = []
    for measures in own.variants:
        variant = variants[measures.variant]
        if variant.family != DELETION or variant.span is None or measures.difference is None:
            continue
        start, end = variant.span
        found.append(
            WordEffect(
                text=instruction[start:end],
                span=variant.span,
                variant=measures.variant,
                nats=_nats(right[0], right[measures.variant], copies) if measures.variant in right else None,
                flips=measures.flips,
                difference=measures.difference,
            )
        )
    return sorted(found, key=lambda each: each.span)


def _nats(original: Measured, variant: Measured, copies: Sequence[int]) -> Estimate | None:
    """Return the change of the log-probability of the right answer, mean over the rows where both have it."""
    changes = np.subtract(variant.right, original.right)
    known = np.flatnonzero(np.isfinite(changes)).tolist()
    return mean_of(changes[known], [copies[i] for i in known]) if known else None


def _posix(replies: Replies, variants: Sequence[Variant]) -> Estimate | None:
    copies = numbered(variants[0].task.test)
    nats = np.minimum(np.array(replies.nats), 0.0)
    return posix(nats, np.ones(nats.shape[1:]), [copies[row] for row in replies.rows])


def _noise(original: Measured, again: Sequence[Measured], codes: _Codes, copies: Sequence[int]) -> Noise:
    every = [original, *again]
    answers = [[codes.of(answer) for answer in each.answers] for each in every]
    band = noise_band([each.scores for each in every], answers, copies)
    return Noise(len(again), band.half_width, band.changed)
