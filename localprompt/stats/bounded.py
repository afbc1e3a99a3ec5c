"""How low the mean of bounded values may be. Level 2, but imports nothing of the project.

Gaffke's bound (2005; Learned-Miller and Thomas 2019, arXiv:1905.06208): the values, and one more that is the least
possible, get random weights, uniformly among all that sum to 1; the bound is a quantile of the weighted mean. It asks
for nothing but that least value, so it holds for one value, for equal ones and for skewed ones. For values of 0 and 1
it is Clopper and Pearson's exact bound. For others it is not proved, but no distribution is known for which it holds
less often than it says.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

_NORMAL = NormalDist()
_NEVER = 1e-15
"""A share that is as small is taken for this one: the normal scale has no 0."""
_PRECISION = 1e-9
"""In standard deviations."""
_MAX_STEPS = 100
_EQUAL = 1e-12
"""Values nearer to the least one are it: a difference of two scores may miss it by the last bit of a float."""


def lower_bound(values: npt.NDArray[np.float64], least: float, level: float) -> float:
    """Return what the true mean is above in all but a share `level` of such samples; at least `least`.

    Found by regula falsi, Illinois variant, on the normal scale, on which the share is nearly a straight line of the
    bound: five to ten steps, each of as many vector operations as there are values.
    """
    if float(values.max()) <= least + _EQUAL:
        return least
    points, wanted = np.append(values, least), _NORMAL.inv_cdf(level)

    def above(mean: float) -> float:
        share = _share_below(points, mean)
        return _NORMAL.inv_cdf(min(max(share, _NEVER), 1 - _NEVER)) - wanted

    low, high = least, float(values.mean())
    at_low, at_high, middle, before = above(low), above(high), low, 0.0
    for _ in range(_MAX_STEPS):
        middle = high - at_high * (high - low) / (at_high - at_low)
        found = above(middle)
        if abs(found) < _PRECISION:
            break
        # An end that stays twice weighs half, lest it stay for ever.
        half = 0.5 if found * before > 0 else 1.0
        if found < 0:
            low, at_low, at_high = middle, found, at_high * half
        else:
            high, at_high, at_low = middle, found, at_low * half
        before = found
    return middle


def _share_below(points: npt.NDArray[np.float64], mean: float) -> float:
    """Return the probability that the weighted mean of the points is below `mean`, exactly.

    Uniform weights are exponential times over their sum. So this is a race: of a runner whose stages last such times,
    on average as long as the points above lie above, with one whose stages are the points below; it is the probability
    that the first one arrives first. In stages `a` and `b` the first ends its stage first with probability b / (a + b),
    and then all begins again. Worked backwards, a vector for each number of stages done.
    """
    up, down = points[points > mean] - mean, mean - points[points < mean]
    n_up, n_down = len(up), len(down)
    if not n_up or not n_down:
        return float(n_up == 0)
    arrives = np.zeros(n_up + 1)
    arrives[n_up] = 1.0
    for done in range(n_up + n_down - 2, -1, -1):
        first, last = max(0, done - n_down + 1), min(n_up - 1, done)
        of_down = down[done - last : done - first + 1][::-1]
        wins = of_down / (up[first : last + 1] + of_down)
        here = arrives[first : last + 1]
        arrives[first : last + 1] = here + wins * (arrives[first + 1 : last + 2] - here)
    return float(arrives[0])
