"""Which tokens a regular expression, or a JSON schema, allows next. Level 2, runs in the worker.

llguidance walks the derivatives of the expression over a trie of the vocabulary. It answers what it cannot do with an
error, where llama.cpp's own grammar sampler aborts the process.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from functools import cached_property

import llguidance
import numpy as np
from numpy.typing import NDArray

from localprompt.engine.llama import Llama, utf8
from localprompt.errors import ConfigError

_SLICES = [r"[^<\"\\\x00-\x1F\x7F]{1,10}", r"[^<\"\\\x00-\x1F\x7F]{1,30}", r"[^<\"\\\x00-\x1F\x7F]+"]
"""Parts of the vocabulary whose masks are kept ready. Where an expression allows all of one (the text between two tags
does), only the other tokens are walked: 0.1 ms a token instead of 1.5 with 152,000 tokens."""

_MOST_REMAINDERS = 10_000
"""Of a `multipleOf`, or of the common multiple of several: a matcher is made of all of them, 100,000 in a second."""


class Grammars:
    """Makes constraints for the completions of one model.

    The trie is built when the first is wanted, and takes 0.6 s for 152,000 tokens, 2 s for 262,000.
    """

    def __init__(self, llama: Llama) -> None:
        self._llama = llama

    def check(self, pattern: str) -> None:
        """Do nothing.

        Raises:
            ConfigError: if `pattern` is not a regular expression, or not one that can be followed.
        """
        shown = pattern if len(pattern) <= 60 else pattern[:60] + "..."
        try:
            is_error, messages = llguidance.LLMatcher.validate_grammar_with_warnings(_grammar(pattern), self._trie)
        except ValueError as error:  # of a schema that is nested too deeply to be read
            is_error, messages = True, [str(error)]
        if not is_error and pattern.startswith("{") and _remainders(pattern) > _MOST_REMAINDERS:
            problem = f"multipleOf, or the common multiple of several, is above {_MOST_REMAINDERS:,}"
            raise ConfigError(f"the grammar {shown!r} costs too much: its {problem}")
        if is_error:
            hint = "" if pattern[:1] == "{" else "the syntax is that of Rust's regex: no look-around or back-references"
            raise ConfigError(f"the grammar {shown!r} does not compile: {_reason(messages[0])}", hint)

    def constraint(self, pattern: str) -> Constraint:
        """Return the constraint of a completion that has not begun; `pattern` has passed `check`."""
        matcher = llguidance.LLMatcher(self._trie, _grammar(pattern), log_level=0)
        return Constraint(matcher, self._llama.n_vocab)

    @cached_property
    def _trie(self) -> llguidance.LLTokenizer:
        vocabulary = _Vocabulary(self._llama)
        ends = vocabulary.ends or [vocabulary.eos_token_id]
        return llguidance.LLTokenizer(llguidance.TokenizerWrapper(vocabulary), self._llama.n_vocab, ends, _SLICES)


class Constraint:
    """What one completion may still become."""

    def __init__(self, matcher: llguidance.LLMatcher, n_vocab: int) -> None:
        self._matcher = matcher
        self._n_vocab = n_vocab
        self._bits = np.zeros((n_vocab + 31) // 32, np.uint32)

    def allowed(self) -> NDArray[np.intp]:
        """Return the ids of the tokens that may come next, rising; the end tokens are among them if the text may end.

        There are none in a dead end: the vocabulary cannot write what must follow, or the expression costs too much.
        """
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        if self._matcher.is_error():  # the mask would allow the end
            return np.empty(0, np.intp)
        bits = np.unpackbits(self._bits.view(np.uint8), count=self._n_vocab, bitorder="little")
        return np.flatnonzero(bits.view(np.bool_))

    def accept(self, token: int) -> None:
        """Go on with one of the allowed tokens."""
        self._matcher.consume_token(token)

    @property
    def is_complete(self) -> bool:
        """True if the text matches and nothing can follow."""
        return self._matcher.is_stopped() and self._matcher.is_accepting()


class _Vocabulary:
    """A vocabulary as llguidance wants it: the bytes of each token, and, when called, the tokens of given bytes.

    Control tokens and end tokens have no bytes, so that no text can contain them.
    """

    def __init__(self, llama: Llama) -> None:
        self._llama = llama
        self.ends = [token for token in range(llama.n_vocab) if llama.is_end(token)]
        self.tokens = [llama.piece(token) for token in range(llama.n_vocab)]
        for token in self.ends:
            self.tokens[token] = b""
        self.eos_token_id = self.ends[0] if self.ends else llama.start_token  # one is asked for; this is no text either
        self.bos_token_id = None
        self.special_token_ids: list[int] = []

    def __call__(self, data: bytes) -> list[int]:
        """Return the model's own tokens of bytes that the expression leaves no choice about."""
        text = data.decode(errors="replace")
        for before in self._before:
            tokens = self._llama.tokenize(before + text, control=False)
            start, size = len(tokens), len(data)
            while start > 0 and size > 0:
                start -= 1
                size -= len(self.tokens[tokens[start]])
            if b"".join(self.tokens[token] for token in tokens[start:]) == data:
                return tokens[start:]
        return [self._of_byte[byte] for byte in data if byte in self._of_byte]  # what is missing here is a dead end

    @cached_property
    def _before(self) -> tuple[str, ...]:
        """What to put before a text that is tokenised and cut off again, to be tried in this order."""
        if not self._llama.writes_spaces_as_underlines:
            return ("",)
        if len(self._of_byte) < 256:
            return ()  # llama.cpp aborts over a character that SentencePiece has neither as a token nor in bytes
        return ("", "\x02")  # SentencePiece puts a space before a text; this byte keeps it from merging with the text

    @cached_property
    def _of_byte(self) -> dict[int, int]:
        return {piece[0]: token for token, piece in enumerate(self.tokens) if len(piece) == 1}


def _remainders(schema: str) -> int:
    """Return how many remainders a number may leave by what a schema, which llguidance takes, wants it divisible by."""
    found: list[int] = []

    def look(part: dict[str, object]) -> None:
        if type(number := part.get("multipleOf")) in (int, float):  # a property may have this name, and be `true`
            found.append(int(f"{Decimal(str(number)).normalize():f}".replace(".", "")))  # 0.25 costs what 25 does

    json.loads(schema, object_hook=look)
    return math.lcm(*found)


def _grammar(pattern: str) -> str:
    if pattern.startswith("{"):  # with this no regular expression begins
        # A small model that may write blank space between the parts writes nothing else.
        return llguidance.LLMatcher.grammar_from_json_schema(
            utf8(pattern).decode(),
            defaults={"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
        )
    return llguidance.LLMatcher.grammar_from_regex(utf8(pattern).decode())


def _reason(message: str) -> str:
    """Return the one line of a compiler's message that says what is wrong."""
    lines = [line.strip() for line in message.strip().splitlines()] or ["no reason given"]
    found = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (found or lines)[0].rpartition("(in regex): ")[2]
