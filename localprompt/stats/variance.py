"""What scores vary with: prompt, model, quantisation or example. Level 2, on its own package alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from localprompt.stats.resampling import Estimate, Values, estimate, measured, resampled_means, sums_of_copies

_ROUNDING = 1e-12
"""Less variance than this share of the squared range is none."""


@dataclass(frozen=True, slots=True)
class VarianceShares:
    """Shares of the variance of one score, together 1; None for what the scores do not show."""

    prompt: Estimate
    model: Estimate | None
    """None for a single model and where all are levels of one."""
    quantisation: Estimate | None
    """Levels within the same model; None where no model has two."""
    prompt_model: Estimate | None
    """Prompts that are better for some models than for others. This and what follows None for a single model."""
    example: Estimate
    prompt_example: Estimate | None
    """Prompts that are better for some examples than for others; of a single model it is in the residual."""
    model_example: Estimate | None
    residual: Estimate


def variance_shares(
    scores: npt.ArrayLike, bases: Sequence[str] | None = None, copies: Sequence[int] | None = None
) -> VarianceShares | None:
    """Return shares of the variance components of crossed prompts, models and examples.

    None where no score differs, and for a single example and its copies.

    Prompts, models and examples are taken as drawn from many. From the mean squares MS of the analysis of variance come
    the components, which the expected mean squares solve (Cornfield and Tukey 1956; Brennan 2001, Generalizability
    Theory): for V prompts, M models and N examples var(prompt) = (MS_p - MS_pm - MS_pi + MS_pmi) / (M N),
    var(prompt:model) = (MS_pm - MS_pmi) / N, and so on; the residual is MS_pmi. Negative ones are set to 0, then all
    are divided by their sum. With `bases` the models' sum of squares is split into that between bases and that of the
    levels within (Searle, Casella and McCulloch 1992, chapter 3).

    The intervals are for other examples with the same prompts and models. Means of examples drawn again carry the
    examples' noise twice, so in each sample it is subtracted twice (Brennan 2001, chapter 6).

    Args:
        scores: prompts x models x examples, in [0, 1].
        bases: one a model; models of the same base are quantisation levels of it. None: no two are.
        copies: one an example; examples with the same number are copies of each other and count as one, their mean.

    Raises:
        ValueError: if the scores are no such table, there are fewer than two prompts, or lengths differ.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 3 or values.shape[0] < 2 or values.size == 0:
        raise ValueError(f"scores are two or more prompts x models x examples, not {values.shape}")
    sums, sizes = sums_of_copies(measured(values.reshape(-1, values.shape[2])), copies)
    values = (sums / sizes).reshape(*values.shape[:2], -1)
    labels = list(range(values.shape[1])) if bases is None else list(bases)
    if len(labels) != values.shape[1]:
        raise ValueError(f"{len(labels)} bases for {values.shape[1]} models")
    is_of = np.array([[label == base for label in labels] for base in dict.fromkeys(labels)], dtype=np.float64)
    if values.shape[2] < 2 or float(np.ptp(values)) <= _ROUNDING:
        return None
    rows = _per_example((values - values.min()) / np.ptp(values))  # shares have no unit
    observed = _shares(rows.mean(axis=1)[None], values.shape, is_of, 0)
    samples = _shares(resampled_means(rows, None), values.shape, is_of, 1)
    found: dict[str, Any] = dict.fromkeys(field.name for field in fields(VarianceShares))
    for name, share in observed.items():
        found[name] = estimate(float(share[0]), samples[name], values.shape[2])
    return VarianceShares(**found)


def _per_example(values: Values) -> Values:
    """Return what the sums of squares need of each example: its scores, then sums of squares of its means."""
    n_prompts, n_models, n = values.shape
    squares = (
        values.mean(axis=(0, 1)) ** 2,
        (values.mean(axis=1) ** 2).sum(axis=0),
        (values.mean(axis=0) ** 2).sum(axis=0),
        (values**2).sum(axis=(0, 1)),
    )
    return np.vstack((values.reshape(n_prompts * n_models, n), *squares))


def _shares(means: Values, shape: tuple[int, ...], is_of: Values, n_drawn: int) -> dict[str, Values]:
    """Return the share of each component in each row of `means`, which are of what `_per_example` returns.

    Args:
        means: a row a sample of examples.
        shape: how many prompts, models and examples.
        is_of: bases x models, 1 where the model is of the base.
        n_drawn: how often the examples were drawn beyond the first time, 0 or 1.
    """
    n_prompts, n_models, n = shape
    cells, (example, prompt_example, model_example, all_) = means[:, :-4].reshape(-1, n_prompts, n_models), means.T[-4:]
    of_prompts, of_models, grand = cells.mean(axis=2), cells.mean(axis=1), cells.mean(axis=(1, 2))
    p, m, pm, g = (of_prompts**2).sum(axis=1), (of_models**2).sum(axis=1), (cells**2).sum(axis=(1, 2)), grand**2
    sizes = is_of.sum(axis=1)
    b = ((of_models @ is_of.T) ** 2 / sizes).sum(axis=1)

    def mean_square(sum_of_squares: Values, freedom: int) -> Values:
        return n * sum_of_squares / max(freedom, 1)

    more_prompts, more_models, more_bases = n_prompts - 1, n_models - 1, len(sizes) - 1
    of_pi = prompt_example - p - n_prompts * (example - g)
    of_mi = model_example - m - n_models * (example - g)
    of_pm = pm - n_models * p - n_prompts * m + n_prompts * n_models * g
    of_i = n_prompts * n_models * (example - g)
    of_pmi = all_ - pm - n_models * of_pi - n_prompts * of_mi - of_i
    pi = mean_square(n_models * of_pi, more_prompts * (n - 1))
    mi = mean_square(n_prompts * of_mi, more_models * (n - 1))
    pmi = mean_square(of_pmi, more_prompts * more_models * (n - 1))
    pm = mean_square(of_pm, more_prompts * more_models) - n_drawn * pmi
    within = mean_square(n_prompts * (m - b), n_models - len(sizes)) - n_drawn * mi
    between = mean_square(n_prompts * (b - n_models * g), more_bases) - n_drawn * mi
    prompts = mean_square(n_models * (p - n_prompts * g), more_prompts) - n_drawn * pi
    without_models = pm + mi - pmi
    per_base = (n_models - (sizes**2).sum() / n_models) / max(more_bases, 1)
    has_levels = n_models > len(sizes)
    components = {
        "prompt": (prompts - pm - pi + pmi) / (n_models * n),
        "model": (between - (within if has_levels else without_models)) / (n_prompts * n * max(per_base, 1.0)),
        "quantisation": (within - without_models) / (n_prompts * n),
        "prompt_model": (pm - pmi) / n,
        "example": (mean_square(of_i, n - 1) - pi - mi + pmi) / (n_prompts * n_models),
        "prompt_example": (pi - pmi) / n_models,
        "model_example": (mi - pmi) / n_prompts,
        "residual": pmi,
    }
    if more_bases == 0:
        del components["model"]
    if not has_levels:
        del components["quantisation"]
    if n_models == 1:
        components["residual"] = components.pop("prompt_example")
        del components["prompt_model"], components["model_example"]
    positive = {name: np.where(each > _ROUNDING, each, 0.0) for name, each in components.items()}
    total = np.sum(list(positive.values()), axis=0)
    return {name: each[total > 0] / total[total > 0] for name, each in positive.items()}
