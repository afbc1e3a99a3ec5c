"""What PE2 and its proposer say to each other: explain, inspect, reason, refine, and summarise if wanted. Level 6."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from localprompt.optimizers.induction import closed_set
from localprompt.proposals.metaprompts import (
    MIN_SHOWN_CHARS,
    SHRINK,
    MetaPrompt,
    beside,
    fence,
    flat,
    inputs_of,
    set_off,
    shortened,
    shown_chars,
)
from localprompt.proposals.parsing import MAX_CHARS, SENTENCE_END, ReplyFormat, reply_format_like, without_chatter
from localprompt.proposals.similarity import changed_words, words
from localprompt.search.problem import Problem
from localprompt.types import Candidate, Example, Generation, Message, Outcome, Prompt, Sampling

if TYPE_CHECKING:
    from localprompt.optimizers.pe2 import PE2

TEMPLATES = {
    "tutorial": (),
    "task": (),
    "agree": (),
    "inspect_chat": ("instruction", "layout", "examples"),
    "example": ("number", "inputs", "answer", "target"),
    "answers": ("answers",),
    "refine_chat": ("history", "instruction", "change", "words"),
    "change": ("words",),
    "history": ("versions",),
    "version": ("score", "instruction", "change"),
    "summarize_chat": (),
}
"""Meta-prompt to its slots, a file a turn. In those for a chat the last paragraph is the opening of the answer."""

_NO_PROMPT = "(empty: there is no prompt yet)"
_NO_ANSWER = "(none that could be read)"
_FIRST = "nothing, this was the first"
_SUMMARY_TOKENS = 200
_DISPUTE = re.compile(
    r"\b(?:right|correct|gold|true) (?:answer|label|output)s? (?:is|are|was|were|seems?) (?:\w+ )?"
    r"(?:wrong|incorrect|mistaken|not right|not correct)\b",
    re.IGNORECASE,
)
"""What a proposer says that trusts itself more than the data, although it was told not to."""
_CONDITION = re.compile(r"\b(?:if|whether)\b", re.IGNORECASE)
"""A task may be to judge answers: `If the right answer is wrong in the text, write no.` claims nothing."""
_ROLES = {"user": "Request:", "assistant": "Reply:", "system": "Note:"}
"""How a model without a chat template is shown who speaks."""


@dataclass(frozen=True, slots=True)
class Case:
    """How a prompt did on one training example."""

    example: Example
    outcome: Outcome

    @property
    def is_error(self) -> bool:
        """True unless the score is full: from an answer that is right in part there is something to learn too."""
        return self.outcome.score < 1.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """One batch of a prompt's errors, and what the proposer said about them."""

    prompt: Prompt
    batch: tuple[Case, ...]
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Two turns of the proposer for each lesson: it reasons about the errors, then it writes the new prompt."""

    settings: PE2
    problem: Problem
    meta: Mapping[str, MetaPrompt]
    origins: dict[str, Lesson] = field(default_factory=dict)
    """Prompt id to the lesson that it came from."""
    changes: dict[str, str] = field(default_factory=dict)
    """Prompt id to what was changed, for the history."""

    def reasoned(self, lessons: Sequence[Lesson]) -> list[Lesson]:
        """Return the lessons with the proposer's answers to the questions, same order and length."""
        n_examples = max(len(lesson.batch) for lesson in lessons)
        sampling = Sampling(
            n_examples * self.settings.reasoning_tokens,
            temperature=self.settings.reasoning_temperature,
            top_p=self.settings.top_p,
            stop=self._stop,
        )
        prompts = [self._fitting(partial(self._ask_to_reason, lesson), sampling) for lesson in lessons]
        replies = self.problem.proposer.complete(prompts, sampling)
        opening = self.meta["inspect_chat"].turns[1]
        return [
            replace(lesson, reasoning=f"{opening}\n{_whole_sentences(reply)}".strip())
            for lesson, (reply,) in zip(lessons, replies, strict=True)
        ]

    def refined(self, lessons: Sequence[Lesson], means: Mapping[str, float]) -> list[Prompt]:
        """Return the usable new prompts, recorded with their parents.

        Args:
            lessons: with their reasoning.
            means: prompt id to the mean score on dev of all prompts so far.
        """
        if self.settings.history:
            self._summarize([lesson.prompt for lesson in lessons])
        limits = [self._word_limit(lesson.prompt) for lesson in lessons]
        # Twice, because words have several tokens, and so may the characters of a script without spaces.
        n_tokens = max(self.settings.prompt_tokens, *(2 * limit for limit in limits))
        readings = [_reading(lesson.prompt, limit) for lesson, limit in zip(lessons, limits, strict=True)]
        is_flat = all(reading.cut == "paragraph" for reading in readings)
        sampling = self._sampling(n_tokens, *(["\n\n"] if is_flat else []))
        prompts = [self._fitting(partial(self._ask_to_refine, lesson, means), sampling) for lesson in lessons]
        said = "\n".join(self.meta[name].fixed for name in ("task", "agree", "inspect_chat", "refine_chat"))
        proposals = self.problem.proposer.propose(
            prompts,
            readings,
            sampling,
            said,
            n=self.settings.rewrites,
            objection=lambda text, i: self._objection(text, lessons[i].prompt),
        )
        born = [
            (lesson, replace(lesson.prompt, instruction=text))
            for lesson, proposal in zip(lessons, proposals, strict=True)
            for text in proposal.accepted
        ]
        self.problem.record([Candidate(child, "refine", (lesson.prompt.id,)) for lesson, child in born])
        self.origins.update((child.id, lesson) for lesson, child in born)
        return [child for _, child in born]

    def _summarize(self, parents: Sequence[Prompt]) -> None:
        """Ask what was changed in each prompt that is about to have children, and remember it."""
        new = list(
            {each.id: each for each in parents if each.id in self.origins and each.id not in self.changes}.values()
        )
        if not new:
            return
        sampling = self._sampling(_SUMMARY_TOKENS, "\n\n")
        prompts = [self._fitting(partial(self._ask_to_summarize, prompt), sampling) for prompt in new]
        replies = self.problem.proposer.complete(prompts, sampling)
        opening = self.meta["summarize_chat"].turns[1]
        for prompt, (reply,) in zip(new, replies, strict=True):
            self.changes[prompt.id] = f"{opening} {_whole_sentences(reply)}"

    def _ask_to_reason(self, lesson: Lesson, shrink: int) -> str:
        return self._rendered(self._inspection(lesson, shrink), self.meta["inspect_chat"].turns[1])

    def _ask_to_refine(self, lesson: Lesson, means: Mapping[str, float], shrink: int) -> str:
        history = self._history(lesson.prompt, means, shrink) if self.settings.history else ""
        turns = [*self._inspection(lesson, shrink), *self._refinement(lesson, history, shrink)]
        return self._rendered(turns, self.meta["refine_chat"].turns[1])

    def _ask_to_summarize(self, prompt: Prompt, shrink: int) -> str:
        lesson = self.origins[prompt.id]
        user, opening = self.meta["summarize_chat"].turns
        written = Message("assistant", f"{self.meta['refine_chat'].turns[1]} {prompt.instruction}")
        turns = [*self._inspection(lesson, shrink), *self._refinement(lesson, "", shrink), written]
        return self._rendered([*turns, Message("user", user.fill())], opening)

    def _inspection(self, lesson: Lesson, shrink: int) -> list[Message]:
        """Return the turns up to the questions."""
        explained = self.meta["task"].fill()
        if self.settings.tutorial:  # not a turn of its own: many templates refuse two turns of one role in a row
            explained = f"{self.meta['tutorial'].fill()}\n\n{explained}"
        # Worked examples in the prompt itself may be long, so they go last.
        prompt = lesson.prompt if shrink < max(SHRINK) else replace(lesson.prompt, demos=())
        examples = [self._example(i, case, shrink) for i, case in enumerate(lesson.batch, 1)]
        # A proposal that copies such a mark is discarded for its placeholder.
        layout = self.problem.shown(prompt)
        user = self.meta["inspect_chat"].turns[0]
        asked = replace(user, text=user.text.replace("```", fence(layout))).fill(
            instruction=prompt.instruction.strip() or _NO_PROMPT,
            layout=layout,
            examples="\n\n".join([*examples, *closed_set(self.problem, self.meta["answers"], shrink)]),
        )
        return [Message("user", explained), Message("assistant", self.meta["agree"].fill()), Message("user", asked)]

    def _refinement(self, lesson: Lesson, history: str, shrink: int) -> list[Message]:
        """Return the reasoning, and the request for the new prompt with its limits."""
        step_size = self._step_size(lesson.prompt)
        asked = (
            self.meta["refine_chat"]
            .turns[0]
            .fill(
                history=history,
                instruction=lesson.prompt.instruction.strip() or _NO_PROMPT,
                change="" if step_size is None else f"{self.meta['change'].fill(words=str(step_size))}\n",
                words=str(self._word_limit(lesson.prompt)),
            )
        )
        reasoning = lesson.reasoning
        if shrink > 1:
            reasoning = shortened(flat(reasoning), max(MIN_SHOWN_CHARS, len(reasoning) // shrink))
        return [Message("assistant", reasoning), Message("user", asked)]

    def _history(self, prompt: Prompt, means: Mapping[str, float], shrink: int) -> str:
        """Return the versions from the first to `prompt`; where there is little room the worst are left out."""
        lineage = [prompt]
        while lineage[-1].id in self.origins:
            lineage.append(self.origins[lineage[-1].id].prompt)
        if len(lineage) == 1:
            return ""
        by_score = sorted(lineage, key=lambda version: -means[version.id])
        kept = by_score[: math.ceil(len(lineage) / shrink)]
        versions = [
            self.meta["version"].fill(
                score=str(round(100 * means[version.id])),
                instruction=set_off(version.instruction, len(version.instruction)) or _NO_PROMPT,
                change=shortened(flat(self.changes.get(version.id, _FIRST)), self._chars(shrink)),
            )
            for version in reversed(lineage)
            if version in kept
        ]
        return self.meta["history"].fill(versions="\n\n".join(versions)) + "\n\n"

    def _example(self, number: int, case: Case, shrink: int) -> str:
        chars, written = self._chars(shrink), case.outcome.written
        answer = set_off(written, chars) if written else _NO_ANSWER
        if 0 < case.outcome.score < 1:
            answer = f"(right in part){answer}" if answer.startswith("\n") else f"{answer} (right in part)"
        first, *others = (set_off(target, chars) for target in case.example.targets[:5])
        joint = "\nor" if any("\n" in target for target in (first, *others)) else " or"
        return self.meta["example"].fill(
            number=str(number),
            inputs=inputs_of(case.example, chars),
            answer=answer,
            target=first + "".join(beside(joint, target) for target in others),
        )

    def _objection(self, text: str, parent: Prompt) -> str:
        """Return how a new prompt breaks what was asked for; empty if it does not."""
        step_size = self._step_size(parent)
        if len(words(text)) > self._word_limit(parent):
            return "too many words"
        if any(_DISPUTE.search(each) and not _CONDITION.search(each) for each in SENTENCE_END.split(text)):
            return "disputes the right answers"
        if step_size is not None and changed_words(parent.instruction, text) > step_size:
            return "changes too many words"
        return ""

    def _word_limit(self, parent: Prompt) -> int:
        return max(self.settings.max_words, len(words(parent.instruction)))

    def _step_size(self, parent: Prompt) -> int | None:
        return self.settings.step_size if parent.instruction.strip() else None

    def _chars(self, shrink: int) -> int:
        return shown_chars(self.settings.example_chars, shrink)

    def _sampling(self, max_tokens: int, *stop: str) -> Sampling:
        settings = self.settings
        return Sampling(max_tokens, temperature=settings.temperature, top_p=settings.top_p, stop=(*self._stop, *stop))

    def _fitting(self, request: Callable[[int], str], sampling: Sampling) -> str:
        return self.problem.proposer.first_fitting(map(request, SHRINK), sampling.max_tokens)

    def _rendered(self, turns: Sequence[Message], opening: str) -> str:
        if self.problem.proposer.has_chat:
            return self.problem.proposer.chat(turns, opening)
        said = "".join(f"{_ROLES[turn.role]}\n{turn.content}\n\n" for turn in turns)
        return f"{said}{_ROLES['assistant']}\n{opening}"

    @property
    def _stop(self) -> tuple[str, ...]:
        """A model without a chat template goes on with the other's turn."""
        return () if self.problem.proposer.has_chat else (f"\n{_ROLES['user']}",)


def _reading(parent: Prompt, limit: int) -> ReplyFormat:
    """Return how a new prompt is read: a parent of several paragraphs may have children of several.

    No tag stands around it: after an opening tag a 1.5B copies the prompt it was shown more often than after words.
    """
    return reply_format_like(parent.instruction, max(MAX_CHARS, 10 * limit))


def _whole_sentences(reply: Generation) -> str:
    """Return a reply without chatter, and without the sentence in which the token limit cut it."""
    text = without_chatter(reply.text).strip()
    if reply.finish_reason == "stop":
        return text
    end = max(text.rfind(mark) for mark in (".", "?", "!", "\n", "。"))
    return text[: end + 1].strip() or text
