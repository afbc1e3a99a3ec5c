"""Chat templates of a model file, rendered in a sandbox. Level 1, runs in the worker.

A template is hostile input. And so is what it renders: a row of data may contain `<|im_end|>`. So the result is a text
plus the spans in it that the *template* wrote as control tokens; only these become control tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localprompt.errors import ModelError
from localprompt.types import Message

DATE = "2025-01-01"
"""What templates that print the date are told: a prompt must not change overnight."""

_GUARD = "\ue000"
"""Private-use character that stands inside control-token text of messages while the template runs."""

Span = tuple[int, int]


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`, which marks what to train on and is nothing here."""

    tags = frozenset({"generation"})  # type: ignore[assignment]

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled chat template.

    Raises:
        ModelError: if it is not valid Jinja.
    """

    def __init__(self, source: str, control: re.Pattern[str], variables: dict[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.globals.update(raise_exception=_raise, strftime_now=lambda _: DATE)
        self._control = control
        self._variables = variables
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ModelError(f"the model's chat template is not valid: {error}") from None

    def render(self, messages: Sequence[Message]) -> tuple[str, list[Span]]:
        """Return the text up to the opening of the assistant's turn, and its control-token spans (character offsets).

        Templates without a system role (Gemma) get the system message at the head of the first user turn.

        Raises:
            ModelError: if the template refuses the messages.
        """
        try:
            text = self._run(messages)
        except Exception as error:  # noqa: BLE001 - a template is a foreign program: it may fail in any way
            if not messages or messages[0].role != "system":
                raise ModelError(f"the model's chat template refuses the messages: {error}") from None
            return self.render(_without_system(messages))
        return unguard(text, self._control)

    def _run(self, messages: Sequence[Message]) -> str:
        turns = [{"role": m.role, "content": self._guard(m.content)} for m in messages]
        # Reasoning models: an answer that must be short cannot begin with a page of thoughts.
        return self._template.render(
            messages=turns, add_generation_prompt=True, enable_thinking=False, tools=None, **self._variables
        )

    def _guard(self, content: str) -> str:
        return self._control.sub(lambda match: match[0][0] + _GUARD + match[0][1:], content.replace(_GUARD, ""))


def unguard(text: str, control: re.Pattern[str]) -> tuple[str, list[Span]]:
    """Return the text without guards, and the spans of control-token text that had none."""
    pieces, spans, length, at = [], [], 0, 0
    for match in control.finditer(text):
        before = text[at : match.start()].replace(_GUARD, "")
        pieces += [before, match[0]]
        spans.append((length + len(before), length + len(before) + len(match[0])))
        length += len(before) + len(match[0])
        at = match.end()
    return "".join([*pieces, text[at:].replace(_GUARD, "")]), spans


def _without_system(messages: Sequence[Message]) -> list[Message]:
    system, *rest = messages
    if not rest:
        return [Message("user", system.content)]
    return [Message("user", f"{system.content}\n\n{rest[0].content}"), *rest[1:]]


def _raise(message: str) -> None:
    raise TemplateError(message)
