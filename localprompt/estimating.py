"""What a search will cost, before anything is spent. Level 6.

The method itself runs, with a stand-in for the model that makes up its answers and counts tokens. So every method,
shipped or a user's, has an estimate without a line of its own, and the budget ends the estimate where it ends the run.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import platformdirs

from localprompt.budget import Budget
from localprompt.errors import BudgetExhausted
from localprompt.evaluator import Evaluator
from localprompt.lm.base import LanguageModel
from localprompt.lm.metered import MeteredLM
from localprompt.lm.simulated import SimulatedLM
from localprompt.optimizers import Optimizer
from localprompt.problem import Problem
from localprompt.tasks import Task
from localprompt.types import Sampling

_LANES = 32
_DRAWN = 12


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a model is on this machine."""

    prefill: float
    """Prompt tokens a second."""
    generation: float
    """Drawn tokens a second, many completions at once."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a search is expected to cost; the test measurement is not counted, as in `Spend`."""

    proposals: int
    """Texts that the proposer is asked for."""
    evaluations: int
    """Model calls for scores, one a (prompt, example)."""
    tokens_requested: int
    tokens_decoded: int
    seconds: float | None
    """None where the rates of the model are not known."""

    def to_json(self) -> dict[str, float | int | None]:
        """Return the estimate as plain data."""
        return asdict(self)


@runtime_checkable
class _Measurable(Protocol):
    def prefill_rate(self, n_tokens: int = 512) -> float: ...


def estimate(  # noqa: PLR0913 - what a run is
    optimizer: Optimizer,
    task: Task,
    lm: LanguageModel,
    proposer: LanguageModel,
    *,
    rates: Rates | None = None,
    seed: int = 0,
    max_tokens: int | None = None,
    max_calls: int | None = None,
) -> Estimate:
    """Return what `optimizer` will cost on `task`; only tokenisers are asked, nothing is computed.

    Half of the made-up answers are right, whatever the prompt, so a search that ends early because it found a perfect
    prompt, or goes on because it keeps getting better, costs less or more than this. No proposal is discarded.
    """
    texts = [example.targets[0] for example in (*task.train, *task.dev)]
    lengths = lm.count_tokens(texts)
    coin = random.Random(seed)
    simulated_task = replace(task, metric=lambda prediction, targets: float(coin.getrandbits(1)))
    n_answer = math.ceil(sum(lengths) / len(lengths))
    answering = SimulatedLM(lm, task.sampling, n_answer, seed)
    writing = answering if proposer is lm else SimulatedLM(proposer, task.sampling, n_answer, seed + 1)
    budget = Budget(max_tokens=max_tokens, max_calls=max_calls)
    evaluator = Evaluator(answering, simulated_task, budget)
    problem = Problem(simulated_task, evaluator, MeteredLM(writing, budget), rng=random.Random(seed), is_rehearsal=True)
    with suppress(BudgetExhausted):
        optimizer.run(problem)
    models = {id(model): model for model in (answering, writing)}.values()
    proposals = sum(model.proposals for model in models)
    prefilled, generated = sum(m.prefilled for m in models), sum(m.generated for m in models)
    seconds = prefilled / rates.prefill + generated / rates.generation if rates else None
    spend = budget.spend
    return Estimate(proposals, spend.calls - proposals, spend.tokens_requested, prefilled + generated, seconds)


def measured_rates(lm: LanguageModel) -> Rates | None:
    """Return how fast the model is here, measured once in seconds and remembered; None for what is no local model."""
    if not isinstance(lm, _Measurable):
        return None
    memory = Path(platformdirs.user_cache_dir("localprompt")) / "rates.json"
    known = _read(memory)
    if lm.fingerprint not in known:
        known[lm.fingerprint] = [lm.prefill_rate(), _generation_rate(lm)]
        with suppress(OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(json.dumps(known, indent=1))
    prefill, generation = known[lm.fingerprint]
    return Rates(prefill, generation)


def _generation_rate(lm: LanguageModel) -> float:
    prompts = [f"{number}. Once upon a time" for number in range(_LANES)]
    began = time.perf_counter()
    drawn = lm.generate(prompts, Sampling(max_tokens=_DRAWN, temperature=1.0), list(range(_LANES)))
    return sum(each.n_tokens for each in drawn) / (time.perf_counter() - began)


def _read(memory: Path) -> dict[str, Sequence[float]]:
    try:
        known: dict[str, Sequence[float]] = json.loads(memory.read_text())
    except (OSError, ValueError):  # missing or damaged: it is only a memory of measurements
        return {}
    return known
