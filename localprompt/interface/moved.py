"""Modules under the names that they had before the house was laid out in rooms. Level 1.

Public names are imported from `localprompt`; whoever imported a module by its place finds it where it is now.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "localprompt.analysis": "localprompt.stats",
    "localprompt.analysis.anytime": "localprompt.stats.anytime",
    "localprompt.analysis.comparison": "localprompt.comparison.table",
    "localprompt.analysis.seeds": "localprompt.stats.seeds",
    "localprompt.analysis.stats": "localprompt.stats.intervals",
    "localprompt.budget": "localprompt.lm.budget",
    "localprompt.cards": "localprompt.hub.cards",
    "localprompt.compared": "localprompt.comparison.execute",
    "localprompt.comparing": "localprompt.comparison.plan",
    "localprompt.configuration": "localprompt.run.config",
    "localprompt.engine.probing": "localprompt.engine.tuning",
    "localprompt.estimating": "localprompt.run.estimate",
    "localprompt.evaluator": "localprompt.search.evaluator",
    "localprompt.fetching": "localprompt.hub.fetch",
    "localprompt.journal": "localprompt.run.journal",
    "localprompt.metaprompts": "localprompt.proposals.metaprompts",
    "localprompt.models": "localprompt.hub.files",
    "localprompt.noise": "localprompt.run.noise",
    "localprompt.observing": "localprompt.search.observer",
    "localprompt.optimizers.pe2_conversation": "localprompt.optimizers.pe2",
    "localprompt.optimizers.protegi_writing": "localprompt.optimizers.protegi",
    "localprompt.problem": "localprompt.search.problem",
    "localprompt.proposing": "localprompt.proposals.validation",
    "localprompt.racing": "localprompt.search.racing",
    "localprompt.remembering": "localprompt.engine.cachefile",
    "localprompt.replies": "localprompt.proposals.parsing",
    "localprompt.results": "localprompt.run.results",
    "localprompt.resuming": "localprompt.run.resume",
    "localprompt.runs": "localprompt.run.api",
    "localprompt.selection": "localprompt.search.filtering",
    "localprompt.sitting": "localprompt.run.execute",
    "localprompt.standings": "localprompt.search.ranking",
    "localprompt.wording": "localprompt.proposals.similarity",
}
"""Old name to new."""


class MovedModules(MetaPathFinder, Loader):
    """Finds a module by its old name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the module is; None for a name that never was one of ours."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module itself, which stays one object under both names."""
        module = import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is: it was executed under its own name."""
        module.__spec__ = module.__spec__.loader_state if module.__spec__ else None


def find_moved() -> None:
    """Let imports by old names succeed, in this process."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules())  # else the new folder answers for an old name with a second copy
