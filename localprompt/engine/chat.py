"""Chat templates of a model file, rendered in a sandbox. Level 1, runs in the worker.

A template is hostile input: it gets no Python, no chance and no clock, and bounded time, memory and output. And so is
what it renders: a row of data may contain `<|im_end|>`. So the result is a text plus the spans in it that the
*template* wrote as control tokens; only these become control tokens.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localprompt.engine.bounds import OutOfTime, bounded
from localprompt.errors import ModelError
from localprompt.types import Message

DATE = datetime.date(2025, 1, 1)
"""What templates that print the date are told: a prompt must not change overnight."""
SECONDS = 2.0
"""Of computing, for one rendering; honest templates take milliseconds."""
MEGABYTES = 512
"""That one rendering may add to the process."""
MAX_CHARS = 1_000_000
"""That a template may write around the messages; of the messages themselves, four copies."""

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
        ModelError: if it is not valid Jinja, or too large for the bounds.
    """

    def __init__(self, source: str, control: re.Pattern[str], variables: dict[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.globals.update(raise_exception=_raise, strftime_now=_pinned)
        del environment.globals["lipsum"], environment.filters["random"]  # the same messages give the same prompt
        self._control = control
        self._variables = variables
        try:
            with bounded(SECONDS, MEGABYTES):
                self._template = environment.from_string(source)
        except (TemplateError, OutOfTime, MemoryError, RecursionError, ValueError, SyntaxError) as error:
            raise ModelError(f"the model's chat template is not valid: {_sentence(error)}") from None

    def render(self, messages: Sequence[Message]) -> tuple[str, list[Span]]:
        """Return the text up to the opening of the assistant's turn, and its control-token spans (character offsets).

        Templates without a system role (Gemma) get the system message at the head of the first user turn.

        Raises:
            ModelError: if the template refuses the messages, or goes beyond the bounds of time, memory or output.
        """
        try:
            with bounded(SECONDS, MEGABYTES):
                text = self._run(messages)
        except (OutOfTime, MemoryError, _TooLongError) as error:
            raise ModelError(f"the model's chat template is given up: {_sentence(error)}") from None
        except Exception as error:  # noqa: BLE001 - a template is a foreign program: it may fail in any way
            if not messages or messages[0].role != "system":
                raise ModelError(f"the model's chat template refuses the messages: {_sentence(error)}") from None
            return self.render(_without_system(messages))
        return unguard(text, self._control)

    def _run(self, messages: Sequence[Message]) -> str:
        turns = [{"role": m.role, "content": self._guard(m.content)} for m in messages]
        room = MAX_CHARS + 4 * sum(len(turn["content"]) for turn in turns)
        # Reasoning models: an answer that must be short cannot begin with a page of thoughts.
        pieces = []
        for piece in self._template.generate(
            messages=turns, add_generation_prompt=True, enable_thinking=False, tools=None, **self._variables
        ):
            room -= len(piece)
            if room < 0:
                raise _TooLongError(f"it writes more than {MAX_CHARS} characters around the messages")
            pieces.append(piece)
        text = "".join(pieces)
        # Some templates open the thoughts whatever they are told.
        return f"{text.rstrip()}\n\n</think>\n\n" if _OPEN_THOUGHT.search(text) else text

    def _guard(self, content: str) -> str:
        # After every character: a control token may be a single character, or lie inside the text of another.
        return self._control.sub(lambda match: "".join(c + _GUARD for c in match[0]), content.replace(_GUARD, ""))


def unguard(text: str, control: re.Pattern[str]) -> tuple[str, list[Span]]:
    """Return the text without guards, and the spans of control-token text that had none."""
    pieces, spans, length, at = [], [], 0, 0
    for match in control.finditer(text):
        if text.startswith(_GUARD, match.end()):
            continue
        before = text[at : match.start()].replace(_GUARD, "")
        pieces += [before, match[0]]
        spans.append((length + len(before), length + len(before) + len(match[0])))
        length += len(before) + len(match[0])
        at = match.end()
    return "".join([*pieces, text[at:].replace(_GUARD, "")]), spans


_OPEN_THOUGHT = re.compile(r"<think>\s*\Z")


class _TooLongError(Exception):
    """A template writes more than it may."""


def _without_system(messages: Sequence[Message]) -> list[Message]:
    system, *rest = messages
    if not rest:
        return [Message("user", system.content)]
    return [Message("user", f"{system.content}\n\n{rest[0].content}"), *rest[1:]]


def _raise(message: str) -> None:
    raise TemplateError(message)


def _pinned(form: str) -> str:
    return DATE.strftime(str(form)[:100])


def _sentence(error: BaseException) -> str:
    """Return what happened on one line: a template may raise with a text of its own."""
    said = " ".join(str(error).split())[:300]
    return said or type(error).__name__
