"""The instruction in other places: before the question, after it, where the answer begins. Level 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localprompt.tasks import Layout
from localprompt.tasks.template import Position as Place
from localprompt.types import Prompt
from localprompt.variants.variant import Origin, Variant

_LAST = "{{instruction}}"
_PLACES: Mapping[Place, str] = {
    "Q_begin": "instruction before the question",
    "Q_end": "instruction after the question",
    "A_begin": "instruction where the answer begins",
}


class Position:
    """The instruction in the places of OPRO (Yang et al. 2023) where it does not stand already."""

    name = "position"

    def variants(self, origin: Origin, most: int) -> Sequence[Variant]:
        """Return the variants; none of an empty instruction.

        It does not stand where an answer begins that ends with its line: after a sentence a model ends the line.
        """
        task, prompt = origin.task, origin.prompt
        if not prompt.instruction.strip():
            return []
        ends_with_line = task.layout.mode == "raw" and "\n" in task.sampling.stop
        layouts = {change: task.layout.placed(place) for place, change in _PLACES.items()}
        if ends_with_line:
            layouts = {change: it for change, it in layouts.items() if not it.template.rstrip().endswith(_LAST)}
        as_it_is = _shown(task.layout, prompt, task.inputs)
        moved = [
            (change, layout) for change, layout in layouts.items() if _shown(layout, prompt, task.inputs) != as_it_is
        ]
        return [Variant(self.name, change, prompt, task.laid_out(layout)) for change, layout in moved[:most]]


def _shown(layout: Layout, prompt: Prompt, inputs: Sequence[str]) -> object:
    return layout.render(prompt, {name: f"<{name}>" for name in inputs})
