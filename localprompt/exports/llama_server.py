"""`--to llama-server`: requests that a llama.cpp server reads token by token as the engine does. Level 9."""

from __future__ import annotations

import shlex

from localprompt.exports.form import (
    Export,
    as_json,
    label_likelihoods,
    label_notes,
    llama_cpp_options,
    program,
    sampling,
)
from localprompt.exports.labels import grammar
from localprompt.exports.rendering import tokens_of
from localprompt.exports.winner import Winner

_CURL = """\
#!/bin/sh
# Asks about the example; the server: llama-server -m {model}
curl --silent --show-error "${{1:-http://127.0.0.1:8080}}/completion" \\
  --header 'Content-Type: application/json' --data-binary "@$(dirname "$0")/request.json"
"""


def llama_server(winner: Winner) -> Export:
    """Return the request for one row with its token ids, and a program that makes such requests for any row."""
    named = sampling(winner)
    request = {
        "prompt": tokens_of(winner.open, winner.example.inputs, winner.lm),
        "n_predict": named.pop("max_tokens"),
        **named,
        **llama_cpp_options(winner),
    }
    model = shlex.quote(winner.model_file or "MODEL.gguf")
    compared = "that is so of request.json: ask.py compares likelihoods as the run did, with a request for each label"
    labels, separator = winner.task.labels, winner.task.layout.separator
    older = {"labels.gbnf": grammar(labels, separator)} if labels else {}
    return Export(
        {
            "request.json": as_json(request),
            "request.sh": _CURL.format(model=model.replace("\n", " ")),
            "ask.py": program("ask.py"),
            **older,
        },
        f"with `llama-server -m {model}` running: sh request.sh, or for new rows: python ask.py "
        + " ".join(f"{shlex.quote(name)}='TEXT'" for name in winner.task.inputs),
        (*label_notes(winner), *([compared] if label_likelihoods(winner) else [])),
    )
