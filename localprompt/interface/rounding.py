"""Numbers for people, rounded without saying more than is so. Level 1."""

from __future__ import annotations

_MOST_DIGITS = 6
_EQUAL = 1e-9
_ALPHA = 0.05


def score_text(score: float, digits: int = 3, sign: str = "") -> str:
    """Return a score, or with `sign` "+" a difference, with as many digits after the point.

    With more, up to 6, where it would else be rounded to 0, 1 or -1 and is not: 1999 of 2000 are not all.
    """
    nearest = min((-1.0, 0.0, 1.0), key=lambda end: abs(score - end))
    if abs(score - nearest) <= _EQUAL:
        return f"{nearest:{sign}.{digits}f}"  # a sum of floats may be a little below 0, which is no loss
    while digits < _MOST_DIGITS and float(f"{score:.{digits}f}") == nearest:
        digits += 1
    return f"{score:{sign}.{digits}f}"


def percent_text(share: float) -> str:
    """Return a share in per cent, without a digit after the point unless it would else be rounded to 0 or 100."""
    digits = 0
    while digits < _MOST_DIGITS and _EQUAL < share < 1 - _EQUAL and float(f"{100 * share:.{digits}f}") in (0, 100):
        digits += 1
    return f"{100 * share:.{digits}f}"


def p_text(p: float, digits: int = 4) -> str:
    """Return `p = ...`, or `p < ...` where it would be rounded to 0; never on the other side of 0.05 than it is."""
    if p < 10**-digits:
        return f"p < {10**-digits:.{digits}f}"
    while (float(f"{p:.{digits}f}") < _ALPHA) != (p < _ALPHA):
        digits += 1
    return f"p = {p:.{digits}f}"


def size_text(n_bytes: int) -> str:
    """Return the size of a file, such as `491 MB` or `1.12 GB`."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
