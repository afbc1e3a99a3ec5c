"""A chat instead of a text to continue, and the other way round; the instruction in the system turn or not. Level 6."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import regex

from localprompt.tasks import Layout
from localprompt.tasks.template import slots
from localprompt.variants.variant import Origin, Variant

_INSTRUCTION = "{{instruction}}"
_CUE = regex.compile(r"\n[ \t]*([^{}\n]{0,40}[:：])\Z")
"""The line with which a text ends, such as `Answer:`; in a chat the answer may begin with it."""
_CUE_OF_DEMO = regex.compile(r"(?:\A|\n)([^{}\n]{0,40}[:：])\s*\{\{[ \t]*output[ \t]*\}\}")


class Chat:
    """The other modes of a layout."""

    name = "chat"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return variants as the author of a task would write them; an instruction is moved where there is one.

        A chat needs a model with a chat template.
        """
        layout, has_instruction = origin.task.layout, bool(origin.prompt.instruction.strip())
        asked = _chats if layout.mode == "raw" else _others
        found: dict[Layout, str] = {}
        for change, other in asked(layout, has_instruction=has_instruction):
            found.setdefault(other, change)
        found.pop(layout, None)
        variants = [
            Variant(self.name, change, origin.prompt, origin.task.laid_out(other)) for other, change in found.items()
        ]
        return variants[:most]


def _chats(layout: Layout, *, has_instruction: bool) -> Iterator[tuple[str, Layout]]:
    """Yield chats that ask what a raw layout does."""
    whole = replace(layout, mode="chat", separator="")
    cue = _CUE.search(layout.template)
    forms = {"as a chat": whole}
    if cue:
        begun = replace(whole, template=layout.template[: cue.start()], opening=cue[1], separator=layout.separator)
        forms[f"as a chat whose answer begins with {cue[1]!r}"] = begun
    for change, form in forms.items():
        yield change, form
        if has_instruction:
            yield f"{change}, the instruction in the system turn", _with_system(form)


def _others(layout: Layout, *, has_instruction: bool) -> Iterator[tuple[str, Layout]]:
    """Yield a chat with its instruction in the other turn, and the text to continue that asks the same."""
    if has_instruction and "instruction" in slots(layout.system):
        bare = layout.bare
        yield "instruction in the user's turn", replace(bare, template=f"{_INSTRUCTION}\n\n{bare.template}")
    elif has_instruction:
        yield "instruction in the system turn", _with_system(layout)
    text = "\n\n".join(part for part in (layout.system, layout.template) if part)
    cue = _CUE_OF_DEMO.search(layout.demo)
    begins = layout.opening or (cue[1] if cue and not _CUE.search(text) else "")
    template = f"{text}\n{begins}" if begins else text
    separator = layout.separator if layout.opening or template[-1:].isspace() else " "
    other = replace(layout, mode="raw", template=template, system="", opening="", separator=separator)
    yield "as a text to continue", other


def _with_system(layout: Layout) -> Layout:
    bare = layout.bare
    return replace(bare, system=f"{_INSTRUCTION}\n\n{bare.system}" if bare.system else _INSTRUCTION)
