"""A task with a known best instruction, and the functions of a scripted model that obeys it.

Every input is a word such as `alpha7`; its answer is `omega7`. With an instruction that speaks of the omega the model
answers all of them, with one that only speaks of the alpha half of them, with any other none.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from localprompt.errors import ContextOverflow
from localprompt.lm.base import LanguageModel
from localprompt.lm.budget import Budget
from localprompt.lm.deadline import Rates
from localprompt.lm.metered import MeteredLM
from localprompt.lm.scripted import ScriptedLM
from localprompt.optimizers import Optimizer
from localprompt.run.estimate import Estimate, estimate
from localprompt.run.models import Models
from localprompt.run.results import HeldOutScores, RunResult
from localprompt.run.spec import Limits, RunSpec
from localprompt.search.evaluator import Evaluator
from localprompt.search.observer import Announcer, Observer, SilentObserver
from localprompt.search.problem import Problem
from localprompt.tasks import Layout, Task
from localprompt.tasks.answers import find_answer
from localprompt.tasks.metrics import find_metric
from localprompt.types import Demo, Example, Generation, Loglikelihood, Prompt, Sampling
from localprompt.variants.variant import Origin

Answer = Callable[[str, int], str]
NamedModel = Callable[[ScriptedLM], None]
"""The fixture `named_model`."""
NAMED = "toy:1"
"""The name behind which the fixture `named_model` puts a model."""
BEST = "Turn every alpha into the omega that has its number."
GUESSES = (
    " copy what you are given, letter by letter.",
    " turn every alpha into the omega that has its number.",
    " say something kind about the alpha.",
    "",
    " find a word that rhymes with it.",
    "...",
    " describe it in a few plain words.",
)


BARE = "{{instruction}}\n\nInput: {{input}}\nOutput:"
"""A template without a place for worked examples, so that a search is about instructions alone."""
SHOWING = Layout(BARE.replace("Input:", "{{demos}}Input:"), "Input: {{input}}\nOutput: {{output}}\n\n")


def task(
    *, train: int = 20, dev: int = 40, test: int = 40, labels: tuple[str, ...] = (), label_score: Any = "sum"
) -> Task:
    """Numbers run through all splits, so a word tells its split. With labels the answers are these, in turn.

    There is no place for worked examples; with the layout `SHOWING` there is.
    """

    def rows(split: str, numbers: range) -> tuple[Example, ...]:
        return tuple(
            Example(f"{split}:{n}", {"input": f"alpha{n}"}, (labels[n % len(labels)] if labels else f"omega{n}",))
            for n in numbers
        )

    return Task(
        name="toy",
        description="Turn alphas into omegas.",
        inputs=("input",),
        labels=labels,
        label_score=label_score,
        train=rows("train", range(train)),
        dev=rows("dev", range(train, train + dev)),
        test=rows("test", range(train + dev, train + dev + test)),
        seeds=(Prompt(""),),
        layout=Layout(BARE, ""),
        answer=find_answer("first_line"),
        metric=find_metric("exact_match"),
        sampling=Sampling(max_tokens=8, stop=("\n",)),
    )


def write_task(folder: Path, *sizes: int, keys: str = "", name: str = "task.yaml", template: str = BARE) -> str:
    """Return the path of a task file about omegas with so many rows in train, dev and test."""
    rows = [json.dumps({"input": f"alpha{n}", "target": f"omega{n}"}) for n in range(sum(sizes))]
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    split = "{{train: {}, dev: {}, test: {}}}".format(*sizes)
    path = folder / name
    layout = f"layout: {{template: {json.dumps(template)}}}\n"
    path.write_text(f"name: omegas\ndata: {{file: rows.jsonl, split: {split}}}\n{layout}{keys}", encoding="utf-8")
    return str(path)


def is_asked_to_write(prompt: str) -> bool:
    """True for a meta-prompt: the task's own prompts end in `Output:`."""
    return not prompt.endswith("Output:")


def answer(prompt: str, seed: int) -> str:
    if is_asked_to_write(prompt):
        return GUESSES[seed % len(GUESSES)]
    return f" {solved(prompt) or 'no idea'}\nInput: one more"


BRITTLE = "Turn every alpha into the omega, sharply."
STABLE = "Turn every alpha into the omega."


def brittle(prompt: str, seed: int) -> str:
    """Right on every row with the brittle prompt, but only while its full stop is there; on two in three else."""
    before, _, question = prompt.rpartition("alpha")
    number = int(re.findall(r"\d+", question)[0])
    text = before.lower()
    is_right = "sharply." in text or ("sharply" not in text and "omega" in text and number % 3 > 0)
    return f" omega{number}\n" if is_right else " none\n"


def too_long_to_reword(prompt: str, seed: int) -> str:
    """An `answer` of a model whose context has no room for an instruction that shall be said in other words."""
    if "other words" in prompt:
        raise ContextOverflow("it has 500 tokens", "raise n_ctx")
    return answer(prompt, seed)


def logprob(context: str, continuation: str) -> float:
    return -0.5 if continuation.strip() == solved(context) else -4.0


def parity(context: str, continuation: str) -> float:
    """A `logprob` for the labels `even` and `odd`: a label that the instruction names is known to be right."""
    instruction, _, question = context.rpartition("Input:")
    right = ("even", "odd")[int(re.findall(r"\d+", question)[0]) % 2]
    return -0.5 if right in instruction and continuation.strip() == right else -4.0


def solved(prompt: str) -> str | None:
    """What the instruction of a prompt makes of its input, wherever it stands; None where it is of no use."""
    before, _, question = prompt.rpartition("Input:")
    instruction = before + question.partition("Output:")[2]
    numbers = re.findall(r"\d+", question)
    if not numbers:  # a text about prompts
        return None
    number = int(numbers[0])
    knows = "omega" in instruction or ("alpha" in instruction and number % 2 == 0)
    return f"omega{number}" if knows else None


def model(**changes: Any) -> ScriptedLM:
    return ScriptedLM(**{"answer": answer, "logprob": logprob, "name": "scripted", **changes})


class Asked(NamedTuple):
    """A call of `generate`."""

    prompts: list[str]
    sampling: Sampling
    seeds: list[int]


class Watched(ScriptedLM):
    """Keeps how it was called."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**{"answer": answer, "logprob": logprob, **changes})
        self.asked: list[Asked] = []
        self.scored: list[list[tuple[str, str]]] = []

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        self.asked.append(Asked(list(prompts), sampling, list(seeds)))
        return super().generate(prompts, sampling, seeds)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        self.scored.append(list(pairs))
        return super().loglikelihood(pairs)


def in_turn(*texts: str) -> Answer:
    """An `answer` that is one text after the other, whatever is asked."""
    left = iter(texts)
    return lambda prompt, seed: next(left)


class Killed(BaseException):
    """The process is gone."""


def failing(error: BaseException, after: int = 0) -> Answer:
    """An `answer` that is given so often and then fails."""
    left = itertools.count(-after)

    def answer_or_fail(prompt: str, seed: int) -> str:
        if next(left) >= 0:
            raise error
        return answer(prompt, seed)

    return answer_or_fail


class Diary(SilentObserver):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        """Stages, notes and best prompts."""
        self.notes: list[str] = []
        self.done: list[tuple[int, int]] = []

    def stage(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None:
        self.lines.append(text)
        self.notes.append(text)

    def best(self, prompt: Prompt, mean: float, n: int) -> None:
        self.lines.append(f"best {mean:.2f} on {n}: {prompt.instruction}")

    def progress(self, done: int, total: int) -> None:
        self.done.append((done, total))


def problem(
    lm: ScriptedLM,
    given: Task | None = None,
    *,
    seed: int = 0,
    budget: Budget | None = None,
    observer: Observer | None = None,
) -> Problem:
    given, budget = given or task(), budget or Budget()
    evaluator, proposer = Evaluator(lm, given, budget), MeteredLM(lm, budget)
    return Problem(given, evaluator, proposer, rng=random.Random(seed), announcer=Announcer(observer))


def origin(instruction: str, given: Task | None = None, *, demos: tuple[Demo, ...] = (), seed: int = 0) -> Origin:
    """What variants of an instruction are made of."""
    given = given or task()
    return Origin(Prompt(instruction, demos), given, problem(model(), given), seed)


def on_test(result: RunResult) -> HeldOutScores:
    """What a run that reached its end found on test."""
    assert result.test is not None
    return result.test


def expected(
    method: Optimizer,
    task: Task,
    lm: LanguageModel,
    proposer: LanguageModel | None = None,
    *,
    rates: Rates | None = None,
    max_tokens: int | None = None,
    max_calls: int | None = None,
) -> Estimate:
    """What a search is expected to cost."""
    spec = RunSpec(task, "any", method, 0, Limits(max_tokens, max_calls))
    return estimate(spec, Models(lm, proposer or lm), {lm.facts.fingerprint: rates} if rates else {})
