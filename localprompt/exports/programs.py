"""`--to dspy` and `--to langchain`: a module of Python with the prompt beside it, as it was found. Level 9."""

from __future__ import annotations

from localprompt.exports.chat_json import opening_notes
from localprompt.exports.form import Export, label_notes, program
from localprompt.exports.winner import Winner


def dspy_program(winner: Winner) -> Export:
    """Return a module with a program of DSPy, and an adapter that sends the prompt as it was found."""
    return _module(winner, "program.py", "from program import Program, server_lm")


def langchain(winner: Winner) -> Export:
    """Return a module with a prompt template of LangChain, and a chain that asks a server with it."""
    return _module(winner, "chain.py", "from chain import prompt_template, chain")


def _module(winner: Winner, name: str, use: str) -> Export:
    return Export({name: program(name)}, f"in this folder: {use}", (*label_notes(winner), *opening_notes(winner)))
