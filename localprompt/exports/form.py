"""What every form of export gives, and what several of them share. Level 9."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from localprompt.exports.labels import grammar, most_tokens, token_grammar
from localprompt.exports.winner import Winner

TEMPLATES = files("localprompt") / "exports" / "files"
"""Programs that are exported as they are: what is of a prompt lies beside them, as JSON."""
_NUMBERS = re.compile(r"\[\n[\d,\s]+\]")
"""A list of whole numbers; texts have no line breaks in JSON."""


@dataclass(frozen=True)
class Export:
    """A prompt in the form of another program."""

    files: Mapping[str, str]
    """Name, as a path inside the exported folder, to text."""
    use: str
    """What to do with them, a sentence."""
    notes: tuple[str, ...] = ()
    """What a user should know, a sentence each."""


Form = Callable[[Winner], Export]


def as_json(value: object) -> str:
    """Return a value as JSON for people, lists of numbers on one line.

    Half a surrogate pair, which no file can hold, is written as an escape.
    """
    text = _NUMBERS.sub(lambda match: " ".join(match[0].split()), json.dumps(value, ensure_ascii=False, indent=1))
    return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text) + "\n"


def sampling(winner: Winner) -> dict[str, Any]:
    """Return how an answer is generated, by the names of the OpenAI interface: greedily, one of the labels if any."""
    task = winner.task
    if task.labels:
        return {"max_tokens": most_tokens(task.labels, task.layout.separator), "temperature": 0}
    stop = {"stop": list(task.sampling.stop)} if task.sampling.stop else {}
    return {"max_tokens": task.sampling.max_tokens, "temperature": task.sampling.temperature, **stop}


def llama_cpp_options(winner: Winner) -> dict[str, Any]:
    """Return what a llama.cpp server has to be told beside `sampling`, whichever way it is asked."""
    task = winner.task
    tokens = winner.label_tokens
    rule = token_grammar(tokens) if tokens else grammar(task.labels, task.layout.separator)
    bias = winner.label_bias
    labels = {"grammar": rule, **({"logit_bias": bias} if bias else {})} if task.labels else {}
    return {"samplers": ["temperature"], "cache_prompt": True, **labels}


def prompt_json(winner: Winner) -> dict[str, Any]:
    """Return all that an exported program needs of a prompt, as plain data."""
    task, rendered = winner.task, winner.open
    return {
        "run": winner.found.run_id,
        "task": task.name,
        "model": winner.found.config.model.name,
        "inputs": list(task.inputs),
        "pieces": [piece.to_json() for piece in rendered.pieces],
        "first_token": rendered.bos,
        "messages": [
            {"role": turn.role, "content": [piece.to_json() for piece in turn.pieces]} for turn in rendered.turns
        ],
        "opening": _opening(winner),
        "labels": list(task.labels),
        "separator": task.layout.separator,
        "likelihoods": label_likelihoods(winner),
        "answer": dict(zip(("kind", "argument"), winner.answer, strict=True)),
        "sampling": sampling(winner),
        "llama_cpp": llama_cpp_options(winner),
    }


def _opening(winner: Winner) -> str:
    """Return how the prompt begins the answer, which some servers repeat; empty where it does not, or with an input."""
    last = winner.open.turns[-1] if winner.open.turns else None
    is_literal = last is not None and last.role == "assistant" and not any(piece.is_input for piece in last.pieces)
    return "".join(piece.text for piece in last.pieces) if last is not None and is_literal else ""


def program(name: str) -> str:
    """Return the text of a program that is exported as it is."""
    return (TEMPLATES / f"{name}.txt").read_text(encoding="utf-8")


def label_likelihoods(winner: Winner) -> list[dict[str, Any]]:
    """Return how a label's score follows from the nats of its tokens, a dict a label: (nats - prior) / divisor.

    Empty where one request with a grammar chooses the same, or rows do not tell the tokens, or answers not the priors.
    """
    task, priors = winner.task, winner.found.label_priors or (0.0,) * len(winner.task.labels)
    is_lost = task.is_calibrated and not winner.found.label_priors
    if not winner.compared_tokens or is_lost or _grammar_is_enough(winner):
        return []
    return [
        {
            "tokens": tokens,
            "prior": prior,
            "divisor": {"token": len(tokens), "byte": len(label.encode())}.get(task.label_score, 1),
        }
        for label, tokens, prior in zip(task.labels, winner.compared_tokens, priors, strict=True)
    ]


def _grammar_is_enough(winner: Winner) -> bool:
    """Return whether greedy decoding with a grammar chooses the label that the run does."""
    is_one_each = bool(winner.label_tokens) and winner.compared_tokens == [each[:1] for each in winner.label_tokens]
    return is_one_each and (bool(winner.label_bias) or winner.task.label_score in ("sum", "token", "prefix"))


def label_notes(winner: Winner) -> tuple[str, ...]:
    """Return what a receiving side must do where the task is answered by the likelihood of labels, and what is lost."""
    score = winner.task.label_score
    if not winner.task.labels:
        return ()
    is_biased = bool(winner.label_bias)
    asked = "a grammar over the labels, greedy decoding" + (" and a bias for the calibration" if is_biased else "")
    lost = "; the calibration is lost, which cost up to 0.40 of the score where it was measured"
    end = " choose the same, as one token tells each label apart" if _grammar_is_enough(winner) else " stand for that"
    end += lost if winner.task.is_calibrated and not is_biased else ""
    how = f"the run chose among {len(winner.task.labels)} labels by their likelihood ({score})"
    return (f"{how}; outside, {asked}{end} (docs/exports.md)",)
