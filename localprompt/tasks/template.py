"""A prompt and an example become the text, or the chat turns, that the model sees. Level 3.

A template is plain text with slots written `{{name}}`. Slots are filled in one pass: slot text inside an instruction, a
demo or a row of data stays text, and nothing of it is ever interpreted.

An empty `{{instruction}}` or `{{demos}}` vanishes together with the blank space that follows it in the template (at the
end of the template: with the blank space before it), so that it leaves no hole. Small models notice such holes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from localprompt.errors import TaskError, nearest
from localprompt.types import Message, Prompt

Position = Literal["task", "Q_begin", "Q_end", "A_begin"]
"""Where an instruction stands, in OPRO's words: as the layout has it, before the question, after it, or where the
answer begins."""
Mode = Literal["raw", "chat"]
"""Whether a text is continued, or a turn answered."""
RESERVED = ("instruction", "demos", "output")
"""Slot names with a meaning of their own; no input may have one of them."""

_VANISHING = ("instruction", "demos")
_SLOT = re.compile(r"\{\{[ \t]*([^{}\s]+)[ \t]*\}\}")
_SLOT_OF_DEMOS = re.compile(r"\{\{[ \t]*demos[ \t]*\}\}")
_INSTRUCTION = "{{instruction}}"
_SLOT_OF_INSTRUCTION = re.compile(r"\{\{[ \t]*instruction[ \t]*\}\}\s*")


@dataclass(frozen=True, slots=True)
class Rendering:
    """What one prompt makes of one example.

    Raw: `text` is the whole and `messages` is empty. Chat: `messages` are an optional system turn and the user's turn,
    `opening` is the beginning of the assistant's answer, and `text` is empty.
    """

    messages: tuple[Message, ...]
    text: str
    opening: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where instruction, demos and inputs stand in what the model sees."""

    template: str
    """Slots: `{{instruction}}`, `{{demos}}` and the input slots."""
    demo: str
    """One worked example, its separation from the next included; slots: the input slots and `{{output}}`."""
    mode: Mode = "raw"
    """chat: the filled template is the user's turn. raw: it is the text to continue."""
    system: str = ""
    """Chat only: the system turn, left out where it comes out empty; may hold `{{instruction}}`."""
    opening: str = ""
    """Chat only: the beginning of the assistant's answer; may hold `{{instruction}}`."""
    separator: str = " "
    """Stands between the end of the rendered prompt and an answer; part of the answer when that is scored."""

    @property
    def has_demos(self) -> bool:
        """True if there is a place for worked examples."""
        return "demos" in slots(self.template)

    @property
    def bare(self) -> Layout:
        """This layout without a place for an instruction, as an empty one leaves it."""
        template, system = _without_instruction(self.template), _without_instruction(self.system)
        return replace(self, template=template, system=system, opening=_without_instruction(self.opening))

    def default_stop(self, answer_kind: str) -> tuple[str, ...]:
        """Return where a generated answer of this kind ends if the task does not say it."""
        if self.mode == "chat":
            # A chat turn ends by itself; it may begin with a line break or with a block of thoughts.
            return ()
        if answer_kind == "first_line":
            return ("\n",)
        # After its answer a model goes on with an example of its own making; its beginning is the demo's.
        head = self.demo.partition("{{")[0].strip()
        return (f"\n{head}",) if head else ()

    def render(self, prompt: Prompt, inputs: Mapping[str, str]) -> Rendering:
        """Return `prompt` applied to one example's inputs.

        Raises:
            TaskError: if an input slot has no value, or the prompt has demos and the template no slot for them.
        """
        if prompt.demos and not self.has_demos:
            problem = "the prompt has demos but the layout has no {{demos}} slot"
            raise TaskError(problem, "add {{demos}} to its template")
        demos = "".join(fill(self.demo, {**each.inputs, "output": each.output}) for each in prompt.demos)
        values = {**inputs, "instruction": prompt.instruction, "demos": demos}
        text = fill(self.template, values)
        if self.mode == "raw":
            return Rendering((), text, "")
        system = fill(self.system, values)
        turns = (Message("system", system),) if system.strip() else ()
        return Rendering((*turns, Message("user", text)), "", fill(self.opening, values))

    def placed(self, position: Position) -> Layout:
        """Return this layout with the instruction at `position` and nowhere else; `task` changes nothing.

        `Q_begin`: a line of its own before the one with the first input, after any demos. `Q_end`: a line of its own
        after the one with the last input. `A_begin`: chat, the opening of the assistant's answer; raw, the end of the
        text. An empty instruction vanishes there too, and demos never held one.

        Source: OPRO (Yang et al. 2023), section 4. Differs: its `Q_begin` stands on the question's own line, after the
        `Q:`; a line before it works with any label, and with several inputs.
        """
        if position == "task":
            return self
        bare = self.bare
        template, opening = bare.template, bare.opening
        if position == "A_begin" and self.mode == "raw":
            gap = "" if not template or template[-1].isspace() else self.separator or " "
            return replace(bare, template=f"{template}{gap}{_INSTRUCTION}")
        if position == "A_begin":
            opening = f"{_INSTRUCTION} {opening}" if opening else _INSTRUCTION
            # An answer that is scored goes on with the sentence, where the turn's beginning needed no space.
            return replace(bare, opening=opening, separator=self.separator or " ")
        start, end = _question(template)
        if position == "Q_begin":
            return replace(bare, template=f"{template[:start]}{_INSTRUCTION}\n{template[start:]}")
        return replace(bare, template=f"{template[:end]}\n{_INSTRUCTION}{template[end:]}")


def slots(template: str) -> tuple[str, ...]:
    """Return the slot names of a template in order of first appearance."""
    return tuple(dict.fromkeys(_parts(template)[1::2]))


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return `template` with each slot replaced by its value, in a single pass.

    Raises:
        TaskError: if a slot has no value.
    """
    first, *rest = _parts(template)
    filled = [first]  # its last element is always a literal of the template, never data
    vanished_last = False
    for name, literal in zip(rest[::2], rest[1::2], strict=True):
        if name not in values:
            raise TaskError(f"the slot {{{{{name}}}}} has no value", nearest(name, values))
        vanished_last = name in _VANISHING and not values[name].strip()
        if vanished_last:
            filled[-1] += literal.lstrip()
            vanished_last = not literal.strip()
        else:
            filled += values[name], literal
    if vanished_last:
        filled[-1] = filled[-1].rstrip()
    return "".join(filled)


def check_slots(template: str, known: Sequence[str]) -> None:
    """Raise unless every slot of the template is known.

    Raises:
        TaskError: naming the slot and the nearest known one.
    """
    for name in slots(template):
        if name not in known:
            raise TaskError(f"unknown slot {{{{{name}}}}}", nearest(name, known))


def default_template(inputs: Sequence[str]) -> str:
    """Return instruction first, then demos, then one labelled line an input, ending in `Output:`."""
    return "{{instruction}}\n\n{{demos}}" + _labelled(inputs) + "Output:"


def default_demo(inputs: Sequence[str]) -> str:
    """Return the demo that goes with `default_template`, followed by a blank line."""
    return _labelled(inputs) + "Output: {{output}}\n\n"


def demo_for(template: str, separator: str) -> str:
    """Return a demo that looks as an answered example does in a raw template: what follows its `{{demos}}` slot.

    Without the instruction, with `separator`, the output and a blank line after it.
    """
    tail = _SLOT_OF_DEMOS.split(template)[-1].lstrip()
    return _SLOT_OF_INSTRUCTION.sub("", tail) + separator + "{{output}}\n\n"


def _without_instruction(template: str) -> str:
    values = {name: f"{{{{{name}}}}}" for name in slots(template)}
    return fill(template, {**values, "instruction": ""})


def _question(template: str) -> tuple[int, int]:
    """Return where the lines with input slots begin and end; the whole template where it has none."""
    inputs = [match for match in _SLOT.finditer(template) if match[1] not in RESERVED]
    if not inputs:
        return 0, len(template)
    first, last = inputs[0].start(), inputs[-1].end()
    start = template.rfind("\n", 0, first) + 1
    # Demos end in a line break of their own, so the line may begin right after their slot.
    demos = [match.end() for match in _SLOT_OF_DEMOS.finditer(template, start, first)]
    newline = template.find("\n", last)
    return max([start, *demos]), len(template) if newline < 0 else newline


def _labelled(inputs: Sequence[str]) -> str:
    if len(inputs) == 1:
        return f"Input: {{{{{inputs[0]}}}}}\n"
    return "".join(f"{name.replace('_', ' ').capitalize()}: {{{{{name}}}}}\n" for name in inputs)


@lru_cache(maxsize=64)
def _parts(template: str) -> tuple[str, ...]:
    """Return literal, slot name, literal, slot name, ..., literal."""
    return tuple(_SLOT.split(template))
