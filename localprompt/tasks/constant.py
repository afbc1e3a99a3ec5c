"""What a prompt would score that makes the model give one answer to everything. Level 2."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from localprompt.errors import TaskError
from localprompt.tasks.metrics import guarded_metric
from localprompt.tasks.task import Task
from localprompt.types import Example

_FREQUENT = 0.1
"""Share of the examples from which on an answer is one to compare with."""


@dataclass(frozen=True, slots=True)
class ConstantAnswer:
    """The most frequent right answer, and what always giving it would score: no prompt that scores less has learned."""

    answer: str
    score: float


def constant_answer(task: Task, examples: Sequence[Example]) -> ConstantAnswer | None:
    """Return the answer that is right most often, judged by the task's metric; of equals the first.

    None where it is right for fewer than two examples or a tenth of them, or where the metric cannot judge it.
    """
    right = Counter(target for example in examples for target in dict.fromkeys(example.targets))
    answer, n = right.most_common(1)[0] if right else ("", 0)
    if n < max(2, _FREQUENT * len(examples)):
        return None
    metric = guarded_metric(task.metric)
    try:
        scores = [metric(answer, example.targets) for example in examples]
    except TaskError:  # it is code, and may not be made for an answer that no model gave
        return None
    return ConstantAnswer(answer, math.fsum(scores) / len(scores))
