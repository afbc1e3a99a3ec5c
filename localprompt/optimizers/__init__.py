"""Algorithms that search for prompts. Level 6. Importing this package registers the shipped ones."""

from localprompt.optimizers import ape, auto, manual, opro, pe2, protegi, random_search  # noqa: F401 - register themselves
from localprompt.optimizers.registry import Optimizer, configure, names, optimizer, presets

__all__ = ["Optimizer", "configure", "names", "optimizer", "presets"]
