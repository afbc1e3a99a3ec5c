"""What a faulty export of a model leaves in its file that llama.cpp runs all the same. Level 2, from header and worker.

Source: llama.cpp's vocabulary loader, which warns of some of these in its log and changes the types of a few well-known
tokens by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from localprompt.engine.gguf import GGUFHeader

_NORMAL = 1
_PARSED = frozenset({2, 3, 4})
"""Types of tokens that are found in a text as a whole: unknown, control, user-defined."""
_SHOWN = 5
_LOOKED_FOR = 200
"""Marks: templates write ten or twenty, a hostile one may write 200,000, each a search of the whole vocabulary."""


def find_faults(header: GGUFHeader, writing: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one sentence for each thing in a model file that makes its answers worse; empty if there is none.

    Args:
        header: of the file.
        writing: how the loaded vocabulary writes blank space and the marks of the chat template, from the worker, and
            as `special` the ids and texts of its tokens `bos` and `eos`.
    """
    return (*_wrongly_typed(header, writing), *_endless(writing), *_doubled(writing), *_spaces(writing))


def _wrongly_typed(header: GGUFHeader, writing: Mapping[str, Any]) -> Iterator[str]:
    """Tokens that are marks and not typed so that a text is cut at them: of the chat template, then EOS and BOS."""
    faulty, pieces = [], []
    for mark, tokens in writing.get("marks", ())[:_LOOKED_FOR]:
        token = header.tokens.index(mark)
        if token is None or _type(header, token) in _PARSED:
            continue
        faulty.append(mark)
        if token not in tokens:
            pieces.append(f"{mark} into {len(tokens)}")
    if pieces:
        yield (
            f"the chat template writes {_some(faulty)}, in the vocabulary but not typed as control tokens "
            f"(NORMAL, a faulty export), so they are cut to pieces: {_some(pieces)} tokens"
        )
    for name in ("eos", "bos") if header.add_bos else ("eos",):
        token, text = writing["special"].get(name, (-1, ""))
        if token >= 0 and _type(header, token) == _NORMAL and not (pieces and text in faulty):
            yield f"the {name.upper()} token {text} is typed NORMAL, not as a control token (a faulty export)"


def _endless(writing: Mapping[str, Any]) -> Iterator[str]:
    if writing.get("ends", True):
        return
    after = writing["tail"].split()
    end = "puts nothing after an answer that ends it"
    if after:
        end = f"ends an answer with {after[0][:40]!r}, which the vocabulary does not know as an end"
    yield f"the chat template {end}: completions may go on to max_tokens"


def _doubled(writing: Mapping[str, Any]) -> Iterator[str]:
    if writing.get("doubled"):
        yield f"a chat begins with {writing['doubled']} twice: the template writes it two times"


def _spaces(writing: Mapping[str, Any]) -> Iterator[str]:
    if not writing.get("keeps_spaces", True):
        yield "the tokeniser drops or changes blank space: the model does not see lines and indentation as they are"
    if not writing.get("keeps_lines", True):
        yield "the chat template changes blank space inside messages: the model does not see line breaks as they are"


def _type(header: GGUFHeader, token: int) -> int | None:
    """Return the type that the file gives a token; None where it gives none."""
    types = header.metadata.get("tokenizer.ggml.token_type")
    return int(types[token]) if isinstance(types, np.ndarray) else None


def _some(items: list[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")
