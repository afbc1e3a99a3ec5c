"""A search sized to its budget: how much a method does, and on how many dev examples. Level 7.

A budget that ends a search wherever it happens to be leaves prompts that are known on two examples. So the method is
rehearsed, as for an estimate, from small to large, and takes the largest size that fits. Dev is cut to as many examples
as let the budget measure some twenty prompts on all of them. What the user or the preset of a paper fixes stays.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from functools import partial

from localprompt.errors import ContextOverflow
from localprompt.lm.budget import Budget
from localprompt.lm.deadline import UNKNOWN_RATES, Deadline, Rates
from localprompt.optimizers.manual import Manual
from localprompt.optimizers.registry import scaled
from localprompt.run.estimate import Estimate, estimate, measured_rates
from localprompt.run.final import final_work
from localprompt.run.prepare import Prepared
from localprompt.run.spec import Limits, RunSpec
from localprompt.search.evaluator import Evaluator
from localprompt.search.observer import Observer

SHARES = (0.06, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Of what a method spends by default, smallest first."""
MEASURED = 20
"""Prompts on all of dev that a budget should allow."""
LEAST_DEV = 24
_TRIED = 4
"""Dev examples that tell how fast a foreign model is."""
_FINAL_SHARE = 0.35
"""Most of the minutes that is reserved for noise and test."""


def reserve_final(ready: Prepared, rates: Rates | None, deadline: Deadline) -> None:
    """Keep time for noise and test before the deadline: what they need, or their share of it."""
    task = ready.spec.placed
    deadline.begin(rates)
    deadline.reserve(final_work(Evaluator(ready.models.lm, task, Budget()), task), _FINAL_SHARE)


def sized(ready: Prepared, rates: Rates | None, deadline: Deadline | None = None) -> tuple[Prepared, Estimate]:
    """Return the search in the largest size that fits its limits, as it is where it has none, and what it will cost.

    Only tokenisers are asked. Tokens and calls are those of the search; minutes hold the final evaluation too.
    """
    spec, limits, seconds = ready.spec, ready.spec.limits, None
    if deadline is not None:
        reserve_final(ready, rates, deadline)
        seconds = max(deadline.left - deadline.seconds(deadline.reserved), 1e-6)
    fixed = spec.fixed
    if fixed is None or (seconds, limits.max_tokens, limits.max_calls) == (None, None, None):
        return ready, estimate(spec, ready.models, rates)

    def share_of(cost: Estimate) -> float:
        """Return which share of the budget a search takes, by the limit that is nearest."""
        used = [(cost.tokens_computed, limits.max_tokens), (cost.evaluations + cost.proposals, limits.max_calls)]
        took = cost.seconds if cost.seconds is not None else cost.tokens_computed / UNKNOWN_RATES.prefill
        return max(amount / limit for amount, limit in (*used, (took, seconds)) if limit is not None)

    rehearsed = partial(estimate, models=ready.models, rates=rates)
    free = replace(spec, limits=Limits())
    of_one = share_of(rehearsed(replace(free, optimizer=Manual()))) / len(spec.task.seeds)
    n_dev = max(LEAST_DEV, int(len(spec.task.dev) / (MEASURED * of_one)))
    free = replace(free, n_dev=n_dev if n_dev < len(spec.task.dev) else None)
    optimizers = [scaled(spec.optimizer, share, fixed) for share in SHARES]
    best, *larger = (
        optimizer for optimizer, before in zip(optimizers, [None, *optimizers], strict=False) if optimizer != before
    )
    cost = None
    for optimizer in larger:
        try:
            expected = rehearsed(replace(free, optimizer=optimizer))
        except ContextOverflow:  # a larger search asks the proposer longer things
            break
        if share_of(expected) > 1:
            break
        best, cost = optimizer, expected
    spec = replace(free, optimizer=best, limits=limits)
    return replace(ready, spec=spec), cost or rehearsed(spec)


def planned(ready: Prepared, observer: Observer, deadline: Deadline | None = None) -> tuple[Prepared, Estimate]:
    """Return a search sized to its limits, and what it will cost on this machine.

    The rates of a model that are not known are measured first.

    Raises:
        ModelError: if the model cannot be run.
    """
    observer.stage("estimating what the search will cost")
    rates = measured_rates(ready.models.lm)
    if rates is None and deadline is not None:
        rates = _tried(ready)
    size, cost = sized(ready, rates, deadline)
    return size, replace(cost, sizes=_changes(ready.spec, size.spec))


def _tried(ready: Prepared) -> Rates:
    """Return how fast a model that cannot be measured by itself answers a few examples of the task."""
    task = ready.spec.placed
    evaluator = Evaluator(ready.models.lm, task, Budget())
    examples, began = task.dev[:_TRIED], time.monotonic()
    evaluator.evaluate(task.seeds[:1], examples)
    rate = evaluator.work(task.seeds[:1], examples).read / max(time.monotonic() - began, 1e-6)
    return Rates(rate, rate)


def _changes(before: RunSpec, now: RunSpec) -> dict[str, int]:
    """Return what the budget made of a search."""
    settings, sizes = asdict(before.optimizer), asdict(now.optimizer)
    changed = {name: size for name, size in sizes.items() if size != settings[name]}
    return changed if now.n_dev is None else {**changed, "dev_examples": now.n_dev}
