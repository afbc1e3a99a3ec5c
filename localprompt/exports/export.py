"""`export`: the prompt that a run found, written as the files of another program. Level 9."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localprompt.errors import ConfigError, ModelError, StoreError, nearest
from localprompt.exports.chat_json import chat_json
from localprompt.exports.form import Export, Form, as_json, prompt_json
from localprompt.exports.llama_server import llama_server
from localprompt.exports.lm_eval import lm_eval
from localprompt.exports.ollama import ollama
from localprompt.exports.openai_chat import openai_chat
from localprompt.exports.programs import dspy_program, langchain
from localprompt.exports.promptfoo import promptfoo
from localprompt.exports.rendering import tokens_of
from localprompt.exports.text import text
from localprompt.exports.winner import Found, Rows, Winner, control_text, find, winner
from localprompt.interface.arguments import checked
from localprompt.interface.paths import expanded, write_whole
from localprompt.lm.asked import AskedModel
from localprompt.lm.base import LanguageModel
from localprompt.lm.loading import check_trusted, open_vocabulary
from localprompt.run.session import opened_store
from localprompt.store import Store
from localprompt.store.plain import plain

FORMS: Mapping[str, Form] = {
    "text": text,
    "chat-json": chat_json,
    "ollama": ollama,
    "llama-server": llama_server,
    "openai": openai_chat,
    "promptfoo": promptfoo,
    "dspy": dspy_program,
    "langchain": langchain,
    "lm-eval": lm_eval,
}
"""Name to what makes it."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    run_id: str
    to: str
    folder: Path
    files: tuple[str, ...]
    """Names inside the folder."""
    use: str
    """What to do with them."""
    notes: tuple[str, ...]
    """What a user should know."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**plain(self), "folder": str(self.folder)}


@checked
def export(  # noqa: PLR0913 - options of a user
    run: str,
    to: str,
    *,
    out: str | os.PathLike[str] | None = None,
    rows: Rows = "dev",
    model: str | Path | LanguageModel | None = None,
    store: Store | str | os.PathLike[str] | None = None,
) -> Exported:
    """Return what was written of the prompt that a run found, in a form that another program takes.

    Beside the form lie `prompt.json`, the prompt in pieces, and `example.json`: one row as the model is shown it, its
    token ids, and what the model answered in the run. Only the vocabulary of the model is loaded.

    Args:
        run: the beginning of the run's id.
        to: the form, such as `llama-server` or `ollama`.
        out: the folder, whose files of the same names are replaced; None: `localprompt-ID-FORM` in the working folder.
        rows: which rows of the task go along where the form has them: `dev`, or `test`, which a search never saw.
        model: where the model is now; by default where it was.
        store: that has the run: open, by path, or the default one.

    Raises:
        ConfigError: for an unknown form, one that cannot be had of the prompt, a run that has found nothing yet, or a
            model of which only replies are seen.
        ModelError: if the model cannot be found, or has no chat template for a prompt that is a chat.
        StoreError: if there is no such run, or a file cannot be written.
        TaskError: if the task has no such rows.
    """
    if to not in FORMS:
        raise ConfigError(f"unknown form {to!r}", nearest(to, FORMS))
    with ExitStack() as stack:
        found = find(stack.enter_context(opened_store(store, create=False)), run, rows)
        lm = _vocabulary(found, model, stack)
        if isinstance(lm, AskedModel):
            problem = f"of {lm.facts.name} only replies are seen, so neither its chat template nor its tokens are known"
            raise ConfigError(problem, "name a GGUF file of that model with --model")
        exported = winner(found, lm)
        made = FORMS[to](exported)
        beside = {"prompt.json": prompt_json(exported), "example.json": _example(exported)}
        files = {**made.files, **{name: as_json(value) for name, value in beside.items()}}
        notes = (*found.notes, *_differences(exported), *made.notes)
    folder = Path(f"localprompt-{found.run_id}-{to}") if out is None else expanded(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror or error})", "choose another --out") from error
    for name, content in files.items():
        write_whole(folder / name, content)
    return Exported(found.run_id, to, folder, tuple(files), made.use, notes)


def _vocabulary(found: Found, model: str | Path | LanguageModel | None, stack: ExitStack) -> LanguageModel:
    source = found.config.sources.model if model is None else model
    if source is None:
        raise ConfigError(f"the run used a loaded model, {found.config.model.name!r}", "say where it is with --model")
    if model is None:
        check_trusted(str(source), "model")
    if not isinstance(source, str | Path):
        return source
    try:
        return stack.enter_context(open_vocabulary(source))
    except ModelError as error:
        raise ModelError(error.message, error.hint or "say where the model is now with --model") from error


def _example(exported: Winner) -> dict[str, Any]:
    """Return one row as the model is shown it, and what it answered."""
    found, example = exported.found, exported.example
    shown, answer = exported.text(example), found.answers.get(example.id)
    return {
        "run": found.run_id,
        "model": found.config.model.name,
        "model_file_sha256": found.config.model.identity.get("file"),
        "task": found.task.name,
        "id": example.id,
        "inputs": dict(example.inputs),
        "targets": list(example.targets),
        "messages": exported.messages(example),
        "text": str(shown),
        "tokens": exported.lm.tokenize([shown])[0],
        "answer": None if answer is None else answer.prediction,
        "completion": None if answer is None else answer.completion,
    }


def _differences(exported: Winner) -> list[str]:
    """Return what makes the same words other tokens outside, as far as the rows show it."""
    found, notes = exported.found, list[str]()
    then, now = found.config.model, exported.lm.facts
    before, after = then.identity.get("file", then.fingerprint), now.identity.get("file", now.fingerprint)
    if before != after:
        notes.append(f"the run was of another model file ({then.name}) than {now.name}: its scores are not of this one")
    whole = exported.lm.tokenize([exported.text(row) for row in found.rows])
    apart = [tokens_of(exported.open, row.inputs, exported.lm) for row in found.rows]
    n_other = sum(one != other for one, other in zip(whole, apart, strict=True))
    if n_other:
        why = "the chat template changes blank space in it" if exported.open.is_chat else "tokens cross its borders"
        notes.append(f"in {n_other} of {len(found.rows)} rows the export gives other tokens than the run: {why}")
    n_marks = len(control_text(exported, ["".join(row.inputs.values()) for row in found.rows]))
    if n_marks or control_text(exported, ["".join(piece.text for piece in exported.open.pieces if piece.token < 0)]):
        where = f"{n_marks} of {len(found.rows)} rows" if n_marks else "the prompt"
        notes.append(f"{where} hold the text of control tokens: only ask.py of --to llama-server sends it as text")
    return notes


__all__ = ["FORMS", "Export", "Exported", "export"]
