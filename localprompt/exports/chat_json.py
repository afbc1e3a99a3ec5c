"""`--to chat-json`: the turns of a chat, as most programs take them. Level 9."""

from __future__ import annotations

from localprompt.errors import ConfigError
from localprompt.exports.form import Export, as_json, label_notes
from localprompt.exports.rendering import named_slots
from localprompt.exports.winner import Winner


def chat_json(winner: Winner) -> Export:
    """Return the turns, with names in braces for the inputs, and those of the example.

    Raises:
        ConfigError: if the prompt is a text to continue, of which no chat can be made that gives the same tokens.
    """
    if not winner.open.is_chat:
        raise ConfigError(
            f"the task {winner.task.name} has a raw layout: its prompt is a text to continue, no chat",
            "use --to text, or --to llama-server",
        )
    whole = [piece for turn in winner.open.turns for piece in turn.pieces]
    turns = [{"role": turn.role, "content": named_slots(turn.pieces, whole)} for turn in winner.open.turns]
    return Export(
        {"messages.json": as_json(turns), "example_messages.json": as_json(winner.messages(winner.example))},
        "messages.json is the prompt with its inputs open, example_messages.json with those of one row",
        (*label_notes(winner), *opening_notes(winner)),
    )


def opening_notes(winner: Winner) -> tuple[str, ...]:
    """Return what is said where the prompt begins the answer itself, which not every program can."""
    if not winner.task.layout.opening:
        return ()
    how = "llama.cpp's server goes on with it and repeats it in the reply, other servers may do neither"
    return (f"the last turn begins the assistant's answer: {how}",)
