"""Labels as a grammar for llama.cpp (GBNF): a completion that is one of them and nothing else. Level 9."""

from __future__ import annotations

from collections.abc import Sequence

_ENDING = 2
"""Tokens beside those of the label: one may be a space, one ends the completion."""


def grammar(labels: Sequence[str], separator: str) -> str:
    """Return a GBNF grammar of the labels, each behind the separator as the engine scores them."""
    literals = ("".join(map(_escaped, separator + label)) for label in labels)
    return "root ::= " + " | ".join(f'"{each}"' for each in literals) + "\n"


def token_grammar(tokens: Sequence[Sequence[int]]) -> str:
    """Return a GBNF grammar of the labels as the tokens that the engine scores.

    A grammar of the text lets a model begin a label with any piece of it, and a piece such as ` a` may be probable for
    reasons of its own. Where each label is one token, the greedy choice is that of the likelihoods.
    """
    return f"root ::= {' | '.join(' '.join(f'<[{token}]>' for token in label) for label in tokens)}\n"


def most_tokens(labels: Sequence[str], separator: str) -> int:
    """Return a number of tokens that every label fits into: none is shorter than a byte."""
    return max(len((separator + label).encode("utf-8", "replace")) for label in labels) + _ENDING


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
