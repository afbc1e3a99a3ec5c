"""`--to langchain`: a prompt template of LangChain, and a chain that asks a server with it. Level 9."""

from __future__ import annotations

from localprompt.exports.chat_json import opening_notes
from localprompt.exports.form import Export, as_json, label_notes, program, prompt_json
from localprompt.exports.winner import Winner


def langchain(winner: Winner) -> Export:
    """Return a module with the template, and its prompt beside it."""
    return Export(
        {"chain.py": program("chain.py"), "prompt.json": as_json(prompt_json(winner))},
        "in this folder: from chain import prompt_template, chain",
        (*label_notes(winner), *opening_notes(winner)),
    )
