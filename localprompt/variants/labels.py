"""Other words for the labels: other case, letters, numbers. Level 6."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase

import regex

from localprompt.tasks import Task
from localprompt.types import Example, Prompt
from localprompt.variants.variant import Origin, Variant
from localprompt.variants.wording import found_names, is_english, replaced

_Words = Mapping[str, str]
"""Each label and the word for it."""


class Labels:
    """Other words for the labels of a task, in the instruction, in worked examples, and as what is chosen."""

    name = "labels"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return variants whose `outputs` say what the words stand for; none for tasks without labels.

        Letters and numbers are explained in a line behind the instruction, whose own words stay.
        """
        labels, prompt = origin.task.labels, origin.prompt
        made = [(change, words, _renamed(prompt.instruction, labels, words)) for change, words in _cases(labels)]
        made += [(kind, words, _explained(prompt.instruction, kind, words)) for kind, words in _marks(labels)]
        found = []
        for change, words, instruction in made[:most]:
            demos = tuple(replace(each, output=words.get(each.output, each.output)) for each in prompt.demos)
            asked, outputs = _asked_for(origin.task, words), {word: label for label, word in words.items()}
            found.append(Variant(self.name, f"labels as {change}", Prompt(instruction, demos), asked, outputs=outputs))
        return found


def _cases(labels: Sequence[str]) -> Iterator[tuple[str, _Words]]:
    seen = {tuple(labels)}
    forms: dict[str, Callable[[str], str]] = {
        "lower case": str.lower,
        "Capitalised": lambda label: label[:1].upper() + label[1:],
        "CAPITALS": str.upper,
    }
    for change, form in forms.items():
        words = tuple(map(form, labels))
        if words not in seen and len(set(words)) == len(labels):
            yield change, dict(zip(labels, words, strict=True))
        seen.add(words)


def _marks(labels: Sequence[str]) -> Iterator[tuple[str, _Words]]:
    if any(regex.fullmatch("[0-9]{1,2}|[A-Z]", label) for label in labels):
        return  # they are letters or numbers already
    if 0 < len(labels) <= len(ascii_uppercase):
        yield "letters", dict(zip(labels, ascii_uppercase, strict=False))
    if labels:
        yield "numbers", {label: str(number) for number, label in enumerate(labels, start=1)}


def _renamed(instruction: str, labels: Sequence[str], words: _Words) -> str:
    """Return the instruction with the words where it names labels; where it does so as they are written, only there."""
    spans = found_names(instruction, labels)
    named = [instruction[start:end] for start, end in spans]
    exact = {*named} & {*labels}
    of_any_case = {label.casefold(): label for label in labels if label not in exact}
    meant = [each if each in exact else of_any_case.get(each.casefold(), "") for each in named]
    new = [words.get(label, each) for label, each in zip(meant, named, strict=True)]
    return replaced(instruction, spans, new)


def _explained(instruction: str, kind: str, words: _Words) -> str:
    key = ", ".join(f"{word} = {label}" for label, word in words.items())
    answer = f"Answer with the {kind.removesuffix('s')}: {key}." if is_english(instruction) else key
    return f"{instruction.rstrip()}\n{answer}".lstrip()


def _asked_for(task: Task, words: _Words) -> Task:
    def renamed(rows: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(replace(row, targets=tuple(words.get(each, each) for each in row.targets)) for row in rows)

    return replace(
        task, labels=tuple(words.values()), train=renamed(task.train), dev=renamed(task.dev), test=renamed(task.test)
    )
