"""`--to openai`: a request that any server with OpenAI's interface takes. Level 9."""

from __future__ import annotations

import shlex
from typing import Any

from localprompt.exports.chat_json import opening_notes
from localprompt.exports.form import Export, as_json, label_notes, llama_cpp_options, program, sampling
from localprompt.exports.rendering import filled
from localprompt.exports.winner import Winner

NO_THOUGHTS = {"chat_template_kwargs": {"enable_thinking": False}}
"""The engine renders chats without thoughts; a llama.cpp server has to be told."""


def openai_chat(winner: Winner) -> Export:
    """Return the request for one row, with messages or with a text to continue, and a program that makes such requests.

    Messages are rendered by the server: with the model's own chat template they become the same tokens.
    """
    asked: dict[str, Any] = {"prompt": filled(winner.open.pieces, winner.example.inputs)}
    if winner.open.is_chat:
        asked = {"messages": winner.messages(winner.example), **NO_THOUGHTS}
    request = {"model": winner.found.config.model.name, **asked, **sampling(winner), **llama_cpp_options(winner)}
    route = "/v1/chat/completions" if winner.open.is_chat else "/v1/completions"
    return Export(
        {"request.json": as_json(request), "ask_openai.py": program("ask_openai.py")},
        f"request.json is for {route}; for new rows: pip install openai, then python ask_openai.py "
        + " ".join(f"{shlex.quote(name)}='TEXT'" for name in winner.task.inputs),
        (*label_notes(winner), *opening_notes(winner)),
    )
