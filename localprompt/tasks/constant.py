"""What a prompt would score that makes the model give one answer to everything. Level 3."""

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
    """A frequent right answer, and what always giving it would score: no prompt that scores less has learned."""

    answer: str
    score: float


def constant_answer(task: Task, examples: Sequence[Example]) -> ConstantAnswer | None:
    """Return the frequent answer that scores most by the task's metric, which may take several for the same.

    Frequent is what is the right answer of two examples and of a tenth of them; of equals it is the most frequent, then
    the first. None where there is no such answer, or where the metric cannot judge it.
    """
    right = Counter(target for example in examples for target in dict.fromkeys(example.targets))
    frequent = [answer for answer, n in right.most_common() if n >= max(2, _FREQUENT * len(examples))]
    metric = guarded_metric(task.metric)
    try:
        scores = {answer: [metric(answer, example.targets) for example in examples] for answer in frequent}
    except TaskError:  # it is code, and may not be made for an answer that no model gave
        return None
    found = [ConstantAnswer(answer, math.fsum(each) / len(each)) for answer, each in scores.items()]
    return max(found, key=lambda each: each.score, default=None)
