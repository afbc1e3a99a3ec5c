"""`--to dspy`: a program of DSPy with an adapter that sends the prompt as it was found. Level 9."""

from __future__ import annotations

from localprompt.exports.chat_json import opening_notes
from localprompt.exports.form import Export, as_json, label_notes, program, prompt_json
from localprompt.exports.winner import Winner


def dspy_program(winner: Winner) -> Export:
    """Return a module with the program, and its prompt beside it."""
    return Export(
        {"program.py": program("program.py"), "prompt.json": as_json(prompt_json(winner))},
        "in this folder: from program import Program, server_lm",
        (*label_notes(winner), *opening_notes(winner)),
    )
