"""Chat templates of a model file, rendered in a sandbox. Level 2, runs in the worker.

A template is hostile input: it gets no Python, no chance and no clock, and bounded time, memory and output. And so is
what it renders: a row of data may contain `<|im_end|>`. So the result is a text plus the spans in it that the
*template* wrote as control tokens; only these become control tokens.

And it may leave the messages out without a word: because it wants each content as a list of parts, as those of vision
models do, knows no system turn, or is only a name. So for each order of roles a way of giving the messages is looked
for in which all of their text is in what the model will see, and each rendering is checked.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from jinja2 import TemplateError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localprompt.engine.bounds import OutOfTime, bounded
from localprompt.engine.thinking import answer_opening, without_thoughts
from localprompt.engine.thoughts import close
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

_GUARD = "\ufdd0"
"""Stands inside control-token text of messages while the template runs. Never a character: text does not have it."""

_SIGN = re.compile(r"[<\[◁/]")
"""Begins what templates look for in turns, such as `</think>`, `/no_think` or `<tool_response>`: data is none of it."""

_SHOWN = 40
"""Characters of a template or a message that an error shows."""
_HINT = "use a raw layout (`mode: raw`), or a model file with another chat template"

Span = tuple[int, int]
Arrangement = Callable[[Sequence[Message]], list[Message]]


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`, which marks what to train on and is nothing here."""

    tags = frozenset({"generation"})  # type: ignore[assignment]

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)  # what is set inside stays there, as in the makers' renderer


@dataclass(frozen=True, slots=True)
class Way:
    """How messages are given to a template."""

    arrange: Arrangement
    as_parts: bool
    """Each content is a list of parts, not a text."""
    knows_tools: bool
    """There are none, nor documents; False: nothing is said of them, for templates that then take them for given."""
    is_quiet: bool
    """Thoughts are asked not to be there; False: nothing is said of thoughts, for templates that refuse that."""
    keeps_spaces: bool = True
    """False: the template changes blank space inside the messages, as Falcon's takes blank lines out."""
    answer: str = ""
    """Written behind what the template writes, so that the answer comes next and no thought or choice of a channel."""

    @property
    def keeps_turns(self) -> bool:
        """True if each message stays a turn of its own."""
        return self.arrange is _as_they_are


class ChatTemplate:
    """A compiled chat template.

    Raises:
        ModelError: if it is only a name, is not valid Jinja, or too large for the bounds.
    """

    def __init__(self, source: str, control: re.Pattern[str], variables: dict[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.globals.update(raise_exception=_raise, strftime_now=_pinned)
        environment.filters["tojson"] = _to_json
        del environment.globals["lipsum"], environment.filters["random"]  # the same messages give the same prompt
        self._control = control
        self._variables = variables
        self._quiet = without_thoughts(source)
        self._ways: dict[tuple[str, ...], Way] = {}
        beginning = " ".join(source[:_SHOWN].split()) + ("..." if len(source) > _SHOWN else "")
        self._called = f"the model's chat template ({beginning!r})"
        if "{" not in source:
            raise ModelError(f"{self._called} is a name or a plain text: it leaves out the messages", _HINT)
        try:
            with bounded(SECONDS, MEGABYTES):
                parsed = environment.parse(source)
                self._asks = sorted(self._quiet.keys() & meta.find_undeclared_variables(parsed))
                self._template = environment.from_string(parsed)
        except (TemplateError, OutOfTime, MemoryError, RecursionError, ValueError, SyntaxError) as error:
            raise ModelError(f"{self._called} is not valid: {_sentence(error)}", _HINT) from None

    def render(self, messages: Sequence[Message], *, is_open: bool = True) -> tuple[str, list[Span]]:
        """Return the text up to the opening of the assistant's turn, and its control-token spans (character offsets).

        Templates without a system role (Gemma) get the system message at the head of the first user turn, and those
        that keep no more than one turn get all of them as one. Contents are texts, or lists of parts where only these
        are written.

        Args:
            messages: the turns.
            is_open: False: the text ends with the last message.

        Raises:
            ModelError: if the template refuses the messages, leaves out or changes what they say (but for blank
                space), or goes beyond the bounds of time, memory or output.
        """
        way = self.way(messages)
        try:
            text = self._run(messages, way, is_open=is_open)
        except _RefusedError as refusal:
            raise self._refusal(refusal) from None
        if is_open:
            text = close(text) + way.answer
        # Templates of reasoning models take the thoughts out of earlier answers, each between marks of its own.
        kept = [message for message in messages if message.role != "assistant"]
        lost = _first_lost(_dense(text), [_dense(message.content) for message in kept])
        if lost is not None:
            what = f"leaves out or changes a part of the {kept[lost].role} message {kept[lost].content[:_SHOWN]!r}"
            raise ModelError(f"{self._called} {what}", _HINT)
        return unguard(text, self._control)

    def way(self, messages: Sequence[Message]) -> Way:
        """Return how messages with such roles are given to the template: the first way in which no text is lost.

        Raises:
            ModelError: if there is none, or the template goes beyond its bounds.
        """
        roles = tuple(message.role for message in messages)
        if roles not in self._ways:
            self._ways[roles] = self._first_way([Message(role, _probe(place)) for place, role in enumerate(roles)])
        return self._ways[roles]

    def _first_way(self, probes: Sequence[Message]) -> Way:
        lost_text = False
        refusals: list[_RefusedError] = []
        for way in _ways_of_giving(probes):
            try:
                text = self._run(probes, way)
            except _RefusedError as refusal:
                refusals.append(refusal)
                continue
            said = [probe.content for probe in probes]
            if _first_lost(_dense(text), list(map(_dense, said))) is None:
                spaces = _first_lost(text.replace(_GUARD, ""), said) is None
                return replace(way, keeps_spaces=spaces, answer=self._answer(probes, way, text))
            lost_text |= not way.as_parts
        if lost_text:
            raise ModelError(f"{self._called} leaves out or changes the text of the messages", _HINT)
        raise self._refusal(refusals[0])

    def _answer(self, probes: Sequence[Message], way: Way, opened: str) -> str:
        """Return what the answer wants before it and the opening of its turn lacks."""
        if probes[-1].role == "assistant":
            return ""
        answer = Message("assistant", _probe(len(probes)))
        try:
            said = self._run([*way.arrange(probes), answer], replace(way, arrange=_as_they_are), is_open=False)
        except _RefusedError:
            return ""
        head, found, _ = said.rpartition(answer.content)
        return answer_opening(opened, head, self._control) if found else ""

    def thinking(self, messages: Sequence[Message]) -> str:
        """Return what is done against thoughts in a chat of such roles, for people; empty for most models.

        Raises:
            ModelError: as `way`.
        """
        way = self.way(messages)
        told = [f"{name}={self._quiet[name]!r}" for name in self._asks] if way.is_quiet else []
        text = self._run([Message(message.role, _probe(place)) for place, message in enumerate(messages)], way)
        closed = ["the thought that the template opens is closed"] if close(text) != text else []
        begun = [f"an answer begins behind {way.answer!r}"] if way.answer else []
        return ", ".join(told + closed + begun)

    def _refusal(self, said: Exception) -> ModelError:
        return ModelError(f"the model's chat template refuses the messages: {said}", _HINT)

    def _run(self, messages: Sequence[Message], way: Way, *, is_open: bool = True) -> str:
        """Return what the template writes, with the guards in it.

        Raises:
            _RefusedError: if it fails in any way but one.
            ModelError: if it goes beyond its bounds.
        """
        try:
            with bounded(SECONDS, MEGABYTES):
                return self._write(way.arrange(messages), way, is_open=is_open)
        except (OutOfTime, MemoryError, _TooLongError) as error:
            raise ModelError(f"the model's chat template is given up: {_sentence(error)}", _HINT) from None
        except Exception as error:  # noqa: BLE001 - a template is a foreign program: it may fail in any way
            raise _RefusedError(_sentence(error)) from None

    def _write(self, messages: Sequence[Message], way: Way, *, is_open: bool) -> str:
        texts = [self._guard(message) for message in messages]
        room = MAX_CHARS + 4 * sum(map(len, texts))
        contents: list[Any] = [[{"type": "text", "text": text}] for text in texts] if way.as_parts else texts
        turns = [{"role": m.role, "content": content} for m, content in zip(messages, contents, strict=True)]
        said: dict[str, Any] = {"messages": turns, "add_generation_prompt": is_open}
        if way.is_quiet:
            said |= self._quiet
        if way.knows_tools:
            said |= {"tools": None, "documents": None}
        pieces = []
        for piece in self._template.generate(**said, **self._variables):
            room -= len(piece)
            if room < 0:
                raise _TooLongError(f"it writes more than {MAX_CHARS} characters around the messages")
            pieces.append(piece)
        return "".join(pieces)

    def _guard(self, message: Message) -> str:
        # After every character: a control token may be a single character, or lie inside the text of another.
        text = message.content.replace(_GUARD, "")
        if message.role != "assistant":
            text = _SIGN.sub(rf"\g<0>{_GUARD}", text)
        return self._control.sub(lambda match: "".join(c + _GUARD for c in match[0]), text)


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


def _dense(text: str) -> str:
    """Return a text without blank space, which many templates trim and some change."""
    return "".join(text.replace(_GUARD, "").split())


def _first_lost(text: str, said: Sequence[str]) -> int | None:
    """Return the number of the first of some texts that another does not hold.

    Each is looked for from the one before it on, else a chat of a thousand turns would take minutes.
    """
    at = 0
    for number, each in enumerate(said):
        found = text.find(each, at)
        at = found if found >= 0 else text.find(each)
        if at < 0:
            return number
    return None


class _TooLongError(Exception):
    """A template writes more than it may."""


class _RefusedError(Exception):
    """A template fails over the messages."""


def _as_they_are(messages: Sequence[Message]) -> list[Message]:
    return list(messages)


def _without_system(messages: Sequence[Message]) -> list[Message]:
    system, first, *rest = messages
    return [Message("user", f"{system.content}\n\n{first.content}"), *rest]


def _as_one(messages: Sequence[Message]) -> list[Message]:
    return [Message("user", "\n\n".join(message.content for message in messages))]


def _ways_of_giving(messages: Sequence[Message]) -> Iterator[Way]:
    """Yield ways, what asks the least of a template last."""
    roles = [message.role for message in messages]
    possible = {_as_they_are: True, _without_system: roles[:2] == ["system", "user"], _as_one: roles != ["user"]}
    arranges = [arrange for arrange, fits in possible.items() if fits]
    for arrange, is_quiet, as_parts, knows_tools in product(arranges, (True, False), (False, True), (True, False)):
        yield Way(arrange, as_parts, knows_tools, is_quiet)


def _probe(place: int) -> str:
    """Return a message that a template would change if it changed any: lines, spaces, cases, marks, and many words."""
    lines = "".join(f"Line {line}: é <b> & 'q' \"Q\"\n\n\t- in  two\n" for line in range(60))
    return f"Message {place} begins.\n{lines}Message {place} ends."


def _raise(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON as chat templates expect it: Jinja's own filter sorts keys and escapes some characters for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _pinned(form: str) -> str:
    return DATE.strftime(str(form)[:100])


def _sentence(error: BaseException) -> str:
    """Return what happened on one line: a template may raise with a text of its own."""
    said = " ".join(str(error).split())[:300]
    return said or type(error).__name__
