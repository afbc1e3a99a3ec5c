"""Prompts on examples: the only way to a score. Level 5.

Prompts that are compared are scored on the same examples in one model call, so the comparison is paired and the model
computes what their requests share once. A (prompt, example) is never evaluated twice by one `Evaluator`.

A (prompt, example) that the model cannot be asked, because the request kills the engine or is longer than the context,
has an outcome like every other: failed, and as bad as a score can be.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from localprompt.errors import ContextOverflow, TaskError, Unscored
from localprompt.lm.base import LanguageModel, tokens_behind
from localprompt.lm.budget import Budget
from localprompt.lm.deadline import Work
from localprompt.lm.metered import MeteredLM
from localprompt.tasks import Task
from localprompt.tasks.copies import inputs_of
from localprompt.types import Evaluation, Example, Loglikelihood, Outcome, Prompt

Norm = Literal["token", "sequence"]

CONTENT_FREE = ("N/A", "", "[MASK]")
"""Inputs that say nothing: a label has its prior on them (contextual calibration, Zhao 2021)."""
BATCH = 16
"""Rows on which a label has its prior in batch calibration; more where each label has equally many. Of AG News
with six small models 16 rows gained between seven tenths and all of what 48 did (benchmarks/LOG.md)."""

UNLIKELY = -100.0
"""Nats per token for a target that the model could not be asked about; no real target is as improbable."""
TOKENS_BESIDE_BYTES = 2
"""No token is shorter than a byte, but a tokeniser may put a token for the beginning and one for a space first."""

_Cell = tuple[Prompt, Example, str]
"""The last one is the text that the model is shown."""
_Measure = Callable[[Sequence[_Cell]], list[Outcome]]


@dataclass(frozen=True, slots=True)
class LabelLikelihoods:
    """How probable the labels of a task are after one prompt and example, in the order of the labels."""

    logprobs: tuple[float, ...]
    """Nats of what is compared of the label as text."""
    n_tokens: tuple[int, ...]
    scores: tuple[float, ...]
    """What the labels are compared by: nats, normalised as the task has it."""


class Evaluator:
    """Scores prompts on examples with one model, charged to one budget.

    Holds how the task asks and judges; of its data, for batch calibration, train and dev: nothing reachable from here
    leads to the test split.

    Args:
        lm: the task LM.
        task: how it asks and judges.
        budget: charged for everything that is asked.
        seed: of the completions, where they are not greedy; constant, because an answer must not depend on which other
            prompts are asked.
    """

    def __init__(self, lm: LanguageModel, task: Task, budget: Budget, *, seed: int = 0) -> None:
        self._lm = MeteredLM(lm, budget)
        self._layout = task.layout
        self._inputs = task.inputs
        self._labels = task.labels
        self._endings = [task.layout.separator + each for each in task.compared]
        self._label_score = task.label_score
        self._is_calibrated = task.is_calibrated
        self._pool = (*task.train, *task.dev) if task.label_score == "batch" else ()
        self._answer = task.answer
        self._metric = task.metric
        self._sampling = task.sampling
        self._seed = seed
        self._memory: dict[tuple[str, str, str], Outcome] = {}
        self._label_prior: dict[str, tuple[float, ...]] = {}
        """Prompt id to the log of each label's probability whatever the input, in the order of the labels."""
        self._likelihoods: dict[tuple[str, str], LabelLikelihoods] = {}
        """By prompt id and example id."""
        self._too_long = set[tuple[str, str]]()
        """(prompt id, example id) that do not fit the context."""

    def check_fit(self, prompt: Prompt, examples: Sequence[Example], *, room: int = 0) -> None:
        """Make sure that every example fits the context with `prompt`, its answer, and `room` further tokens.

        The answer is as long as it may get: the completion, or the longest label. Tokenises and computes nothing else,
        so the budget is not charged.

        Raises:
            ContextOverflow: naming the first example that does not fit.
        """
        answer, n_new = self._longest_label, self._n_new
        texts = [self._context(prompt, example.inputs) + answer for example in examples]
        for example, n in zip(examples, self._lm.lm.count_tokens(texts), strict=True):
            if n + n_new + room > self._lm.lm.facts.n_ctx:
                parts = f"{n} tokens with its {'longest label' if answer else 'prompt'}"
                parts += f" and {n_new} to generate" if n_new else ""
                parts += f", and {room} are reserved for a longer prompt" if room else ""
                raise ContextOverflow(
                    f"the example {example.id} has {parts}, but the context has {self._lm.lm.facts.n_ctx}",
                    "shorten it, drop the row, or raise n_ctx with --engine n_ctx=...",
                )

    def fits(self, prompt: Prompt, example: Example) -> bool:
        """Return whether an example fits the context with `prompt` and its answer."""
        return not any(self._overlong("metric", [(prompt, example, self._context(prompt, example.inputs))]))

    def work(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> Work:
        """Return what evaluating prompts on examples in one call computes where nothing of it is known.

        Tokenises and computes nothing else, so the budget is not charged. Labels count what `tokens_behind` says.
        """
        contexts = [self._context(prompt, example.inputs) for prompt in prompts for example in examples]
        contexts += [self._context(prompt, inputs) for prompt in prompts for inputs in self.calibrating(prompt)]
        pairs = [(context, ending) for context in contexts for ending in self._endings or [""]]
        read = tokens_behind(self._lm.lm, pairs)[1]
        return Work(self._lm.lm.facts.fingerprint, read, len(contexts) if self._n_new else 0, self._n_new)

    def lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return how many tokens the model reads of each prompt for an empty input; not charged to the budget."""
        return self._lm.lm.count_tokens([self._context(prompt, dict.fromkeys(self._inputs, "")) for prompt in prompts])

    def overflowed(self, evaluation: Evaluation) -> bool:
        """Return whether some outcome has failed because the prompt is too long for the context with its example."""
        return any((evaluation.prompt.id, outcome.example_id) in self._too_long for outcome in evaluation.outcomes)

    def evaluate(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[Evaluation]:
        """Return the task's metric, one evaluation per prompt, outcomes in the order of `examples`.

        Tasks with labels: the label with the highest normalised log-likelihood is the prediction, the margin is
        nats between the best right and the best wrong label. Other tasks: the completion is parsed and judged.

        Raises:
            BudgetExhausted: before anything is computed.
            TaskError: if a score of the metric lies outside [0, 1].
            ValueError: if there are no examples.
        """
        return self._evaluate("metric", prompts, examples, self._choose_labels if self._labels else self._generate)

    def label_likelihoods(self, prompt: Prompt, example: Example) -> LabelLikelihoods | None:
        """Return how probable the labels were when the prompt was evaluated on the example; None where that failed."""
        return self._likelihoods.get((prompt.id, example.id))

    def likelihood(self, prompts: Sequence[Prompt], examples: Sequence[Example], *, norm: Norm) -> list[Evaluation]:
        """Return how probable the right answers are, APE's other score: nats, at most 0, prediction None.

        The target of an example is its preferred one, the first: the best over all targets would favour examples
        with many of them. `norm` is the mean over the target's tokens (the official code) or their sum (the paper).

        Raises:
            Unscored: if the model tells no likelihoods, of a chat's answers if these are asked in one.
            BudgetExhausted, ValueError: as `evaluate`.
        """
        kind, facts = f"likelihood {norm}", self._lm.lm.facts
        if not facts.can_score or (self._layout.mode == "chat" and not facts.can_score_chats):
            problem = f"{facts.name} does not tell how likely an answer is, which a setting of the method compares"
            raise Unscored(problem, "let the metric decide: scoring=exec, mode=forward (ape), scorer=exec (protegi)")

        def measure(cells: Sequence[_Cell]) -> list[Outcome]:
            pairs = [(context, self._layout.separator + ex.targets[0]) for _, ex, context in cells]
            answers = self._lm.loglikelihood(pairs, calls=len(cells))
            return [
                self._failure(kind, ex)
                if each.failed
                else Outcome(ex.id, None, each.logprob if norm == "sequence" else each.logprob / max(1, each.n_tokens))
                for (_, ex, _), each in zip(cells, answers, strict=True)
            ]

        return self._evaluate(kind, prompts, examples, measure)

    def _evaluate(
        self, kind: str, prompts: Sequence[Prompt], examples: Sequence[Example], measure: _Measure
    ) -> list[Evaluation]:
        if not examples:
            raise ValueError("an evaluation needs at least one example")
        wanted = {(kind, prompt.id, example.id): (prompt, example) for prompt in prompts for example in examples}
        missing = [key for key in wanted if key not in self._memory]
        if missing:
            cells = [(prompt, ex, self._context(prompt, ex.inputs)) for prompt, ex in map(wanted.__getitem__, missing)]
            overlong = self._overlong(kind, cells)
            over = [(prompt.id, ex.id) for (prompt, ex, _), is_over in zip(cells, overlong, strict=True) if is_over]
            self._too_long.update(over)
            fitting = [cell for cell, is_over in zip(cells, overlong, strict=True) if not is_over]
            measured = iter(measure(fitting) if fitting else [])
            for key, (_, ex, _), is_over in zip(missing, cells, overlong, strict=True):
                self._memory[key] = self._failure(kind, ex) if is_over else next(measured)
        return [
            Evaluation(prompt, tuple(self._memory[kind, prompt.id, example.id] for example in examples))
            for prompt in prompts
        ]

    def _overlong(self, kind: str, cells: Sequence[_Cell]) -> list[bool]:
        """Return which cells do not fit the context; what has few enough bytes is not counted."""
        room = self._lm.lm.facts.n_ctx - (self._n_new if kind == "metric" else 0)
        texts = [
            context + (self._longest_label if kind == "metric" else self._layout.separator + ex.targets[0])
            for _, ex, context in cells
        ]
        doubtful = [i for i, text in enumerate(texts) if _n_bytes(text) + TOKENS_BESIDE_BYTES > room]
        counts = self._lm.lm.count_tokens([texts[i] for i in doubtful]) if doubtful else []
        over = {i for i, n in zip(doubtful, counts, strict=True) if n > room}
        # Where it is that close, another label than the longest may have too many tokens.
        most = _n_bytes(self._longest_label) + TOKENS_BESIDE_BYTES if kind == "metric" and self._labels else 0
        near = [i for i, n in zip(doubtful, counts, strict=True) if n <= room < n + most]
        asked = [(i, cells[i][2] + ending) for i in near for ending in self._endings]
        others = self._lm.lm.count_tokens([text for _, text in asked]) if asked else []
        over |= {i for (i, _), n in zip(asked, others, strict=True) if n > room}
        return [i in over for i in range(len(texts))]

    def _failure(self, kind: str, example: Example) -> Outcome:
        """Return the outcome of what the model could not be asked."""
        worst = {"metric": 0.0, "likelihood token": UNLIKELY}
        # A target has no more tokens than bytes.
        of_whole = UNLIKELY * max(1, len(example.targets[0].encode("utf-8", "replace")))
        return Outcome(example.id, None, worst.get(kind, of_whole), failed=True)

    @property
    def generates(self) -> bool:
        """True if answers are completions; False if the most likely label is the answer."""
        return not self._labels

    @property
    def _longest_label(self) -> str:
        """With what stands before it; empty where answers are generated."""
        return max(self._endings, key=_n_bytes, default="")

    @property
    def _n_new(self) -> int:
        """Most tokens that an answer is generated from."""
        return 0 if self._labels else self._sampling.max_tokens

    def _context(self, prompt: Prompt, inputs: Mapping[str, str]) -> str:
        rendering = self._layout.render(prompt, inputs)
        return self._lm.lm.chat(rendering.messages, rendering.opening) if rendering.messages else rendering.text

    def _generate(self, cells: Sequence[_Cell]) -> list[Outcome]:
        contexts = [context for _, _, context in cells]
        completions = self._lm.generate(contexts, self._sampling, [self._seed] * len(contexts))
        return [
            self._failure("metric", example)
            if completion.finish_reason == "failed"
            else self._judge(example, self._answer(completion.text), completion=completion.text)
            for (_, example, _), completion in zip(cells, completions, strict=True)
        ]

    def _judge(
        self, example: Example, prediction: str | None, *, margin: float | None = None, completion: str | None = None
    ) -> Outcome:
        score = 0.0 if prediction is None else self._metric(prediction, example.targets)
        if not 0 <= score <= 1:
            raise TaskError(f"the metric returned {score} for {prediction!r}", "a score lies in [0, 1]")
        return Outcome(example.id, prediction, score, margin, completion=completion)

    def _choose_labels(self, cells: Sequence[_Cell]) -> list[Outcome]:
        new = {prompt.id: prompt for prompt, _, _ in cells if prompt.id not in self._label_prior}
        priors = [(key, self._context(each, inputs)) for key, each in new.items() for inputs in self.calibrating(each)]
        # One call: what all of it costs is known before any of it is asked.
        contexts = [context for _, context in priors] + [context for _, _, context in cells]
        pairs = [(context, ending) for context in contexts for ending in self._endings]
        answers, n = self._lm.loglikelihood(pairs, calls=len(contexts)), len(self._endings)
        table = [answers[start : start + n] for start in range(0, len(answers), n)]
        rows = table[len(priors) :]
        self._learn_label_prior([(owner, row) for (owner, _), row in zip(priors, table, strict=False)])
        return [self._choose(prompt, example, row) for (prompt, example, _), row in zip(cells, rows, strict=True)]

    def _choose(self, prompt: Prompt, example: Example, row: Sequence[Loglikelihood]) -> Outcome:
        if any(each.failed for each in row):
            return self._failure("metric", example)
        scores = [self._normalised(prompt, i, each) for i, each in enumerate(row)]
        self._likelihoods[prompt.id, example.id] = LabelLikelihoods(
            tuple(each.logprob for each in row), tuple(each.n_tokens for each in row), tuple(scores)
        )
        right = [score for score, label in zip(scores, self._labels, strict=True) if label in example.targets]
        wrong = [score for score, label in zip(scores, self._labels, strict=True) if label not in example.targets]
        margin = max(right) - max(wrong) if right and wrong else None
        return self._judge(example, self._labels[scores.index(max(scores))], margin=margin)

    def _normalised(self, prompt: Prompt, index: int, each: Loglikelihood) -> float:
        if self._label_score == "token":
            return each.logprob / max(1, each.n_tokens)
        if self._label_score == "byte":
            return each.logprob / len(self._labels[index].encode())
        if self._is_calibrated:
            return each.logprob - self._label_prior[prompt.id][index]
        return each.logprob

    def _learn_label_prior(self, found: Sequence[tuple[str, Sequence[Loglikelihood]]]) -> None:
        """Learn what each prompt gives the labels whatever the input, from rows with the ids of their prompts.

        As Zhao et al. 2021 on inputs that say nothing, and Zhou et al. 2023 (batch calibration, arXiv 2309.17249) on
        real ones: over the labels normalised to 1, then the mean over the inputs, without those that kill the engine.
        """
        for prompt_id in dict.fromkeys(owner for owner, _ in found):
            of_prompt = [row for owner, row in found if owner == prompt_id]
            alive = [row for row in of_prompt if not any(each.failed for each in row)]
            rows = [log_normalised([each.logprob for each in row]) for row in alive] or [[0.0] * len(self._labels)]
            means = (log_sum_exp(column) - math.log(len(rows)) for column in zip(*rows, strict=True))
            self._label_prior[prompt_id] = tuple(means)

    def calibrating(self, prompt: Prompt) -> list[Mapping[str, str]]:
        """Return the inputs on which the labels' prior under a prompt is measured; none without calibration.

        Of batch calibration the first rows of train, then of dev, each label equally often as far as there are such.
        Left out are those that the prompt shows with their answer, and those that do not fit the context with it. The
        paper takes the rows that are to be answered themselves, so that an answer depends on which others are asked.
        """
        if not self._is_calibrated:
            return []
        shown = {tuple(sorted(demo.inputs.items())) for demo in prompt.demos}
        counts, chosen = Counter[str](), list[Mapping[str, str]]()
        for row in self._pool:
            label = row.targets[0] if row.targets else ""
            most = -(-BATCH // len(self._labels)) if label else BATCH
            if counts[label] < most and inputs_of(row) not in shown and Evaluator.fits(self, prompt, row):
                counts[label] += 1
                chosen.append(row.inputs)
        return chosen or [dict.fromkeys(self._inputs, blank) for blank in CONTENT_FREE]


def _n_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def log_normalised(logprobs: Sequence[float]) -> list[float]:
    """Return nats of things of which one must be the case: their probabilities sum to 1."""
    total = log_sum_exp(logprobs)
    return [logprob - total for logprob in logprobs]


def log_sum_exp(logprobs: Sequence[float]) -> float:
    """Return the nats of one or another of things that exclude each other."""
    top = max(logprobs)
    return top + math.log(math.fsum(math.exp(logprob - top) for logprob in logprobs))
