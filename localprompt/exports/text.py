"""`--to text`: what the model reads, with names in braces for the inputs. Level 9."""

from __future__ import annotations

from localprompt.exports.form import Export, label_notes
from localprompt.exports.rendering import named_slots
from localprompt.exports.winner import Winner


def text(winner: Winner) -> Export:
    """Return the text up to the answer; of a chat with the marks of the model's own template."""
    return Export(
        {"prompt.txt": named_slots(winner.open.pieces)},
        "prompt.txt ends where the answer begins, without a line break; prompt.json has the same in pieces",
        label_notes(winner),
    )
