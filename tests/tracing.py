"""Golden traces: a small search from its first request to its winner, in order of events, kept in `unit/traces/`.

A trace holds what the proposer is asked and what it answers, the prompts that come of it and those that do not, every
score and the winner. Requests and prompts (`#3`) are numbered as they come. A request is written down once, and one
that begins as an earlier one does, like the turns of a conversation, from where it goes on. A score is the mean over
the examples named, with the mean margin where the task has labels.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import toy

from localprompt.lm.budget import Budget
from localprompt.lm.metered import MeteredLM
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import Optimizer
from localprompt.search.evaluator import Evaluator
from localprompt.search.observer import Announcer
from localprompt.search.problem import Problem
from localprompt.search.ranking import Standing
from localprompt.tasks import Task
from localprompt.types import Candidate, Discard, Evaluation, Exchange, Generation, Prompt, Sampling, Spend

TRACES = Path(__file__).parent / "unit" / "traces"


def trace(optimizer: Optimizer, given: Task, writes: Callable[[str, int], str], **kind: Any) -> str:
    """Return the trace of a search with a toy's model of some kind, which as the proposer says what `writes` says."""
    journal, budget = TraceJournal(given), Budget()
    task_lm, proposer = toy.model(answer=_answers, **kind), _Proposer(journal, answer=writes, **kind)
    evaluator = Evaluator(task_lm, given, budget)
    lm, announcer = MeteredLM(proposer, budget), Announcer(journal=journal)
    problem = Problem(given, evaluator, lm, rng=random.Random(0), announcer=announcer)
    optimizer.run(problem)
    journal.winner(problem.ranking.winner())
    return "\n".join(journal.lines) + "\n"


def golden(name: str, found: str) -> str:
    """Return the trace that is kept as `name`; with REWRITE_TRACES=1 in the environment that is `found` from now on."""
    path = TRACES / f"{name}.txt"
    if os.environ.get("REWRITE_TRACES"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found, encoding="utf-8")
    return path.read_text(encoding="utf-8")


class TraceJournal:
    """A journal that writes down what it is told for people to read. Prompts and requests get numbers as they come."""

    def __init__(self, given: Task) -> None:
        self.lines: list[str] = []
        self._sizes = Counter({"train": len(given.train), "dev": len(given.dev)})
        self._prompts: dict[str, int] = {}
        self._requests: dict[str, int] = {}

    def spend(self, spend: Spend) -> None:
        """Not written down: it is in the result."""

    def event(self, kind: str, text: str) -> None:
        self.lines += ["", f"{kind.upper()} {text}"]

    def candidates(self, candidates: Sequence[Candidate]) -> None:
        for each in candidates:
            self._prompts[each.prompt.id] = len(self._prompts) + 1
            self.lines.append(f"NEW {self._named(each)}")

    def discards(self, discards: Sequence[Discard]) -> None:
        self.lines += [f"DISCARDED {_quoted(each.text)}: {each.reason}" for each in discards]

    def exchanges(self, exchanges: Sequence[Exchange]) -> None:
        """The proposer tells more: see `asked`."""

    def evaluations(self, kind: str, evaluations: Sequence[Evaluation]) -> None:
        scores = [f"{_score(each)}  {self._short(each.prompt)}" for each in evaluations]
        what = f"SCORED by {kind} on {self._examples(evaluations[0])}:"
        self.lines += [f"{what} {scores[0]}"] if len(scores) == 1 else [what, *(f"  {each}" for each in scores)]

    def asked(self, prompts: Sequence[str], sampling: Sampling, replies: Sequence[Generation]) -> None:
        """Write down each request of a call with its replies."""
        for prompt in dict.fromkeys(prompts):
            own = [reply for text, reply in zip(prompts, replies, strict=True) if text == prompt]
            how = f"({len(own)} {'reply' if len(own) == 1 else 'replies'} at temperature {sampling.temperature:g})"
            self.lines += ["", *self._request(prompt, how)]
            self.lines += [
                f"{'ANSWER' if reply.finish_reason == 'stop' else 'ANSWER, cut off,'} {_quoted(reply.text)}"
                for reply in own
            ]

    def winner(self, standing: Standing) -> None:
        """Write down who won."""
        assert standing.evaluation is not None
        examples, score = self._examples(standing.evaluation), _score(standing.evaluation)
        self.lines += ["", f"WINNER on {examples}: {score}  {self._named(standing.candidate)}"]

    def _request(self, prompt: str, how: str) -> list[str]:
        if prompt in self._requests:
            return [f"ASKED request {self._requests[prompt]} again {how}"]
        begun = max((text for text in self._requests if prompt.startswith(text)), key=len, default="")
        title = f"ASKED request {len(self._requests) + 1} {how}"
        title += f", which is request {self._requests[begun]} and goes on:" if begun else ":"
        self._requests[prompt] = len(self._requests) + 1
        return [title, *(f"| {line}" if line else "|" for line in prompt.removeprefix(begun).split("\n"))]

    def _named(self, candidate: Candidate) -> str:
        parents = " ".join(f"#{self._prompts[each]}" for each in candidate.parents)
        origin = f"{candidate.op} from {parents}" if parents else candidate.op
        return f"{self._short(candidate.prompt)} ({origin})"

    def _short(self, prompt: Prompt) -> str:
        return f"#{self._prompts[prompt.id]} {_quoted(prompt.instruction)}"

    def _examples(self, evaluation: Evaluation) -> str:
        """Return the split and, if not all of it was used, the numbers of the rows in the order of use."""
        ids = [outcome.example_id.partition(":") for outcome in evaluation.outcomes]
        (split,) = {split for split, _, _ in ids}
        if len(ids) == self._sizes[split]:
            return f"all {len(ids)} of {split}"
        return f"{split} {' '.join(number for _, _, number in ids)}"


class _Proposer(ScriptedLM):
    """The toy's model in the role of the proposer, whose journal hears of every call."""

    def __init__(self, journal: TraceJournal, **kind: Any) -> None:
        super().__init__(**kind)
        self._journal = journal

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        replies = super().generate(prompts, sampling, seeds)
        self._journal.asked(prompts, sampling, replies)
        return replies


def _answers(prompt: str, seed: int) -> str:
    return f" {toy.solved(prompt) or 'no idea'}"


def _score(evaluation: Evaluation) -> str:
    """Return the mean and, where the task has labels, the mean margin that decides between equal means."""
    margins = [outcome.margin for outcome in evaluation.outcomes if outcome.margin is not None]
    return f"{evaluation.mean:.2f}" + (f", margin {sum(margins) / len(margins):+.2f}" if margins else "")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
