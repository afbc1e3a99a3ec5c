"""What a found prompt gives the labels whatever the input, from the answers of its run. Level 9."""

from __future__ import annotations

from localprompt.errors import OutOfAnswers
from localprompt.lm.budget import Budget
from localprompt.lm.cached import CachedLM
from localprompt.lm.replayed import ReadAnswers, ReplayedLM
from localprompt.run.config import RunConfig
from localprompt.search.evaluator import Evaluator
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Example, Prompt


def label_priors(home: Store, run_id: str, config: RunConfig, asked: tuple[Task, Prompt, Example]) -> tuple[float, ...]:
    """Return the log of each label's probability whatever the input; none where the run did not measure them.

    Args:
        home: the store.
        run_id: of the run.
        config: its record.
        asked: a task, a prompt, and a row about which the run asked with it.
    """
    task, prompt, row = asked
    if not task.is_calibrated:
        return ()
    answers = ReadAnswers(home.answers)
    lm = CachedLM(ReplayedLM(config.model.model_dump()), answers, config.namespace(run_id), run_id)
    evaluator = Evaluator(lm, task, Budget())
    try:
        evaluator.evaluate([prompt], [row])
    except OutOfAnswers:  # the answers were deleted, or the run came from elsewhere without them
        return ()
    found = evaluator.label_likelihoods(prompt, row)
    if found is None:
        return ()
    return tuple(nats - left for nats, left in zip(found.logprobs, found.scores, strict=True))
