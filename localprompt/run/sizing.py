"""A search sized to its budget: how much a method does, and on how many dev examples. Level 7.

A budget that ends a search wherever it happens to be leaves prompts that are known on two examples. So the method is
rehearsed, as for an estimate, from small to large, and takes the largest size that fits. Dev is cut to as many examples
as let the budget measure some twenty prompts on all of them. What the user or the preset of a paper fixes stays.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from localprompt.lm.base import LanguageModel, unique_tokens
from localprompt.lm.budget import Budget
from localprompt.lm.cached import CachedLM, MemoryAnswers
from localprompt.lm.deadline import UNKNOWN_RATES, Deadline, Rates
from localprompt.optimizers.manual import Manual
from localprompt.optimizers.registry import Optimizer, scaled
from localprompt.run.estimate import Estimate, estimate, measured_rates, rehearse
from localprompt.run.final import final_work
from localprompt.run.prepare import Prepared
from localprompt.run.spec import Limits, RunSpec
from localprompt.search.evaluator import Evaluator
from localprompt.search.observer import Observer
from localprompt.types import Demo, Prompt, Sampling

SHARES = (0.015, 0.03, 0.06, 0.09, 0.13, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Of what a method spends by default, smallest first."""
_AHEAD = 4
"""Shares by which a single setting may be ahead of the others, where all of them together do not fit the next share."""
_FILLED = 0.9
"""Share of the budget that is filled so: what a text may take is reserved before it is written, and is mostly less."""
MEASURED = 20
"""Prompts on all of dev that a budget should allow."""
LEAST_DEV = 24
_TRIED, _TRIED_TOKENS = 8, 512
"""Dev examples that tell how long answers are, and how fast a foreign model is; fewer where their answers could have
more tokens than this together."""
_ANY_INSTRUCTION = "Write the output that belongs to the input."
"""Asked with where the seed says nothing: what a model makes of no instruction is unlike what a search reads."""
_SHOTS = 2
"""Worked examples of the second prompt that is tried: with some answers are shorter, and a search reads both kinds."""
_WRITTEN = 16
"""Most tokens that tell how fast a foreign proposer is."""
_FINAL_SHARE = 0.35
"""Most of the minutes that is reserved for noise and test."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What is known of how long things take."""

    rates: Mapping[str, Rates]
    """By model's fingerprint."""
    n_answer: float | None = None
    """Mean tokens of an answer; None where that was not tried."""


def learn_speed(ready: Prepared, deadline: Deadline | None = None) -> Speed:
    """Return how fast the models are on this machine; rates that are not known are measured first.

    Where answers are completions of a local model, a few dev examples are answered with the first seed, with and
    without worked examples: answers can be many times as long as the targets. With a deadline a foreign model answers
    them too, and the deadline learns all that, and what the final evaluation needs.

    Raises:
        ModelError: if a model cannot be run.
    """
    lm, other = ready.models.lm, ready.models.other
    asked = [lm] if deadline is None or other is None else [lm, other]
    rates = {each.facts.fingerprint: found for each in asked if (found := measured_rates(each)) is not None}
    is_local = lm.facts.fingerprint in rates
    if deadline is not None and other is not None and other.facts.fingerprint not in rates:
        rates[other.facts.fingerprint] = _rates_of_writing(other)
    generates = not ready.spec.placed.labels
    n_answer = None
    if (is_local and generates) or (deadline is not None and not is_local):
        n_drawn, found = _tried(ready)
        rates.setdefault(lm.facts.fingerprint, found)
        n_answer = n_drawn if generates else None
    if deadline is not None:
        task = ready.spec.placed
        deadline.expect(rates, {} if n_answer is None else {task.sampling.max_tokens: n_answer})
        deadline.reserve(final_work(ready.spec.evaluator(lm, Budget()), task, len(ready.spec.tested_too)), _FINAL_SHARE)
    return Speed(rates, n_answer)


def _tried(ready: Prepared) -> tuple[float, Rates]:
    """Return how many tokens the task LM draws on average for an answer to a dev example, and how fast that was."""
    lm, task, budget = ready.models.lm, ready.spec.placed, Budget()
    evaluator = Evaluator(CachedLM(lm, MemoryAnswers()), task, budget)
    prompts = [task.seeds[0] if task.seeds[0].instruction else Prompt(_ANY_INSTRUCTION)]
    n_prompts = 2 if evaluator.generates and task.layout.has_demos and task.train else 1
    most = n_prompts * task.sampling.max_tokens if evaluator.generates else 1
    examples = task.dev[: max(1, min(_TRIED, _TRIED_TOKENS // most))]
    if n_prompts == 2:
        shown = replace(prompts[0], demos=tuple(Demo(each.inputs, each.targets[0]) for each in task.train[:_SHOTS]))
        prompts += [shown] if all(evaluator.fits(shown, example) for example in examples) else []
    began = time.monotonic()
    evaluator.evaluate(prompts, examples)
    seconds, computed = time.monotonic() - began, budget.spend.tokens_computed
    drawn = computed - evaluator.work(prompts, examples).read
    return drawn / (len(prompts) * len(examples)), _rates(computed, seconds)


def _rates_of_writing(lm: LanguageModel) -> Rates:
    """Return how fast a foreign proposer writes a few tokens."""
    texts, began = ["Once upon a time"], time.monotonic()
    (written,) = lm.generate(texts, Sampling(max_tokens=_WRITTEN, temperature=1.0), [0])
    return _rates(unique_tokens(lm, texts) + written.n_tokens, time.monotonic() - began)


def _rates(n_tokens: int, seconds: float) -> Rates:
    rate = n_tokens / max(seconds, 1e-6)
    return Rates(rate, rate)


def sized(ready: Prepared, speed: Speed, deadline: Deadline | None = None) -> tuple[Prepared, Estimate]:
    """Return the search in the largest size that fits its limits, as it is where it has none, and what it will cost.

    Only tokenisers are asked. Tokens and calls are those of the search; minutes hold the final evaluation too.
    """
    spec, limits, fixed = ready.spec, ready.spec.limits, ready.spec.fixed
    seconds = None if deadline is None else max(deadline.left_for_search, 1e-6)
    known = (ready.models, speed.rates, speed.n_answer)

    def expected(spec: RunSpec) -> Estimate:
        of_search = limits if seconds is None else replace(limits, max_minutes=seconds / 60)
        return estimate(replace(spec, limits=of_search), *known)

    if fixed is None or (seconds, limits.max_tokens, limits.max_calls) == (None, None, None):
        return ready, expected(spec)

    def share_of(cost: Estimate) -> float:
        """Return which share of the budget a search takes, by the limit that is nearest."""
        used = [(cost.tokens_computed, limits.max_tokens), (cost.evaluations + cost.proposals, limits.max_calls)]
        took = cost.seconds if cost.seconds is not None else cost.tokens_computed / UNKNOWN_RATES.prefill
        return max(amount / limit for amount, limit in (*used, (took, seconds)) if limit is not None)

    free = replace(spec, limits=Limits())
    measured = rehearse(replace(free, optimizer=Manual()), *known)
    of_one = share_of(measured.cost) / len(measured.problem.seeds)
    n_dev = max(LEAST_DEV, int(len(spec.task.dev) / (MEASURED * of_one)))
    free = replace(free, n_dev=n_dev if n_dev < len(spec.task.dev) else None)

    def grown(best: Optimizer, larger: Sequence[Optimizer], most: float) -> Optimizer:
        """Return the last of the larger ones, in their order, that fits with all before it."""
        for optimizer in larger:
            if optimizer != best and share_of(rehearse(replace(free, optimizer=optimizer), *known).cost) > most:
                break
            best = optimizer
        return best

    sizes = [scaled(spec.optimizer, share, fixed) for share in SHARES]
    without, of_limit = getattr(spec.optimizer, "REHEARSED", (1, 1))
    best = grown(sizes[0], sizes, of_limit / without)
    reached = len(sizes) - sizes[::-1].index(best)
    for name in getattr(best, "SCALES", ()):
        ahead = [replace(best, **{name: getattr(each, name)}) for each in sizes[reached:][:_AHEAD]]
        best = grown(best, ahead, _FILLED * of_limit / without)
    spec = replace(free, optimizer=best, limits=limits)
    cost = expected(spec)
    if cost.proposals == 0 and len(spec.placed.dev) > LEAST_DEV and not isinstance(best, Manual):
        spec = replace(spec, n_dev=LEAST_DEV)
        cost = expected(spec)
    return replace(ready, spec=spec), cost


def planned(ready: Prepared, observer: Observer, deadline: Deadline | None = None) -> tuple[Prepared, Estimate]:
    """Return a search sized to its limits, and what it will cost on this machine.

    Raises:
        ModelError: if a model cannot be run.
    """
    observer.stage("estimating what the search will cost")
    speed = learn_speed(ready, deadline)
    size, cost = sized(ready, speed, deadline)
    limits = size.spec.limits
    given = (("tokens", limits.max_tokens), ("calls", limits.max_calls), ("minutes", limits.max_minutes))
    told = ", ".join(f"{limit:,} {what}" for what, limit in given if limit is not None)
    if told and cost.proposals == 0 and not isinstance(size.spec.optimizer, Manual):
        whole = estimate(replace(size.spec, limits=Limits()), size.models, speed.rates, speed.n_answer)
        takes = f"{whole.tokens_computed:,} tokens and {whole.evaluations + whole.proposals:,} calls" + (
            f" in {(whole.seconds + (whole.final_seconds or 0.0)) / 60:.1f} minutes" if whole.seconds else ""
        )
        problem = f"{size.spec.method} is not expected to write a single prompt within {told}"
        observer.note(f"{problem}: in this size it takes about {takes}")
    return size, replace(cost, sizes=_changes(ready.spec, size.spec))


def _changes(before: RunSpec, now: RunSpec) -> dict[str, int]:
    """Return what the budget made of a search."""
    settings, sizes = asdict(before.optimizer), asdict(now.optimizer)
    changed = {name: size for name, size in sizes.items() if size != settings[name]}
    return changed if now.n_dev is None else {**changed, "dev_examples": now.n_dev}
