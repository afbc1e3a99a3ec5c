"""A task with a known best instruction, and the functions of a scripted model that obeys it.

Every input is a word such as `alpha7`; its answer is `omega7`. With an instruction that speaks of the omega the model
answers all of them, with one that only speaks of the alpha half of them, with any other none.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

from localprompt.errors import ContextOverflow
from localprompt.lm.budget import Budget
from localprompt.lm.metered import MeteredLM
from localprompt.lm.scripted import ScriptedLM
from localprompt.search.evaluator import Evaluator
from localprompt.search.problem import Problem
from localprompt.tasks import Layout, Task
from localprompt.tasks.answers import find_answer
from localprompt.tasks.metrics import find_metric
from localprompt.types import Example, Prompt, Sampling

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


def task(
    *, train: int = 20, dev: int = 40, test: int = 40, labels: tuple[str, ...] = (), label_score: str = "sum"
) -> Task:
    """Numbers run through all splits, so a word tells its split. With labels the answers are these, in turn."""

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
        layout=Layout(
            "{{instruction}}\n\n{{demos}}Input: {{input}}\nOutput:", "Input: {{input}}\nOutput: {{output}}\n\n"
        ),
        answer=find_answer("first_line"),
        metric=find_metric("exact_match"),
        sampling=Sampling(max_tokens=8, stop=("\n",)),
        fingerprint="toy",
    )


def write_task(folder: Path, *sizes: int, keys: str = "", name: str = "task.yaml") -> str:
    """Return the path of a task file about omegas with so many rows in train, dev and test."""
    rows = [json.dumps({"input": f"alpha{n}", "target": f"omega{n}"}) for n in range(sum(sizes))]
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    split = "{{train: {}, dev: {}, test: {}}}".format(*sizes)
    path = folder / name
    path.write_text(f"name: omegas\ndata: {{file: rows.jsonl, split: {split}}}\n{keys}", encoding="utf-8")
    return str(path)


def is_asked_to_write(prompt: str) -> bool:
    """True for a meta-prompt: the task's own prompts end in `Output:`."""
    return not prompt.endswith("Output:")


def answer(prompt: str, seed: int) -> str:
    if is_asked_to_write(prompt):
        return GUESSES[seed % len(GUESSES)]
    return f" {solved(prompt) or 'no idea'}\nInput: one more"


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
    number = int(re.findall(r"\d+", question)[0])
    knows = "omega" in instruction or ("alpha" in instruction and number % 2 == 0)
    return f"omega{number}" if knows else None


def model(**changes: object) -> ScriptedLM:
    return ScriptedLM(**{"answer": answer, "logprob": logprob, "name": "scripted", **changes})  # type: ignore[arg-type]


def problem(lm: ScriptedLM, given: Task | None = None, *, seed: int = 0, budget: Budget | None = None) -> Problem:
    given, budget = given or task(), budget or Budget()
    return Problem(given, Evaluator(lm, given, budget), MeteredLM(lm, budget), rng=random.Random(seed))
