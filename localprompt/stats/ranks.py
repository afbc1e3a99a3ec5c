"""Whether two rankings agree. Level 2, but imports nothing of the project."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two scorings of the same things, from -1 to 1; None where one puts all on one level.

    tau-b = (pairs in the same order - pairs in the opposite order) / sqrt(n_1 n_2), where n_1 and n_2 are the pairs
    that each scoring does not tie (Kendall 1945, Biometrika 33).

    Raises:
        ValueError: if the lengths differ or a score is no number.
    """
    values = [np.asarray(each, dtype=np.float64) for each in (first, second)]
    if len(first) != len(second) or not all(np.isfinite(each).all() for each in values):
        raise ValueError(f"two rankings need numbers for the same things, not {len(first)} and {len(second)}")
    one, other = (np.sign(each[:, None] - each) for each in values)
    untied = float(np.abs(one).sum() * np.abs(other).sum())
    return float((one * other).sum()) / math.sqrt(untied) if untied else None
