"""Algorithms that search for prompts. Level 6. Importing this package registers the shipped ones."""

from localprompt.optimizers import ape as _ape  # noqa: F401 - registers itself
from localprompt.optimizers import auto as _auto  # noqa: F401 - registers itself
from localprompt.optimizers import manual as _manual  # noqa: F401
from localprompt.optimizers import opro as _opro  # noqa: F401 - registers itself
from localprompt.optimizers import pe2 as _pe2  # noqa: F401 - registers itself
from localprompt.optimizers import protegi as _protegi  # noqa: F401 - registers itself
from localprompt.optimizers import random_search as _random  # noqa: F401
from localprompt.optimizers.registry import Optimizer, configure, names, optimizer, presets

__all__ = ["Optimizer", "configure", "names", "optimizer", "presets"]
