"""The final evaluation: what is measured after a search, as much of it as there is time for. Level 7."""

from __future__ import annotations

from collections.abc import Sequence

from localprompt.lm.deadline import Deadline, Work
from localprompt.search.evaluator import Evaluator
from localprompt.search.evidence import MOST_OTHERS, MOST_ROWS
from localprompt.tasks import Task
from localprompt.types import Evaluation, Example, Prompt

_AGAIN, _TESTED = 3, 2
"""Prompts that are measured again on dev, to know the noise, and prompts on test; between them are the contenders."""
LEAST = 8
"""Examples that are measured even where there is no time left."""
_CAUTION = 0.9
"""Part of the time left that a call may take: prompts with examples can be slower than those before."""


def final_work(evaluator: Evaluator, task: Task, n_more: int = 0) -> list[Work]:
    """Return about what the final evaluation computes: what the first seed would, once for each prompt.

    Args:
        evaluator: of the task.
        task: that is searched.
        n_more: prompts on test beside the seed and the winner.
    """
    measured = ((_AGAIN, task.dev), (1 + MOST_OTHERS, task.train[:MOST_ROWS]), (_TESTED + n_more, task.test))
    return [
        work
        for n_prompts, examples in measured
        if examples
        for work in [evaluator.work(task.seeds[:1], examples)] * n_prompts
    ]


def measured_in_time(  # noqa: PLR0913 - what is measured, and until when
    evaluator: Evaluator,
    prompts: Sequence[Prompt],
    examples: Sequence[Example],
    deadline: Deadline | None,
    *,
    share: float = 1.0,
    least: int = LEAST,
) -> list[Evaluation]:
    """Return the prompts on as many of the examples, from the first on, as the time allows; on all without a deadline.

    At least on `least`. Completions are measured on so many first, since those of other prompts may be longer than
    what was seen; then each call takes nine tenths of the time that is left, and tells how long these prompts take.

    Args:
        evaluator: of the task.
        prompts: compared on the same examples.
        examples: in an order of chance.
        deadline: the end of the session.
        share: of the time left that may be used.
        least: examples that are measured even where there is no time left.
    """
    if deadline is None:
        return evaluator.evaluate(prompts, examples)
    until = deadline.left * (1 - share)
    done, least = 0, max(LEAST, least)
    while done < len(examples):
        is_first_look = not done and evaluator.generates
        n = least if is_first_look else _fitting(evaluator, prompts, examples[done:], deadline, deadline.left - until)
        if done and n < min(LEAST, len(examples) - done):
            break
        done = min(max(done + n, least), len(examples))
        evaluator.evaluate(prompts, examples[:done])
    return evaluator.evaluate(prompts, examples[:done])


def _fitting(
    evaluator: Evaluator, prompts: Sequence[Prompt], examples: Sequence[Example], deadline: Deadline, seconds: float
) -> int:
    """Return on how many of the examples the prompts can be measured in one call of nearly so many seconds."""
    one, every = (deadline.seconds(evaluator.work(prompts, part)) / _CAUTION for part in (examples[:1], examples))
    if every <= seconds:
        return len(examples)
    each = (every - one) / max(1, len(examples) - 1)
    return int((seconds - one) / each) + 1 if seconds > one else 0
