"""Manual: the best of the prompts that people wrote. Level 6. A baseline without a proposer.

1. Take the task's seed prompts and those in the file `prompts`.
2. Score them on growing subsets of dev common to all; the best share goes on.
3. Measure the finalists and the seed prompts on all of dev.

Comparing a few wordings by hand is what an optimiser must be better than.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from localprompt.errors import ConfigError
from localprompt.optimizers.registry import optimizer
from localprompt.optimizers.settings import Checked, Count, Share, StageSizes
from localprompt.search.filtering import Stages, filter_in_stages, measure_best_first
from localprompt.search.problem import Problem
from localprompt.types import Candidate, Prompt

_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")


@optimizer("manual")
@dataclass(frozen=True, slots=True)
class Manual(Checked):
    """Hyperparameters of the comparison of given prompts."""

    COMPARED: ClassVar[bool] = False

    prompts: Path | None = None
    """A text file with more prompts beside the task's seed prompts: blocks separated by blank lines or, where there is
    no blank line, one per line."""
    stages: StageSizes = (12, 24)
    """Fresh dev examples of each stage."""
    keep: Share = 0.5
    """Share of the prompts that a stage lets through."""
    finalists: Count = 4
    """Prompts measured on all of dev; with so few there are no stages."""

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.prompts:
            prompts_in(self.prompts)  # the search reads it again, but then a large model is loaded already

    def run(self, problem: Problem) -> None:
        """Compare; everything stays with `problem`."""
        # 1. What there is.
        given = [Prompt(text) for text in prompts_in(self.prompts)] if self.prompts else []
        problem.record([Candidate(prompt, "manual", is_proposed=False) for prompt in given])
        prompts = list({prompt.id: prompt for prompt in (*problem.seeds, *given)}.values())

        # 2. Stages.
        dev = problem.shuffled(problem.dev)
        stages = Stages(self.stages, self.keep, self.finalists)
        finalists = filter_in_stages(problem.evaluate, prompts, dev, stages)

        # 3. The finalists, and the seeds for the comparison with them.
        measure_best_first(problem, [*finalists, *problem.seeds])


def prompts_in(path: Path) -> list[str]:
    """Return the prompts of a text file: its blocks, or its lines where no blank line separates blocks.

    Raises:
        ConfigError: if the file cannot be read, is not UTF-8, or holds no prompt.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise ConfigError(f"the file of prompts {path} cannot be read: {error.strerror}", "give a text file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", "save it as UTF-8") from error
    if not text:
        raise ConfigError(f"{path} holds no prompt", "write one per line, or blocks separated by blank lines")
    blocks = _BLANK_LINES.split(text)
    return [block.strip() for block in (blocks if len(blocks) > 1 else text.split("\n"))]
