"""What is exported: the prompt that a run found, with its task, rows and model. Level 9."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.exports.calibration import label_priors
from localprompt.exports.rendering import OpenPrompt, open_prompt
from localprompt.interface.advice import command
from localprompt.lm.base import LanguageModel
from localprompt.run.config import RunConfig
from localprompt.run.results import RunResult
from localprompt.store import Store
from localprompt.store.plain import plain
from localprompt.tasks import Task
from localprompt.tasks.answers import answer_spec
from localprompt.tasks.stored import from_plain, without_functions
from localprompt.types import Example, Message, Outcome, Prompt

Rows = Literal["dev", "test"]


@dataclass(frozen=True)
class Found:
    """What a store has of the prompt that a run found."""

    run_id: str
    config: RunConfig
    task: Task
    """As the search saw it, the instruction where the method put it."""
    prompt: Prompt
    rows: tuple[Example, ...]
    answers: Mapping[str, Outcome]
    """By example id: what the model answered in the run, as far as it could be asked."""
    notes: tuple[str, ...]
    label_priors: tuple[float, ...] = ()
    """The log of each label's probability whatever the input, where labels are calibrated; else empty."""


@dataclass(frozen=True)
class Winner:
    """A found prompt with its model: what every form is made of."""

    found: Found
    lm: LanguageModel
    model_file: str
    """Path of the GGUF; empty where the model is no file."""
    open: OpenPrompt

    @property
    def task(self) -> Task:
        """How it is asked, as the search saw it."""
        return self.found.task

    @property
    def answer(self) -> tuple[str, str]:
        """Kind and argument of what takes the answer out of a completion; of a label, which is all of it, its line."""
        return ("first_line", "") if self.task.labels else answer_spec(self.task.answer)

    @property
    def example(self) -> Example:
        """The row that every export shows as the model sees it: the first that the run has an answer to."""
        return next((row for row in self.found.rows if row.id in self.found.answers), self.found.rows[0])

    def text(self, example: Example) -> str:
        """Return what the model is shown for a row, exactly; a chat with its control tokens."""
        rendering = self.task.layout.render(self.found.prompt, example.inputs)
        return self.lm.chat(rendering.messages, rendering.opening) if rendering.messages else rendering.text

    def messages(self, example: Example) -> list[dict[str, str]]:
        """Return the chat turns for a row, the beginning of the answer as the last; none where the layout is raw."""
        rendering = self.task.layout.render(self.found.prompt, example.inputs)
        opening = [Message("assistant", rendering.opening)] if rendering.opening and rendering.messages else []
        return [plain(turn) for turn in (*rendering.messages, *opening)]

    @cached_property
    def label_tokens(self) -> list[list[int]]:
        """The tokens of each label behind a row, as the engine reads them; none where rows have different ones.

        None, too, where a token lies across the border of prompt and label, or there are no labels.
        """
        return self._behind(self.task.labels)

    @cached_property
    def compared_tokens(self) -> list[list[int]]:
        """The same of what the engine compares of each label."""
        return self._behind(self.task.compared)

    def _behind(self, labels: Sequence[str]) -> list[list[int]]:
        separator = self.task.layout.separator
        found: list[list[int]] = []
        for row in self.found.rows if labels else ():
            context = self.text(row)
            before, *whole = self.lm.tokenize([context, *(context + separator + label for label in labels)])
            behind = [tokens[len(before) :] for tokens in whole]
            if any(tokens[: len(before)] != before for tokens in whole) or (found and behind != found):
                return []
            found = behind
        return found

    @property
    def label_bias(self) -> list[list[float]]:
        """The first token of each label with the nats that calibration adds to it; none where it adds none.

        None, too, where the run's answers do not say how many, or labels have the same first token.
        """
        first = [tokens[0] for tokens in self.label_tokens]
        if not self.found.label_priors or len({*first}) < len(self.task.labels):
            return []
        return [[token, -prior] for token, prior in zip(first, self.found.label_priors, strict=True)]


def find(home: Store, run: str, rows: Rows) -> Found:
    """Return what a store has of the prompt that a run found.

    Args:
        home: the store.
        run: the beginning of the run's id.
        rows: which rows of the task go along.

    Raises:
        ConfigError: if the run has found nothing yet.
        StoreError: if there is no such run, or it is damaged.
        TaskError: if the task has no such rows.
    """
    record = home.runs.get(run)
    if record.result is None:
        hint = command("resume", record.id, store=home.path)
        raise ConfigError(f"the run {record.id} has found nothing yet", f"{hint} finishes it")
    config, result = RunConfig.read(record.configuration), RunResult.from_json(record.result)
    stored, notes = _without_code(config.task)
    try:
        task = from_plain(stored)
    except TaskError as error:
        raise StoreError(f"the task of the run is damaged ({error.message})", "give another run") from error
    task = task.laid_out(task.layout.placed(config.settings.get("position", "task")))
    chosen = (*task.train, *task.dev) if task.folds and rows == "dev" else task.dev if rows == "dev" else task.test
    if not chosen:
        raise TaskError(f"the task {task.name} is cross-validated and has no test rows", "export its rows: --rows dev")
    on_dev, on_test = (home.runs.by_example(record.id, kind) for kind in ("metric", "test"))
    tested = on_test.get(result.best.id, {})
    measured = {**on_dev.get(result.best.id, {}), **tested}
    # What killed the engine, or did not fit, has no answer, and nothing of the labels follows from it.
    answers = {name: each for name, each in measured.items() if (each.prediction, each.completion) != (None, None)}
    asked = next((row for row in (*task.dev, *task.test, *task.train) if row.id in answers), None)
    priors = () if asked is None else label_priors(home, record.id, config, (task, result.best, asked))
    if config.objective != "score":  # dev has the answers to the worst way to ask, which is another prompt
        answers = {name: each for name, each in answers.items() if name in tested}
    return Found(record.id, config, task, result.best, chosen, answers, notes, priors)


def winner(found: Found, lm: LanguageModel) -> Winner:
    """Return a found prompt with the model that it is exported for.

    Raises:
        ModelError: if the model has no usable chat template and the layout is a chat.
    """
    rendered = open_prompt(found.task, found.prompt, lm)
    path = getattr(lm, "path", None)
    return Winner(found, lm, "" if path is None else str(path.absolute()), rendered)


def control_text(winner: Winner, texts: list[str]) -> list[str]:
    """Return which of the texts hold the text of a control token that the model's own chat has, as far as is known."""
    special = getattr(winner.lm, "special_tokens", {})
    marks = {mark for _, mark in special.values()} | {piece.text for piece in winner.open.pieces if piece.token >= 0}
    return [text for text in texts if any(mark and mark in text for mark in marks)]


def _without_code(stored: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a stored task without functions of a user, which no export can carry, and what is said about them."""
    notes, changed, bare = [], dict(stored), without_functions(stored)
    metric = stored.get("metric")
    if metric is None or (isinstance(metric, Mapping) and ":" in str(metric.get("name"))):
        changed["metric"] = bare["metric"]
        notes.append("the metric is code of its own and does not go along: exact_match stands in its place")
    if stored.get("answer") is None:
        changed["answer"] = bare["answer"]
        notes.append("the answer is taken out of completions by code of its own, which does not go along")
    return changed, tuple(notes)
