"""What a battery found of prompt and models, as records and as JSON. Level 8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from localprompt.errors import StoreError
from localprompt.run.measuring import ModelIdentity
from localprompt.stats.equality import FromOriginal
from localprompt.stats.intervals import Interval
from localprompt.stats.resampling import Estimate
from localprompt.stats.sensitivity import Spread
from localprompt.stats.variance import VarianceShares
from localprompt.store.plain import PlainRecord
from localprompt.types import Prompt, Spend

ALL = "all"
"""Name of the measures over every family."""
SAMPLING = "sampling"
"""The family that changes no wording: it is no part of what all families together do."""


@dataclass(frozen=True, slots=True)
class VariantText:
    """A variant as people see it."""

    family: str
    change: str
    prompt: Prompt
    shown: str
    """What the model reads, with the names of inputs in the place of a row's: `<input>`."""
    span: tuple[int, ...] | None = None
    """Where the original's instruction was changed, first character and the one behind the last."""


@dataclass(frozen=True, slots=True)
class VariantMeasures:
    """One variant by one scorer, beside the original on the same rows."""

    variant: int
    """Its place among the variants; 0 is the original."""
    score: Interval | None
    """None without right answers."""
    difference: FromOriginal | None
    """Variant minus original; None for the original, and without right answers."""
    flips: Interval | None
    """Share of rows with another answer; None for the original, and where there are no answers."""
    nats: float | None
    """Mean change of the log-probability of the right answer; None where it is not known."""
    favourite: str | None
    """Answer given most often; None without answers."""
    favourite_share: float
    """Of the rows."""
    favourite_change: float
    """That share minus the share to which the original gives the same answer."""
    favourite_wanted: float | None
    """Share of rows of which it is a right answer; None where that is not known."""
    label_shift: float
    """Total variation distance of its distribution of answers to the original's."""
    unreadable: int
    """Completions that hold no answer; they score 0."""
    failed: int
    """Rows that the model could not be asked about; they score 0."""


@dataclass(frozen=True, slots=True)
class FamilyMeasures:
    """The original and the variants of one family, or of all, by one scorer; docs/sensitivity.md has the measures."""

    family: str
    variants: int
    """Without the original."""
    spread: Spread | None
    """None without right answers."""
    worst: int
    """Place of the variant with the lowest score; 0 is the original."""
    best: int
    flip_rate: Interval | None
    """Mean over variants; None where there are no answers."""
    consistency: Interval | None
    prompt_sensi_score: Interval | None
    performance_drop: Estimate | None
    entropy: Interval | None
    """Of the labels' probabilities, or of the written answers; None without answers, or a single written one."""
    class_consistency: Estimate | None
    posix: Estimate | None


@dataclass(frozen=True, slots=True)
class ScorerMeasures:
    """All variants by one scorer."""

    scorer: str
    what: str
    rows: int
    variants: tuple[VariantMeasures, ...]
    """Those that were measured, the original first."""
    families: tuple[FamilyMeasures, ...]
    """That over all first."""
    agreement: float | None
    """Kendall's tau of the variants' scores with the task's own scorer's; None for that one, and without ranks."""
    scores: tuple[tuple[float, ...], ...]
    """Variants x rows."""
    answers: tuple[tuple[int, ...], ...]
    """Places in the model's `answers`; -1 where there is none. Empty where there are no answers."""


@dataclass(frozen=True, slots=True)
class WordEffect:
    """What leaving a piece of the prompt out does, by the task's own scorer."""

    text: str
    span: tuple[int, ...]
    variant: int
    nats: Estimate | None
    """Change of the log-probability of the right answer, mean over rows; None where it is not known."""
    flips: Interval | None
    """Share of rows whose answer changes."""
    difference: FromOriginal
    """Score without the piece minus score with it."""


@dataclass(frozen=True, slots=True)
class Noise:
    """How far the original moves by itself, measured again in other batches."""

    repeats: int
    band: float
    """Within which the scores of equal prompts differ 95 times in 100."""
    changed: float
    """Share of answers that changed."""


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """Whether two models, or two scorers of one, agree on which wording is better."""

    first: str
    second: str
    tau: float | None
    """Kendall's tau of the variants' scores; None where one of them has no ranks."""


@dataclass(frozen=True, slots=True)
class ModelSensitivity(ModelIdentity):
    """One model."""

    scorers: tuple[ScorerMeasures, ...]
    """The task's own first."""
    words: tuple[WordEffect, ...]
    """In the order of the prompt."""
    noise: Noise | None
    """None without right answers."""
    answers: tuple[str, ...]
    """The different ones, numbered by their places."""
    too_long: tuple[int, ...]
    """Variants that do not fit the context with some row, or are chats and the model scores none."""
    spend: Spend
    scorer_agreement: tuple[RankAgreement, ...] = ()
    """Of each pair of scorers, on the variants and rows that both measured; empty without right answers."""

    @property
    def own(self) -> ScorerMeasures:
        """By the task's own scorer."""
        return self.scorers[0]

    @property
    def overall(self) -> FamilyMeasures:
        """Over all families, by the task's own scorer."""
        return self.own.families[0]


@dataclass(frozen=True, slots=True)
class Sensitivity(PlainRecord):
    """How far the wording of a prompt moves the answers of models."""

    id: str = field(metadata={"key": "sensitivity"})
    """Of the study in the store, 12 hexadecimal digits; empty where nothing is kept."""
    task: str
    split: str
    size: str
    seed: int
    unlabelled: bool
    rows: tuple[str, ...]
    """Ids of the rows, in the order of all lists."""
    variants: tuple[VariantText, ...]
    """The original first."""
    models: tuple[ModelSensitivity, ...]
    """In the order in which they were given."""
    variance: VarianceShares | None
    """Where the scores come from: wording, model, example; None without right answers and with a single variant."""
    rank_agreement: tuple[RankAgreement, ...]
    """Of each pair of models."""
    smallest_difference: float | None
    """Between two prompts that so many rows reliably show; None where they can show none."""
    notes: tuple[str, ...]
    verdict: str
    """In a sentence or two."""
    copies: tuple[int, ...] = ()
    """Of each row a number, which copies of a row share; empty in results of before."""

    def worded(self, model: ModelSensitivity) -> dict[int, int]:
        """Return the original and the variants that word it otherwise, to their places in a model's own scores."""
        own = enumerate(model.own.variants)
        return {each.variant: i for i, each in own if self.variants[each.variant].family != SAMPLING}

    def to_csv(self) -> Iterator[dict[str, object]]:
        """Yield a row for each score by the task's own scorer, in the long form that `evalstats` reads."""
        for model in self.models:
            for variant, scores in zip(model.own.variants, model.own.scores, strict=True):
                text = self.variants[variant.variant]
                name = f"{variant.variant} {text.family}: {text.change}"
                for item, score in zip(self.rows, scores, strict=True):
                    yield dict(zip(CSV_COLUMNS, (name, item, score, model.model, 0, text.family), strict=True))


CSV_COLUMNS = ("prompt", "item", "score", "model", "run", "family")


def check_whole(found: Sensitivity) -> None:
    """Check that the parts of a result fit together: a store may come from anywhere.

    Raises:
        StoreError: if it does not.
    """
    n = len(found.rows)
    is_whole = bool(n and found.variants and found.models) and len(found.copies) in (0, n)
    if not is_whole or not all(_is_whole(found, model) for model in found.models):
        raise StoreError("the result is damaged (its parts do not fit together)", "measure again")


def _is_whole(found: Sensitivity, model: ModelSensitivity) -> bool:
    if not model.scorers or not all(each.variants and each.rows and each.families for each in model.scorers):
        return False
    own = model.own
    is_scored = (
        len(own.scores) == len(own.variants)
        and all(len(scores) == len(found.rows) for scores in own.scores)
        and all(0 <= min(scores) <= max(scores) <= 1 for scores in own.scores)
        and own.variants[0].score is not None
        and own.families[0].spread is not None
    )
    return (is_scored or found.unlabelled) and all(0 <= each.variant < len(found.variants) for each in own.variants)
