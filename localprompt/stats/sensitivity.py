"""How much the wording of a prompt moves scores, answers and probabilities. Level 2, on its own package alone.

Everywhere a row is a variant, the original first, and a column an example. `copies` has one number an example; those
with the same number are copies of each other and count as one in intervals. Answers are codes: the same code is the
same answer, -1 none that could be read, which counts as one more answer. Formulas: K variants, N examples, C labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from localprompt.stats.equality import EqualPrompts, equal_prompts
from localprompt.stats.intervals import ALPHA, Interval, Z, interval, paired_difference
from localprompt.stats.resampling import Estimate, Values, estimate, mean_of, measured, n_different, resampled_means

Codes = npt.NDArray[np.int64]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the mean scores of variants lie apart, and what else there is to say about these means."""

    value: float
    """Best minus worst."""
    low: float | None
    """95 % interval; None for a single example and its copies."""
    high: float | None
    mean: float
    """Over variants."""
    worst: float
    best: float
    deviation: float | None
    """Standard deviation of the means over variants, divisor K - 1; None for a single variant."""
    worst_of_each: Interval
    """Mean over examples of the worst score that any variant has on it."""
    by_chance: EqualPrompts


def spread(scores: npt.ArrayLike, copies: Sequence[int] | None = None) -> Spread:
    """Return max_k A_k - min_k A_k of the mean scores A_k of the variants (FormatSpread, arXiv:2310.11324).

    With it come mean, worst, best, deviation, the mean over examples of the worst score (arXiv:2406.10248), and what
    equal prompts would give (see `equal_prompts`).

    Among means that are nearly equal the largest is so by luck. So percentiles of resampled spreads would lie above the
    true one: for 12 equal prompts always. The interval holds it at least 95 times in 100 whatever it is. Its lower end
    is the spread minus the 97.5 % quantile of how far resampled means move apart (the range of their deviations, after
    Tukey), as for any pair chosen by looking. The upper end is that of the paired difference of the pair that may lie
    farthest apart: the pair that truly does was not chosen by looking. Where few rows tell a pair apart, drawing rows
    again moves it too little, or not at all; so the lower end is none above that of the paired difference either.

    Raises:
        ValueError: if there are no scores, one lies outside [0, 1], or `copies` has another length.
    """
    values = measured(scores)
    means = values.mean(axis=1)
    value, low, high = float(np.ptp(means)), None, None
    if n_different(values.shape[1], copies) > 1:
        moved = resampled_means(values, copies) - means
        covariance = np.atleast_2d(np.cov(moved, rowvar=False))
        own = np.diag(covariance)
        errors = np.sqrt(np.maximum(own[:, None] + own - 2 * covariance, 0))
        nearer, farther = np.unravel_index((means - means[:, None] + Z * errors).argmax(), errors.shape)
        high = max(value, paired_difference(values[nearer].tolist(), values[farther].tolist(), copies).high)
        chosen = paired_difference(values[means.argmin()].tolist(), values[means.argmax()].tolist(), copies)
        low = max(0.0, min(chosen.low, value - float(np.quantile(np.ptp(moved, axis=1), 1 - ALPHA / 2))))
    return Spread(
        value=value,
        low=low,
        high=high,
        mean=float(means.mean()),
        worst=float(means.min()),
        best=float(means.max()),
        deviation=float(means.std(ddof=1)) if len(means) > 1 else None,
        worst_of_each=interval(values.min(axis=0).tolist(), copies),
        by_chance=equal_prompts(values, copies),
    )


def flip_rates(answers: npt.ArrayLike, copies: Sequence[int] | None = None) -> tuple[Interval, ...]:
    """Return for each variant but the original the share of examples whose answer is not the original's.

    F_k = mean_i [y_ki != y_0i] (arXiv:2401.03729). The interval is Clopper and Pearson's, see `interval`.

    Raises:
        ValueError: if there are no answers, or `copies` has another length.
    """
    codes = _codes(answers)
    return tuple(interval((row != codes[0]).astype(np.float64).tolist(), copies) for row in codes[1:])


def consistency_rate(answers: npt.ArrayLike, copies: Sequence[int] | None = None) -> Interval | None:
    """Return the share of pairs of variants that give the same answer, mean over examples; None for a single variant.

    CR = mean_i sum_{k<l} [y_ki = y_li] / (K (K - 1) / 2) (SCORE, arXiv:2503.00137).

    Raises:
        ValueError: if there are no answers, or `copies` has another length.
    """
    codes = _codes(answers)
    return interval(agreement(codes).tolist(), copies) if len(codes) > 1 else None


def agreement(codes: Codes) -> Values:
    """Return for each example the share of pairs of rows, of at least two, with the same answer."""
    n = len(codes)
    same = np.sum([(codes == row).sum(axis=0) for row in codes], axis=0)
    shares: Values = (same - n) / (n * (n - 1))
    return shares


def prompt_sensi_score(scores: npt.ArrayLike, copies: Sequence[int] | None = None) -> Interval | None:
    """Return the mean difference of scores over pairs of variants, mean over examples; None for a single variant.

    PSS = mean_i sum_{k<l} |x_ki - x_li| / (K (K - 1) / 2) (ProSA, arXiv:2410.12405). It is at most K / (2 (K - 1)),
    where on each example half of the variants score 1 and half 0.

    Raises:
        ValueError: if there are no scores, one lies outside [0, 1], or `copies` has another length.
    """
    values = np.sort(measured(scores), axis=0)
    n = len(values)
    if n < 2:
        return None
    # In order of size the r-th is subtracted from n - 1 - r others and r are subtracted from it.
    ranks = 2.0 * np.arange(n) - (n - 1)
    return interval(np.clip(ranks @ values / (n * (n - 1) / 2), 0, 1).tolist(), copies)


def posix(logprobs: npt.ArrayLike, lengths: npt.ArrayLike, copies: Sequence[int] | None = None) -> Estimate | None:
    """Return POSIX, nats per token by which another variant changes a reply's log-probability; None for one variant.

    POSIX = mean_i 1 / (K (K - 1)) sum_{k != l} |log P(y_l | x_k) - log P(y_l | x_l)| / L_l, where y_l is the reply that
    variant l got and L_l its tokens (arXiv:2410.02185). The paper's official code deviates: it compares two replies
    under one prompt, |log P(y_k | x_l) - log P(y_l | x_l)|, and divides by the most tokens a reply may have, not by the
    reply's own.

    Args:
        logprobs: K x K x N, nats; [k, l, i] is that of the reply of variant l to example i, after variant k.
        lengths: K x N, tokens of the replies.
        copies: one an example.

    Raises:
        ValueError: if the shapes do not fit, a log-probability is not finite or above 0, or a reply has no token.
    """
    values, tokens = np.asarray(logprobs, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    if tokens.ndim != 2 or tokens.size == 0 or values.shape != (len(tokens), *tokens.shape):
        raise ValueError(f"log-probabilities {values.shape} do not fit lengths {tokens.shape}: K x K x N and K x N")
    if not (np.isfinite(values).all() and (values <= _ROUNDING).all() and (tokens >= 1).all()):
        raise ValueError("log-probabilities are finite and at most 0, and a reply has at least one token")
    n = len(tokens)
    if n < 2:
        return None
    own = np.einsum("lli->li", values)
    per_example = (np.abs(values - own) / tokens).sum(axis=(0, 1)) / (n * (n - 1))
    return mean_of(per_example, copies)


def sensitivity_entropy(logprobs: npt.ArrayLike, copies: Sequence[int] | None = None) -> Interval:
    """Return the entropy of the label distribution averaged over variants, as a share of log C, mean over examples.

    S = mean_i H(m_i) / log C with m_i = mean_k q_k(. | x_i) (arXiv:2406.12334): 0 where every variant is certain of the
    same label. No right labels are needed. It is also high where every variant is as uncertain.

    Args:
        logprobs: K x N x C, natural logarithms of label distributions; minus infinity is a probability of 0.
        copies: one an example.

    Raises:
        ValueError: if the shape is another, there are fewer than 2 labels, or probabilities do not sum to 1.
    """
    mean = _mean_distribution(logprobs)
    entropy = -(mean * np.log(np.where(mean > 0, mean, 1.0))).sum(axis=1) / math.log(mean.shape[1])
    return interval(np.clip(entropy, 0, 1).tolist(), copies)


def answer_entropy(answers: npt.ArrayLike, copies: Sequence[int] | None = None) -> Interval | None:
    """Return the entropy of the answers that an example gets, as a share of log K, mean over examples.

    `sensitivity_entropy` where each variant is certain of the answer that it wrote, and any other could have been
    written: H / log K is 0 where all K variants get one answer, 1 where each gets another. None for a single variant.

    Raises:
        ValueError: if there are no answers, or `copies` has another length.
    """
    codes = _codes(answers)
    n = len(codes)
    if n < 2:
        return None
    # Each variant has the probability of its own answer: the mean of their logarithms is the entropy.
    shares = np.array([(codes == row).mean(axis=0) for row in codes])
    entropy = -np.log(shares).mean(axis=0) / math.log(n)
    return interval(np.clip(entropy, 0, 1).tolist(), copies)


def class_consistency(
    logprobs: npt.ArrayLike, labels: Sequence[int], copies: Sequence[int] | None = None
) -> Estimate | None:
    """Return how alike examples of one class are answered; None where no class has two different examples.

    Mean over classes of the mean over pairs i, j in the class of 1 - TVD(m_i, m_j), with m as in `sensitivity_entropy`
    and the total variation distance TVD(p, q) = sum_c |p_c - q_c| / 2 (arXiv:2406.12334). Of copies one counts. The
    interval is that of the mean over examples of their likeness to others, which moves half as much as the measure with
    the examples drawn (Hoeffding 1948).

    Args:
        logprobs: as of `sensitivity_entropy`.
        labels: the right one's number, one an example.
        copies: one an example.

    Raises:
        ValueError: as `sensitivity_entropy`, or if there is not one label an example.
    """
    mean, classes = _mean_distribution(logprobs), np.asarray(labels)
    if len(classes) != len(mean) or (copies is not None and len(copies) != len(mean)):
        raise ValueError(f"{len(mean)} examples need as many labels and numbers of copies")
    first = np.unique(np.arange(len(mean)) if copies is None else np.asarray(copies), return_index=True)[1]
    mean, classes = mean[first], classes[first]
    likeness = {
        each: 1 - _mean_distance(mean[classes == each])
        for each in np.unique(classes).tolist()
        if (classes == each).sum() > 1
    }
    if not likeness:
        return None
    moves = np.zeros(len(mean))
    for each, of_class in likeness.items():
        share = len(likeness) * (classes == each).mean()
        moves[classes == each] = (of_class - of_class.mean()) / share
    value = float(np.mean([of_class.mean() for of_class in likeness.values()]))
    resampled = np.clip(value + 2 * resampled_means(moves[None], None)[:, 0], 0, 1)
    return estimate(value, resampled, len(mean))


def performance_drop(scores: npt.ArrayLike, copies: Sequence[int] | None = None) -> Estimate | None:
    """Return the share of the original's score that variants lose: the mean of 1 - A_k / A_0 (arXiv:2306.04528).

    Over the variants but the original; below 0 where they gain. None for a single variant and where the original scores
    0. Samples in which it does are left out of the interval.

    Raises:
        ValueError: if there are no scores, one lies outside [0, 1], or `copies` has another length.
    """
    values = measured(scores)
    means = values.mean(axis=1)
    if len(means) < 2 or means[0] <= 0:
        return None
    resampled = resampled_means(values, copies)
    resampled = resampled[resampled[:, 0] > 0]
    of_samples = 1 - resampled[:, 1:].mean(axis=1) / resampled[:, 0]
    drop = float(1 - (means[1:] / means[0]).mean())
    return estimate(drop, of_samples, n_different(values.shape[1], copies))


@dataclass(frozen=True, slots=True)
class LabelShift:
    """How a variant's answers are distributed, beside the original's."""

    distance: float
    """Total variation distance of the two distributions: share of answers that would have to change."""
    favourite: int | None
    """Label given most often, the first of equal ones; None where no answer could be read."""
    share: float
    """Of the examples, of the favourite."""
    change: float
    """That share minus the share which the original gives the same label."""


def label_shifts(answers: npt.ArrayLike) -> tuple[LabelShift, ...]:
    """Return the shift of each variant, in their order; that of the original, the first, is 0.

    d_k = sum_c |r_k(c) - r_0(c)| / 2 with the share r_k(c) of examples that variant k answers by c. It is at most the
    flip rate, and 0 where flips in both directions cancel out.

    Raises:
        ValueError: if there are no answers.
    """
    codes = _codes(answers)
    values = np.unique(codes)
    shares = np.array([[float((row == value).mean()) for value in values] for row in codes])
    readable = values >= 0
    shifts = []
    for row in shares:
        distance = float(np.abs(row - shares[0]).sum() / 2)
        of_readable = np.where(readable, row, 0.0)
        most = int(of_readable.argmax())
        found = of_readable[most] > 0
        change = float(row[most] - shares[0, most]) if found else 0.0
        shifts.append(LabelShift(distance, int(values[most]) if found else None, float(of_readable[most]), change))
    return tuple(shifts)


def _codes(answers: npt.ArrayLike) -> Codes:
    codes = np.asarray(answers, dtype=np.int64)
    if codes.ndim != 2 or codes.size == 0:
        raise ValueError(f"answers form a table of variants and examples, at least one each, not {codes.shape}")
    return codes


def _mean_distribution(logprobs: npt.ArrayLike) -> Values:
    """Return the label distribution of each example averaged over variants, examples x labels."""
    values = np.asarray(logprobs, dtype=np.float64)
    if values.ndim != 3 or values.size == 0 or values.shape[2] < 2:
        raise ValueError(f"log-probabilities are variants x examples x labels, two labels or more, not {values.shape}")
    probabilities = np.exp(values)
    if not (np.abs(probabilities.sum(axis=2) - 1) < 1e-3).all():
        raise ValueError("the probabilities of the labels sum to 1 for each variant and example")
    mean: Values = probabilities.mean(axis=0)
    return mean


def _mean_distance(distributions: Values) -> Values:
    """Return the mean total variation distance of each of at least two distributions to the others."""
    sums = [np.abs(distributions - each).sum() for each in distributions]
    return np.array(sums) / (2 * (len(distributions) - 1))
