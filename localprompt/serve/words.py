"""Text to tokens and back, beside the engine: the vocabulary in a process of its own. Level 9."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, TypeVar

from localprompt.engine.process import RequestsDied
from localprompt.engine.radix import any_of
from localprompt.errors import ConfigError, ModelError, WorkerDied
from localprompt.lm.local import LocalModel
from localprompt.lm.rendered import Rendered, spans_of
from localprompt.serve.bodies import ChatMessage
from localprompt.serve.work import RequestDied
from localprompt.types import Message

_T = TypeVar("_T")
_MOST_TURNS = 10_000
"""Of one chat: for each order of roles it is tried with long texts what the template makes of it."""


class Words:
    """What a vocabulary says; asked from one event loop.

    Args:
        model: whose vocabulary it is; it is not asked while it computes.
    """

    def __init__(self, model: LocalModel) -> None:
        self._model = model.vocabulary()
        self.has_chat = self._model.has_chat
        """True if chats have a template."""
        self.special = self._model.special_tokens
        """Id and text of tokens with a role."""
        self.bos = self.special.get("bos", (None, ""))[0]
        """What a model may want before every text; None if it has none."""
        self.start_token = int(self._model.engine.info["start_token"])
        """What stands in for an empty text."""
        self._pieces, self._texts, self._ends = self._model.pieces
        self.n_vocab = len(self._pieces)
        self._control = re.compile(any_of([text for text in self._texts.values() if text]) or r"(?!)")
        self._thread = ThreadPoolExecutor(1, "vocabulary")

    def close(self) -> None:
        """End the process."""
        self._thread.shutdown()
        self._model.close()

    def data(self, token: int) -> bytes:
        """Return the bytes that a token adds to a text; none for control tokens."""
        return self._pieces[token]

    def is_end(self, token: int) -> bool:
        """True for every token that ends a completion."""
        return token in self._ends

    def name(self, token: int) -> str:
        """Return a token as OpenAI writes it: its text, `bytes:` and hexadecimals for parts of a character."""
        data = self.data(token)
        if not data:
            return self._texts.get(token, "")
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)

    async def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts, with BOS where the model wants one."""
        return await self._ask(partial(self._model.tokenize, texts))

    def marked(self, text: str) -> Rendered:
        """Return a text in which whatever looks like a control token is one."""
        return Rendered(text, [found.span() for found in self._control.finditer(text)])

    def text(self, tokens: Sequence[int], *, control: bool = False) -> str:
        """Return the text of tokens; control tokens are left out, or written by their names if `control`."""
        names = self._texts if control else {}
        data = b"".join(self._pieces[token] or names.get(token, "").encode() for token in tokens)
        return data.decode(errors="replace")

    async def chat(self, chats: Sequence[Sequence[ChatMessage]]) -> list[str]:
        """Return chats up to the assistant's answer; a last turn of the assistant's is its beginning.

        Raises:
            ConfigError: if the template refuses the messages, or they are endless.
        """
        if (most := max(map(len, chats), default=0)) > _MOST_TURNS:
            raise ConfigError(f"a chat has {most:,} messages; at most {_MOST_TURNS:,} are read", "send the last ones")
        turns = [[Message(_role(each), each.text) for each in messages] for messages in chats]
        openings = [each.pop().content if len(each) > 1 and each[-1].role == "assistant" else "" for each in turns]
        try:
            return await self._ask(lambda: list(map(self._model.chat, turns, openings)))
        except WorkerDied:
            raise
        except ModelError as error:
            raise ConfigError(error.message, error.hint) from None

    async def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], int]]:
        """Return the tokens of context and continuation as one text, and where the continuation begins in them."""
        asked = [[str(context), continuation, spans_of(context)] for context, continuation in pairs]
        return await self._ask(lambda: self._model.engine.map("encode_pairs", asked))

    async def _ask(self, question: Callable[[], _T]) -> _T:
        ask = asyncio.get_running_loop().run_in_executor
        try:
            return await ask(self._thread, question)
        except RequestsDied as died:
            # One that is answered: after too many deaths in a row no further process would be started.
            await ask(self._thread, self._model.tokenize, [""])
            raise RequestDied("a text of the request kills the tokeniser", died.message) from None

    def check(self, tokens: Sequence[int]) -> None:
        """Check that tokens are in the vocabulary.

        Raises:
            ConfigError: naming one that is not.
        """
        for token in tokens:
            if token >= self.n_vocab:
                raise ConfigError(f"token {token} is not in the vocabulary, which has {self.n_vocab}")


def _role(message: ChatMessage) -> Literal["system", "user", "assistant"]:
    return "system" if message.role == "developer" else message.role
