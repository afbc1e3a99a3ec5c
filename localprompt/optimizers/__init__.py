"""Algorithms that search for prompts. Level 5. Importing this package registers the shipped ones."""

from localprompt.optimizers import ape as _ape  # noqa: F401 - registers itself
from localprompt.optimizers.registry import Optimizer, configure, names, optimizer

__all__ = ["Optimizer", "configure", "names", "optimizer"]
