"""What a search will cost, before anything is spent. Level 7.

The method itself runs, with a stand-in for the model that makes up its answers and counts tokens. So every method,
shipped or a user's, has an estimate without a line of its own, and the budget ends the estimate where it ends the run.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import platformdirs

from localprompt.engine.cachefile import write_atomic
from localprompt.engine.tuning import length_of, probe_length
from localprompt.errors import BudgetExhausted, ContextOverflow
from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.deadline import AT_ONCE, Rates
from localprompt.lm.metered import MeteredLM
from localprompt.lm.simulated import PROPOSAL_WORDS, SimulatedLM
from localprompt.lm.speed import drawing_rate
from localprompt.run.models import Models
from localprompt.run.spec import RunSpec
from localprompt.search.evidence import MOST_OTHERS, on_unseen_rows
from localprompt.search.filtering import spend_remaining
from localprompt.search.problem import Problem
from localprompt.store.plain import PlainRecord, read
from localprompt.tasks import Task

_logger = logging.getLogger("localprompt")

_DRAWN, _DRAWN_ALONE = 12, 16
"""Most tokens drawn for each of many completions, and for one by itself."""
_FASTER = 1.25
_FEW_DEV = 16
"""Of fewer dev examples one is always answered wrong: made-up answers to all of them may be right, and end a search."""
_WORDS = (PROPOSAL_WORDS, PROPOSAL_WORDS // 2, 2 * PROPOSAL_WORDS)
"""Lengths of proposals that are tried where the budget ends a search: instructions of 8 to 32 words are usual."""


@dataclass(frozen=True, slots=True)
class Estimate(PlainRecord):
    """What a search is expected to cost, and apart from it the final evaluation: noise, choice and test."""

    proposals: int
    """Texts that the proposer is asked for."""
    evaluations: int
    """Model calls for scores, one per (prompt, example)."""
    tokens_requested: int
    tokens_computed: int = field(metadata={"key": "tokens_decoded"})
    """Each distinct prefix of a call once, and what is drawn."""
    seconds: float | None
    """None where the rates of the model are not known."""
    final_calls: int = field(default=0, metadata={"key": "proof_calls"})
    """Model calls of the final evaluation: three prompts again on dev, contenders on unseen train, two on test."""
    final_tokens_requested: int = field(default=0, metadata={"key": "proof_tokens_requested"})
    final_tokens_computed: int = 0
    final_seconds: float | None = field(default=None, metadata={"key": "proof_seconds"})
    sizes: Mapping[str, int] = field(default_factory=dict)
    """What the budget made of the method's settings, and `dev_examples` where the search sees fewer than there are."""
    tokens_least: int | None = None
    """Of the search, by how long the texts are that it writes: a limit may end it a step earlier or later for it. None
    where no limit is expected to end it."""
    tokens_most: int | None = None
    """The same; `tokens_computed` is not outside of these."""


@runtime_checkable
class _Measurable(Protocol):
    def prefill_rate(self, n_tokens: int = 512) -> float: ...


def estimate(
    spec: RunSpec, models: Models, rates: Mapping[str, Rates] = MappingProxyType({}), n_answer: float | None = None
) -> Estimate:
    """Return what a search will cost; only tokenisers are asked, nothing is computed.

    Half of the made-up answers are right, whatever the prompt, but never all on dev: a search that ends early because
    it found a perfect prompt, or goes on because it keeps getting better, costs less or more. No proposal is discarded.
    Of a method that only the budget ends a part is rehearsed, and the rest costs as much in proportion; of a search
    that minutes end, the part for which there is time. Where a limit on tokens or calls ends the search, a few tokens
    decide whether its last step still fits, so it is rehearsed with longer and with shorter proposals too.

    Args:
        spec: the search; its minutes are those without the final evaluation.
        models: of it.
        rates: of the models, by fingerprint; the task LM's stand for a proposer without.
        n_answer: mean tokens of an answer; by default those of a target.
    """
    usual = rehearse(spec, models, rates, n_answer)
    with_final = usual.with_final(spec, rates.get(models.lm.facts.fingerprint))
    if not usual.is_ended:
        return with_final
    others = [rehearse(spec, models, rates, n_answer, words).cost for words in _WORDS[1:]]
    tokens = [each.tokens_computed for each in (usual.cost, *others)]
    return replace(with_final, tokens_least=min(tokens), tokens_most=max(tokens))


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A search whose answers were made up."""

    cost: Estimate
    """Of the search alone."""
    is_ended: bool
    """Whether its budget ended it."""
    problem: Problem
    """As the search left it."""
    task: Task
    lm: SimulatedLM
    """Answers the task."""

    def with_final(self, spec: RunSpec, of_lm: Rates | None) -> Estimate:
        """Return what the search costs together with its final evaluation, which is rehearsed now."""
        lm, budget, ranking = self.lm, Budget(), self.problem.ranking
        before = (lm.prefilled, lm.generated, lm.decodes)
        found = [ranking.winner(), ranking.best_seed(), *ranking.finalists()]
        prompts = list({each.candidate.prompt.id: each.candidate.prompt for each in found}.values())[:3]
        evaluator = spec.evaluator(lm, budget, self.task)
        evaluator.evaluate(prompts, self.task.dev)
        contenders = ranking.finalists()[: 1 + MOST_OTHERS]  # as if all were close
        on_unseen_rows(self.problem, evaluator, contenders, evaluator.evaluate)
        if self.task.test:
            evaluator.evaluate([*prompts[:2], *spec.tested_too], self.task.test)
        work = [now - then for now, then in zip((lm.prefilled, lm.generated, lm.decodes), before, strict=True)]
        return replace(
            self.cost,
            final_calls=budget.spend.calls,
            final_tokens_requested=budget.spend.tokens_requested,
            final_tokens_computed=budget.spend.tokens_computed,
            final_seconds=None if of_lm is None else of_lm.seconds(*work),
        )


def rehearse(
    spec: RunSpec, models: Models, rates: Mapping[str, Rates], n_answer: float | None, n_words: int = _WORDS[0]
) -> Rehearsal:
    """Return a search with proposals of so many words; the rest as `estimate`."""
    task, lm, seed, limits = spec.placed, models.lm, spec.seed, spec.limits
    lengths = lm.count_tokens([example.targets[0] for example in (*task.train, *task.dev)])
    coin, hard = random.Random(seed), task.dev[0].targets if len(task.dev) < _FEW_DEV else None
    # Made-up text holds no number or label that could be extracted: without an answer none would be right.
    simulated_task = replace(
        task, answer=lambda text: text, metric=lambda _, targets: float(coin.getrandbits(1) and targets is not hard)
    )
    length = n_answer or sum(lengths) / len(lengths)
    answering = SimulatedLM(lm, task.sampling, length, seed, n_words)
    other = models.other
    writing = answering if other is None else SimulatedLM(other, task.sampling, length, seed + 1, n_words)
    budget = limits.without_minutes().budget()
    evaluator = spec.evaluator(answering, budget, simulated_task)
    proposer = MeteredLM(writing, budget)
    problem = Problem(simulated_task, evaluator, proposer, rng=random.Random(seed), warm=spec.warm)
    problem.is_rehearsal = True
    part, is_ended = None, False
    try:
        spec.optimizer.run(problem)
        part = getattr(spec.optimizer, "REHEARSED", None)
    except BudgetExhausted:
        is_ended = True
        with suppress(BudgetExhausted):
            spend_remaining(problem)
    except ContextOverflow:  # ends a run too, once it has found something
        if len(problem.ranking.candidates) == len(problem.seeds):
            raise
    simulated = {id(model): model for model in (answering, writing)}.values()
    of_lm = rates.get(lm.facts.fingerprint)
    of_both = [(answering, of_lm), (writing, rates.get(writing.facts.fingerprint, of_lm))][: len(simulated)]
    took = math.fsum(known.seconds(m.prefilled, m.generated, m.decodes) for m, known in of_both if known)
    proposals = sum(model.proposals for model in simulated)
    prefilled, generated = sum(m.prefilled for m in simulated), sum(m.generated for m in simulated)
    spend = budget.spend
    used = (spend.tokens_computed, limits.max_tokens), (spend.calls, limits.max_calls), (took / 60, limits.max_minutes)
    share = min((limit / amount for amount, limit in used if amount and limit), default=1 / part[0] if part else 1.0)
    times = share if part else min(share, 1.0)  # minutes, which no budget of a rehearsal holds, may end any method
    cost = Estimate(
        proposals=int(times * proposals),
        evaluations=int(times * (spend.calls - proposals)),
        tokens_requested=int(times * spend.tokens_requested),
        tokens_computed=int(times * (prefilled + generated)),
        seconds=None if of_lm is None else times * took,
    )
    return Rehearsal(cost, is_ended, problem, simulated_task, answering)


def measured_rates(lm: LanguageModel) -> Rates | None:
    """Return how fast the model is here at its best, measured in seconds and remembered; None for no local model.

    Measured twice, since a machine that is busy for a moment looks slow, and later again where a short probe is faster
    than what is remembered by more than chance. A machine that is always busy takes longer than these rates say. What
    is measured is logged at level INFO to the logger `localprompt`.
    """
    if not isinstance(lm, _Measurable):
        return None
    memory = Path(platformdirs.user_cache_dir("localprompt")) / "rates.json"
    known = _read(memory)
    before = known.get(lm.facts.fingerprint)
    if before is not None and lm.prefill_rate(length_of(before.prefill, 1.0)) <= _FASTER * before.prefill:
        return before
    _logger.info("%s: measuring its prompt and generation speed on this machine", lm.facts.name)
    n_tokens = probe_length(lm.prefill_rate)
    n_each, n_alone = min(_DRAWN, max(2, n_tokens // AT_ONCE)), min(_DRAWN_ALONE, max(4, n_tokens // 8))
    tries = [
        (lm.prefill_rate(n_tokens), drawing_rate(lm, AT_ONCE, n_each), drawing_rate(lm, 1, n_alone)) for _ in range(2)
    ]
    tries += [(before.prefill, before.generation, before.single or 0.0)] if before else []
    best = Rates(*map(max, zip(*tries, strict=True)))
    known[lm.facts.fingerprint] = best
    write_atomic(memory, json.dumps({name: astuple(rates) for name, rates in known.items()}, indent=1))
    return best


def _read(memory: Path) -> dict[str, Rates]:
    """Return what is remembered; nothing where the file cannot be read."""
    try:
        known = read(Mapping[str, tuple[float, ...]], json.loads(memory.read_text()))
    except (OSError, ValueError):  # missing or damaged: it is only a memory of measurements
        return {}
    return {name: Rates(*rates) for name, rates in known.items() if len(rates) == 3 and min(rates) > 0}
