"""Prompts on examples: the only way to a score. Level 3.

Prompts that are compared are scored on the same examples in one model call, so the comparison is paired and the model
computes what their requests share once. A (prompt, example) is never evaluated twice by one `Evaluator`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from localprompt.budget import Budget
from localprompt.errors import ContextOverflow
from localprompt.lm.base import LanguageModel
from localprompt.lm.metered import MeteredLM
from localprompt.tasks import Task
from localprompt.types import Evaluation, Example, Loglikelihood, Outcome, Prompt

Norm = Literal["token", "sequence"]

CONTENT_FREE = ("N/A", "", "[MASK]")
"""Inputs that say nothing: what a label gets on them is the prompt's prejudice (contextual calibration, Zhao 2021)."""

_Cell = tuple[Prompt, Example]
_Measure = Callable[[Sequence[_Cell]], list[Outcome]]


class Evaluator:
    """Scores prompts on examples with one model, charged to one budget.

    Holds how the task asks and judges, not its data: nothing reachable from here leads to the test split.
    """

    def __init__(self, lm: LanguageModel, task: Task, budget: Budget) -> None:
        self._lm = MeteredLM(lm, budget)
        self._layout = task.layout
        self._inputs = task.inputs
        self._labels = task.labels
        self._label_score = task.label_score
        self._answer = task.answer
        self._metric = task.metric
        self._sampling = task.sampling
        self._memory: dict[tuple[str, str, str], Outcome] = {}
        self._prejudice: dict[str, tuple[float, ...]] = {}
        """Prompt id to the log of each label's probability on content-free inputs, in the order of the labels."""

    def check_fit(self, prompt: Prompt, examples: Sequence[Example], *, room: int = 0) -> None:
        """Make sure that every example fits the context with `prompt`, its answer, and `room` further tokens.

        The answer is as long as it may get: the completion, or the longest label. Tokenises and computes nothing else,
        so the budget is not charged.

        Raises:
            ContextOverflow: naming the first example that does not fit.
        """
        answer = self._layout.separator + max(self._labels, key=len) if self._labels else ""
        n_new = 0 if self._labels else self._sampling.max_tokens
        texts = [self._context(prompt, example.inputs) + answer for example in examples]
        for example, n in zip(examples, self._lm.lm.count_tokens(texts), strict=True):
            if n + n_new + room > self._lm.lm.n_ctx:
                parts = f"{n} tokens with its {'longest label' if answer else 'prompt'}"
                parts += f" and {n_new} to generate" if n_new else ""
                parts += f", {room} are kept for a longer prompt" if room else ""
                raise ContextOverflow(
                    f"the example {example.id} has {parts}, the context has {self._lm.lm.n_ctx}",
                    "shorten it, drop the row, or raise n_ctx with --engine n_ctx=...",
                )

    def evaluate(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        """Return the task's metric, an evaluation a prompt, outcomes in the order of `examples`.

        Tasks with labels: the label with the highest normalised log-likelihood is the prediction, the margin is
        nats between the best right and the best wrong label. Other tasks: the completion is parsed and judged.

        Raises:
            BudgetExhausted: before anything is computed.
            ContextOverflow: naming the request, before anything is computed.
            ValueError: if there are no examples.
        """
        return self._evaluate("metric", prompts, examples, self._choose_labels if self._labels else self._generate)

    def likelihood(self, prompts: Sequence[Prompt], examples: Sequence[Example], *, norm: Norm) -> list[Evaluation]:
        """Return how probable the right answers are, APE's other score: nats, at most 0, prediction None.

        The target of an example is its preferred one, the first: the best over all targets would favour examples
        with many of them. `norm` is the mean over the target's tokens (the official code) or their sum (the paper).

        Raises:
            BudgetExhausted, ContextOverflow, ValueError: as `evaluate`.
        """

        def measure(cells: Sequence[_Cell]) -> list[Outcome]:
            pairs = [(self._context(prompt, ex.inputs), self._layout.separator + ex.targets[0]) for prompt, ex in cells]
            answers = self._lm.loglikelihood(pairs, calls=len(cells))
            return [
                Outcome(ex.id, None, each.logprob if norm == "sequence" else each.logprob / max(1, each.n_tokens))
                for (_, ex), each in zip(cells, answers, strict=True)
            ]

        return self._evaluate(f"likelihood {norm}", prompts, examples, measure)

    def _evaluate(
        self, kind: str, prompts: Sequence[Prompt], examples: Sequence[Example], measure: _Measure
    ) -> list[Evaluation]:
        if not examples:
            raise ValueError("an evaluation needs at least one example")
        wanted = {(kind, prompt.id, example.id): (prompt, example) for prompt in prompts for example in examples}
        missing = [key for key in wanted if key not in self._memory]
        if missing:
            outcomes = measure([wanted[key] for key in missing])
            self._memory.update(zip(missing, outcomes, strict=True))
        return [
            Evaluation(prompt, tuple(self._memory[kind, prompt.id, example.id] for example in examples))
            for prompt in prompts
        ]

    def _context(self, prompt: Prompt, inputs: Mapping[str, str]) -> str:
        rendering = self._layout.render(prompt, inputs)
        return self._lm.lm.chat(rendering.messages, rendering.opening) if rendering.messages else rendering.text

    def _generate(self, cells: Sequence[_Cell]) -> list[Outcome]:
        contexts = [self._context(prompt, example.inputs) for prompt, example in cells]
        # Answers are judged greedily unless the task says otherwise, so the seed rarely matters; it is constant because
        # an answer must not depend on which other prompts are asked.
        completions = self._lm.generate(contexts, self._sampling, [0] * len(contexts))
        return [
            self._judge(example, self._answer(completion.text))
            for (_, example), completion in zip(cells, completions, strict=True)
        ]

    def _judge(self, example: Example, prediction: str | None, margin: float | None = None) -> Outcome:
        score = 0.0 if prediction is None else self._metric(prediction, example.targets)
        return Outcome(example.id, prediction, score, margin)

    def _choose_labels(self, cells: Sequence[_Cell]) -> list[Outcome]:
        if self._label_score == "calibrated":
            self._measure_prejudice([prompt for prompt, _ in cells])
        contexts = [self._context(prompt, example.inputs) for prompt, example in cells]
        table = self._label_logprobs(contexts, calls=len(cells))
        return [self._choose(prompt, example, row) for (prompt, example), row in zip(cells, table, strict=True)]

    def _label_logprobs(self, contexts: Sequence[str], *, calls: int) -> list[list[Loglikelihood]]:
        """Return a row a context, in the order of the labels."""
        continuations = [self._layout.separator + label for label in self._labels]
        pairs = [(context, continuation) for context in contexts for continuation in continuations]
        answers = self._lm.loglikelihood(pairs, calls=calls)
        n = len(continuations)
        return [answers[start : start + n] for start in range(0, len(answers), n)]

    def _choose(self, prompt: Prompt, example: Example, row: Sequence[Loglikelihood]) -> Outcome:
        scores = [self._normalised(prompt, i, each) for i, each in enumerate(row)]
        right = [score for score, label in zip(scores, self._labels, strict=True) if label in example.targets]
        wrong = [score for score, label in zip(scores, self._labels, strict=True) if label not in example.targets]
        margin = max(right) - max(wrong) if right and wrong else None
        return self._judge(example, self._labels[scores.index(max(scores))], margin)

    def _normalised(self, prompt: Prompt, index: int, each: Loglikelihood) -> float:
        if self._label_score == "token":
            return each.logprob / max(1, each.n_tokens)
        if self._label_score == "byte":
            return each.logprob / len(self._labels[index].encode())
        if self._label_score == "calibrated":
            return each.logprob - self._prejudice[prompt.id][index]
        return each.logprob

    def _measure_prejudice(self, prompts: Sequence[Prompt]) -> None:
        """Learn what each new prompt gives the labels on inputs that say nothing.

        As Zhao et al. 2021: over the labels normalised to 1, then the mean over the content-free inputs.
        """
        new = {prompt.id: prompt for prompt in prompts if prompt.id not in self._prejudice}
        if not new:
            return
        contexts = [
            self._context(prompt, dict.fromkeys(self._inputs, blank))
            for prompt in new.values()
            for blank in CONTENT_FREE
        ]
        table = self._label_logprobs(contexts, calls=len(contexts))
        n = len(CONTENT_FREE)
        for i, prompt_id in enumerate(new):
            rows = [_log_normalised([each.logprob for each in row]) for row in table[i * n : (i + 1) * n]]
            self._prejudice[prompt_id] = tuple(_log_sum_exp(column) - math.log(n) for column in zip(*rows, strict=True))


def _log_normalised(logprobs: Sequence[float]) -> list[float]:
    total = _log_sum_exp(logprobs)
    return [logprob - total for logprob in logprobs]


def _log_sum_exp(logprobs: Sequence[float]) -> float:
    top = max(logprobs)
    return top + math.log(math.fsum(math.exp(logprob - top) for logprob in logprobs))
