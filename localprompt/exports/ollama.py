"""`--to ollama`: a Modelfile whose template is the whole prompt. Level 9.

A Modelfile drops characters that it does not hold to be printable, and three quotes end its texts. Its template is one
of Go, in which two braces begin an action. So all of these are written as Go strings inside of actions.
"""

from __future__ import annotations

import re

from localprompt.errors import ConfigError
from localprompt.exports.form import Export, sampling
from localprompt.exports.rendering import Piece, named_slots
from localprompt.exports.winner import Winner

_SPECIAL = re.compile(r'\{(?![\n !#-z|}~])|"(?="|\Z)|[^\n -~]')
"""Begins an action or ends a text, also with what follows; or may be dropped, as not all that is not ASCII is."""
_CONTEXT = 4096
"""Tokens that Ollama takes by default; it cuts what is longer without a word. Other rows may be twice as long."""
NOT_RUN = "it was not run in Ollama; this form was tested with Go's own templates against the tokens of the engine"

NO_GRAMMAR = (
    "the run chose among labels by their likelihood; Ollama has no grammars, so the model may write what is no label"
    " (docs/exports.md)"
)


def ollama(winner: Winner) -> Export:
    """Return a Modelfile; the message of a user is the input, or of several inputs the text that holds them.

    Raises:
        ConfigError: if a stop string cannot be written in a Modelfile.
    """
    pieces, asked, beside = winner.open.pieces, "the input", dict[str, str]()
    if len(winner.task.inputs) > 1:
        pieces, between = _around(pieces)
        asked = "input.txt with its names replaced"
        beside = {"input.txt": named_slots(between)}
    template = "".join("{{ .Prompt }}" if piece.is_input else escaped(piece.text) for piece in pieces)
    named = sampling(winner)
    longest = max(map(len, winner.lm.tokenize([winner.text(row) for row in winner.found.rows]))) + named["max_tokens"]
    parameters = {"temperature": named["temperature"], "num_predict": named["max_tokens"], "repeat_penalty": 1.0}
    parameters["num_ctx"] = max(_CONTEXT, 2 * longest)
    lines = [
        f"# The prompt that run {winner.found.run_id} of localprompt found; a message is {asked}.",
        f"FROM {winner.model_file or 'MODEL.gguf'}",
        f'TEMPLATE """{template}"""',
        *(f"PARAMETER {name} {value}" for name, value in parameters.items()),
        *(f"PARAMETER stop {_quoted(stop)}" for stop in named.get("stop", ())),
    ]
    labels = (NO_GRAMMAR,) if winner.task.labels else ()
    return Export(
        {"Modelfile": "\n".join(lines) + "\n", **beside},
        f"in this folder: ollama create NAME -f Modelfile, then ollama run NAME; a message is {asked}",
        (NOT_RUN, *labels),
    )


def _around(pieces: tuple[Piece, ...]) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Return pieces with one input in the place of all that lies from the first to the last, and what that was."""
    places = [i for i, piece in enumerate(pieces) if piece.is_input]
    first, last = places[0], places[-1] + 1
    return (*pieces[:first], Piece("prompt", is_input=True), *pieces[last:]), pieces[first:last]


def escaped(text: str) -> str:
    """Return a literal that is read as no action and ends no text."""
    return _SPECIAL.sub(lambda match: _action(match[0]), text)


def _action(character: str) -> str:
    """Return an action that writes a character, quotes too by their number, so that none stand together."""
    code = ord(character)
    if character.isprintable() and 0x80 <= code < 0x10000:  # what came later into Unicode, Ollama may not know
        return character
    return f'{{{{ "\\u{code:04x}" }}}}' if code < 0x10000 else f'{{{{ "\\U{code:08x}" }}}}'


def _quoted(stop: str) -> str:
    """Return a stop string as a Modelfile has it: between quotes, with no escapes."""
    if '"' not in stop and "\n" not in stop and stop.isprintable():
        return f'"{stop}"'
    kept = stop.replace("\n", "").replace("\r", "").replace("\t", "")
    if '"""' in stop or stop.endswith('"') or stop.startswith('"') or not kept.isprintable():
        raise ConfigError(f"the stop string {stop!r} cannot be written in a Modelfile", "give the task another stop")
    return f'"""{stop}"""'
