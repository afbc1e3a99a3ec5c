"""`--to promptfoo`: a suite with the rows as tests. Level 9.

promptfoo renders strings among the variables as templates too, loads those that begin with `file://` and cuts a line
break at their end. It does nothing to what is inside an object: the inputs of a row are one.
"""

from __future__ import annotations

import json
import re

import yaml

from localprompt.exports.form import Export, label_notes, program
from localprompt.exports.rendering import Piece
from localprompt.exports.winner import Winner

_OF_TAGS = re.compile(r"\{(?=[{%#]|\Z)|#(?=\}|\Z)")
"""What begins a tag of Nunjucks, or would with what follows, and what ends a comment, also where none has begun."""
_NOT_IN_JAVASCRIPT = re.compile(
    r"\A\(\?[ims]+\)|\(\?(?:[:=!]|P?<\w|<[=!])|\\[^GKLMNRXhm]|\[\^?\]?(?:\\.|[^]\\[])*\]"
    r"|(\(\?.|\\.|\[[^]]*\[:|[*+?}]\+)"
)
"""Finds, as its group, what a pattern of Python has and JavaScript, as assert.js reads it, has not."""
_COMPARES = "assert.js compares texts but for case, blank space and punctuation, not by the metric"


def promptfoo(winner: Winner) -> Export:
    """Return a suite that asks a llama.cpp server about every row, with an assertion for each."""
    template = {"prompt": "".join(map(escaped, winner.open.pieces))}
    kind, argument = winner.answer
    tests = [
        {
            "description": row.id,
            "vars": {
                "row": dict(row.inputs),
                "row_expected": {"kind": kind, "argument": argument, "targets": list(row.targets)},
            },
            "assert": [{"type": "javascript", "value": "file://assert.js"}],
        }
        for row in winner.found.rows
    ]
    suite = {
        "description": f"run {winner.found.run_id} of localprompt",
        "prompts": ["file://template.json"],
        "providers": [{"id": "file://provider.js", "config": {"server": "http://127.0.0.1:8080"}}],
        "tests": "file://tests.json",
    }
    return Export(
        {
            "promptfooconfig.yaml": yaml.safe_dump(suite, sort_keys=False, allow_unicode=True),
            "template.json": json.dumps(template, ensure_ascii=True, indent=1) + "\n",
            "tests.json": json.dumps(tests, ensure_ascii=True, indent=1) + "\n",
            "provider.js": program("provider.js"),
            "assert.js": program("assert.js"),
        },
        "with llama-server running on the same GGUF, in this folder: npx promptfoo eval",
        (*label_notes(winner), _COMPARES, *_pattern_notes(*winner.answer)),
    )


def _pattern_notes(kind: str, pattern: str) -> tuple[str, ...]:
    lacks = [match[1] for match in _NOT_IN_JAVASCRIPT.finditer(pattern if kind == "regex" else "") if match[1]][:1]
    return tuple(f"JavaScript has no {each!r} as in the pattern of `answer`: change it in tests.json" for each in lacks)


def escaped(piece: Piece) -> str:
    """Return a literal that is read as no tag, or the tag of an input."""
    if piece.is_input:
        return f"{{{{ row[{json.dumps(piece.text, ensure_ascii=False)}] }}}}"
    return _OF_TAGS.sub(lambda match: f'{{{{ "{match[0]}" }}}}', piece.text)
