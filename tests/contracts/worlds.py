"""For each method a scripted world in which it can find the best prompt: what the model answers, and the settings.

The task and the scripted model are those of `toy`. A method whose meta-prompts ask for something else than an
instruction, such as a reason or a tagged reply, has an answer of its own here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import toy

from localprompt.lm.scripted import ScriptedLM


@dataclass(frozen=True)
class World:
    """How one method is tried."""

    answer: Callable[[str, int], str] = toy.answer
    """(prompt, seed) to the completion, of both roles."""
    settings: Mapping[str, object] = field(default_factory=dict)
    proposes: bool = True
    """False for a method that never asks for a prompt."""

    def model(self, **changes: object) -> ScriptedLM:
        """Return a fresh model."""
        return toy.model(**{"answer": self.answer, **changes})


def _reasons(prompt: str, seed: int) -> str:
    """A proposer that guesses only half of it and finds the rest by reasoning about errors."""
    if prompt.endswith("Example 1:"):
        return " No. The prompt should ask for the omega."
    if prompt.endswith("than before:"):
        return f"{toy.BEST}</prompt>" if "ask for the omega" in prompt else "Say so.</prompt>"
    return " say something kind about the alpha." if toy.is_asked_to_write(prompt) else toy.answer(prompt, seed)


WORLDS: dict[str, World] = {
    "manual": World(settings={"prompts": str(Path(__file__).with_name("prompts.txt"))}, proposes=False),
    "pe2": World(_reasons),
}


def world(name: str) -> World:
    """Return the world of a method; the plain one where it needs nothing else."""
    return WORLDS.get(name, World())
