"""A prompt as a template of MLflow. Level 9.

MLflow fills `{{ name }}` wherever it stands and has no escape for it, except in a template with `{% %}`, which it gives
to Jinja. A prompt whose own text would be read as one of the two is written so; all others are as they are.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence

from localprompt.exports.rendering import Piece, open_layout
from localprompt.tasks import Task
from localprompt.types import Prompt

_VARIABLE = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*(?:\.[a-zA-Z_][a-zA-Z0-9_]*)*)\s*\}\}")
"""What MLflow fills."""
_TAKEN = ("self", "prompt", "allow_partial", "use_jinja_sandbox", "true", "false", "none")
"""Names that MLflow's `format`, or Jinja, reads as something else than a variable."""
_OPENS = re.compile(r"\{(?=[{%#\r]|\n?\Z)")
"""What begins a tag of Jinja, or would with what follows."""


def mlflow_template(task: Task, prompt: Prompt) -> tuple[str | list[dict[str, str]], dict[str, str]]:
    """Return a prompt as a text or the turns of a chat with its inputs open, and the inputs by MLflow's names for them.

    MLflow's `format` makes of it what the model is shown. An input keeps its name where MLflow can have such a one.
    """
    text, turns = open_layout(task, prompt)
    names: dict[str, str] = {}
    for name in task.inputs:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        if not plain.isidentifier() or keyword.iskeyword(plain) or plain in _TAKEN:
            plain = f"input_{plain}"
        while plain in names.values():
            plain += "_"
        names[name] = plain
    written = _written([turn.pieces for turn in turns] or [text], names)
    inputs = {variable: name for name, variable in names.items()}
    if not turns:
        return written[0], inputs
    return [{"role": turn.role, "content": each} for turn, each in zip(turns, written, strict=True)], inputs


def _written(texts: Sequence[Sequence[Piece]], names: Mapping[str, str]) -> list[str]:
    slots = {name: f"{{{{ {variable} }}}}" for name, variable in names.items()}
    found = ["".join(slots[each.text] if each.is_input else each.text for each in pieces) for pieces in texts]
    variables = [[names[each.text] for each in pieces if each.is_input] for pieces in texts]
    has_tags = any("{%" in text and "%}" in text for text in found)
    if not has_tags and [_VARIABLE.findall(text) for text in found] == variables:
        return found
    written = ["".join(slots[each.text] if each.is_input else _raw(each.text) for each in pieces) for pieces in texts]
    # Jinja drops a line break at the very end.
    return [f'{text[:-1]}{{{{ "\\n" }}}}' if text.endswith("\n") else text for text in written]


def _raw(text: str) -> str:
    """Return a text that Jinja leaves as it is, in the middle of a template."""
    return _OPENS.sub("{% raw %}{{% endraw %}", text).replace("\r", '{{ "\\r" }}')
