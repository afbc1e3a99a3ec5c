"""The same prompt with answers that are drawn: what chance does to a generated answer. Level 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from localprompt.variants.variant import Origin, Variant

TEMPERATURE = 0.7
"""At which answers are drawn where the task's are greedy."""


class Sampling:
    """Answers drawn with other seeds; nothing for tasks with labels, which draw nothing."""

    name = "sampling"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return the same prompt with the seeds from 1 on."""
        task, asked = origin.task, origin.task.sampling
        if task.labels:
            return []
        temperature = asked.temperature or TEMPERATURE
        drawing = replace(task, sampling=replace(asked, temperature=temperature))
        change = f"answers drawn at temperature {temperature:g}, seed"
        return [Variant(self.name, f"{change} {i}", origin.prompt, drawing, seed=i) for i in range(1, most + 1)]
