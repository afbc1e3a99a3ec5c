"""How long a timed prefill should be: a few seconds, whatever the model. Level 2."""

from __future__ import annotations

from collections.abc import Callable

_FEWEST = 16
"""As many rows as keep all cores at matrix products: rates of fewer say little about batches."""
MOST = 512
"""More would tell nothing new: a batch has no more rows."""


def length(rate: float, seconds: float) -> int:
    """Return how many tokens take `seconds` to twice that at `rate` tokens per second: a power of two, 16 to 512.

    The noise of a rate depends on how long it was measured, not on how many tokens, so a slow model needs few. Powers
    of two let candidates of about the same speed have the same length, where their rates can be compared.
    """
    return min(MOST, max(_FEWEST, 1 << (max(1, round(rate * seconds)) - 1).bit_length()))


def probe_length(prefill_rate: Callable[[int], float]) -> int:
    """Return how many tokens a prefill of 3 to 5 seconds has, found by two short ones; they warm the model up, too.

    Args:
        prefill_rate: number of tokens to tokens per second; see `Engine.prefill_rate`.
    """
    return length(max(prefill_rate(_FEWEST) for _ in range(2)), 2.5)  # the first reads the file and starts the threads
