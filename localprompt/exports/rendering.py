"""A prompt with its inputs still open, cut into pieces. Level 9.

A template language of another program would read an instruction or an example as its own. So a prompt is taken apart
first, into literal text, control tokens and inputs, and each form escapes the literals in its own way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from localprompt.lm.base import LanguageModel
from localprompt.lm.rendered import Rendered
from localprompt.tasks import Task
from localprompt.tasks.template import Rendering
from localprompt.types import Message, Prompt

_TEXT = -1


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of what the model is shown."""

    text: str
    """The literal, the text of the control token, or the name of the input."""
    is_input: bool = False
    token: int = _TEXT
    """Id of a control token; -1 for anything else."""

    def to_json(self) -> object:
        """Return a text, for an input `{"input": name}`, for a control token `{"control": text, "token": id}`."""
        if self.is_input:
            return {"input": self.text}
        return self.text if self.token < 0 else {"control": self.text, "token": self.token}


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a chat with its inputs still open."""

    role: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class OpenPrompt:
    """What the model is shown for any row."""

    pieces: tuple[Piece, ...]
    """The whole but for the token `bos`, control tokens of the chat template too."""
    turns: tuple[Turn, ...]
    """Of a chat, the beginning of the answer as the last one; empty where the layout is raw."""
    bos: int | None
    """The token that the model wants before all others, which servers put before every text; None: it wants none."""

    @property
    def is_chat(self) -> bool:
        """True if the model answers a turn, False if it continues a text."""
        return bool(self.turns)


def open_prompt(task: Task, prompt: Prompt, lm: LanguageModel) -> OpenPrompt:
    """Return a prompt whose inputs are open.

    Raises:
        ModelError: if the layout is a chat and the model has no usable chat template.
    """
    text, turns = open_layout(task, prompt)
    if not turns:
        return OpenPrompt(text, (), _bos(lm))
    rendering, marks = _marked(task, prompt)
    pieces, bos = list(_pieces(lm, rendering.messages, rendering.opening, marks)), _bos(lm)
    if bos is not None and pieces[0].token == bos:  # it is there once, whoever writes it
        del pieces[0]
    return OpenPrompt(tuple(pieces), turns, bos)


def open_layout(task: Task, prompt: Prompt) -> tuple[tuple[Piece, ...], tuple[Turn, ...]]:
    """Return a prompt whose inputs are open, as a text to continue or as the turns of a chat; the other is empty.

    No model is asked: turns are as any chat template gets them, the beginning of the answer as the last one.
    """
    rendering, marks = _marked(task, prompt)
    opening = [Message("assistant", rendering.opening)] if rendering.opening and rendering.messages else []
    turns = tuple(Turn(each.role, tuple(_cut(each.content, marks))) for each in (*rendering.messages, *opening))
    return tuple(_cut(rendering.text, marks)), turns


def filled(pieces: Sequence[Piece], inputs: Mapping[str, str]) -> str:
    """Return the text of pieces with a row's inputs."""
    return "".join(inputs[piece.text] if piece.is_input else piece.text for piece in pieces)


def tokens_of(prompt: OpenPrompt, inputs: Mapping[str, str], lm: LanguageModel) -> list[int]:
    """Return the token ids for a row, put together from the pieces: control tokens from nowhere but the template.

    That is what the exported programs do with the tokeniser of a server.
    """
    ids = [] if prompt.bos is None else [prompt.bos]
    for is_control, run in groupby(prompt.pieces, lambda piece: piece.token >= 0):
        if is_control:
            ids += [piece.token for piece in run]
        else:
            ids += without_bos(lm, filled(list(run), inputs))
    return ids


def without_bos(lm: LanguageModel, text: str) -> list[int]:
    """Return the tokens of a plain text without the one that begins every text."""
    (ids,) = lm.tokenize([text])
    return ids[len(lm.tokenize([""])[0]) :]


def named_slots(pieces: Sequence[Piece], whole: Sequence[Piece] = ()) -> str:
    """Return pieces as one text in which inputs are written `{{name}}`, with more braces where that is in the text.

    Where the pieces are of a `whole`, of a chat for instance, its inputs are written alike, and as nothing in it is.
    """
    whole, n = whole or pieces, 2
    literal = "".join(piece.text for piece in whole if not piece.is_input)
    names = {piece.text for piece in whole if piece.is_input}
    while any("{" * n + name + "}" * n in literal for name in names):
        n += 1
    return "".join("{" * n + piece.text + "}" * n if piece.is_input else piece.text for piece in pieces)


def _bos(lm: LanguageModel) -> int | None:
    (ids,) = lm.tokenize([""])
    return ids[0] if ids else None


def _marked(task: Task, prompt: Prompt) -> tuple[Rendering, Mapping[str, str]]:
    """Return a prompt with a mark in the place of each input, and the names of inputs by their marks."""
    marks = _marks(task.inputs, prompt)
    return task.layout.render(prompt, {name: mark for mark, name in marks.items()}), marks


def _marks(names: Sequence[str], prompt: Prompt) -> dict[str, str]:
    """Return a word for each input that stands nowhere else: it is made of a hash of the prompt."""
    return {f"slot{hashlib.sha256(f'{prompt.id} {name}'.encode()).hexdigest()[:24]}end": name for name in names}


def _cut(text: str, marks: Mapping[str, str]) -> Iterator[Piece]:
    for part in re.split(f"({'|'.join(marks)})", text):
        if part:
            yield Piece(marks[part], is_input=True) if part in marks else Piece(part)


def _pieces(lm: LanguageModel, messages: Sequence[Message], opening: str, marks: Mapping[str, str]) -> Iterator[Piece]:
    text = lm.chat(messages, opening)
    spans = text.spans if isinstance(text, Rendered) else ()
    ids = {mark: _control_id(lm, mark) for mark in dict.fromkeys(text[start:end] for start, end in spans)}
    at = 0
    for start, end in spans:
        yield from _cut(text[at:start], marks)
        yield Piece(text[start:end], token=ids[text[start:end]])
        at = end
    yield from _cut(text[at:], marks)


def _control_id(lm: LanguageModel, mark: str) -> int:
    """Return the id of a control token: the last one, behind the token that may begin every text."""
    return lm.tokenize([Rendered(mark, [(0, len(mark))])])[0][-1]
