"""Kinds of settings, and the check that those of a method are what their kind says. Level 6.

    steps: Count = 3

in a dataclass that is `Checked` is a whole number of at least 1, or the method is not made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_type_hints

from localprompt.optimizers.registry import require
from localprompt.proposals.metaprompts import MIN_SHOWN_CHARS

NO_TRAIN = "add rows to train; copies of test rows do not count"
"""What to do where a method has no train examples."""


@dataclasses.dataclass(frozen=True, slots=True)
class Must:
    """What a setting must be."""

    what: str
    holds: Callable[[Any], bool]


def _at_least(least: int) -> Must:
    return Must(f"at least {least}", lambda value: value >= least)


Count = Annotated[int, _at_least(1)]
AnyCount = Annotated[int, _at_least(0)]
Limit = Annotated[int | None, Must("at least 1, or none", lambda value: value is None or value >= 1)]
Weight = Annotated[float, _at_least(0)]
"""Also a temperature."""
Share = Annotated[float, Must("above 0 and at most 1", lambda value: 0 < value <= 1)]
Shown = Annotated[int, _at_least(20)]
"""Characters of a text that is shown."""
Shrunk = Annotated[int, _at_least(MIN_SHOWN_CHARS)]
"""The same, where it may be shortened further."""
StageSizes = Annotated[
    tuple[int, ...], Must("one or more whole numbers of at least 1", lambda sizes: bool(sizes) and min(sizes) >= 1)
]


class Checked:
    """A dataclass whose fields are what their kinds say."""

    __slots__ = ()

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            for must in get_args(hints[field.name])[1:]:
                if isinstance(must, Must):
                    require(self, field.name, must.holds(getattr(self, field.name)), must.what)
