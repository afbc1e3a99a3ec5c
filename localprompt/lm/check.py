"""Whether a model file can be used on this machine, and for what: each thing tried, in the order of its cost. Level 3.

The header is read without native code, the memory is estimated from it, and only then is the model loaded. What is said
of chats, grammars and fill-in-the-middle is what the loaded model did, not what its file claims.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from localprompt.engine import memory, placement
from localprompt.engine.device_list import visible
from localprompt.engine.devices import Device
from localprompt.engine.gguf import GGUFHeader
from localprompt.engine.gguf_validator import validate
from localprompt.engine.settings import read_settings
from localprompt.errors import LocalPromptError
from localprompt.interface.rounding import size_text
from localprompt.lm.local import LocalModel
from localprompt.types import Message, Sampling

State = Literal["ok", "no", "failed"]
"""`no`: the model can be used without it; `failed`: it cannot be used."""

_RECURRENT = (".ssm.", ".wkv.", ".shortconv.", ".time_mix_", ".kda.")
"""What the header's keys of recurrent layers hold: Mamba and its kin, RWKV, LFM2, Kimi linear attention."""
_QUESTION, _SYSTEM = Message("user", "What is one and one?"), Message("system", "Answer in words.")
_PATTERN = "(yes|no), (yes|no)"
_N_DECODED = 16
_OPTIONAL = frozenset({"chat template", "fill-in-the-middle", "exact mode"})
"""What a model can be used without."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    name: str
    state: State
    said: str
    """What was found, or why not, without a full stop."""


def check_model(path: Path, engine: Mapping[str, object]) -> Iterator[Finding]:
    """Yield what was found about a file, thing by thing, up to one without which nothing else can be tried.

    Args:
        path: the GGUF file.
        engine: settings with which it would be loaded, by name; nothing is measured.

    Raises:
        ConfigError: for an unknown or impossible setting, before anything is tried.
    """
    settings = read_settings(engine)
    try:
        header = validate(path)
    except LocalPromptError as error:
        yield _failed("header", error)
        return
    yield Finding("header", "ok", _described(header))
    gpus = visible()
    settings = placement.fitted(header, settings, frozenset(engine), gpus)
    need, free = placement.on_host(header, settings, gpus), memory.available()
    fits = need.total <= free
    each = "" if settings.n_engines == 1 else " for each engine"
    said = f"about {size_text(need.total)}{each} ({need}); {size_text(free)} are free"
    yield Finding("memory", "ok" if fits else "failed", said)
    if not fits:
        return
    began = time.perf_counter()
    try:
        lm = LocalModel(path, settings)
    except LocalPromptError as error:
        yield _failed("loading", error)
        return
    with lm:
        seconds = time.perf_counter() - began
        yield Finding("loading", "ok", f"{seconds:.1f} s, with settings that are not measured yet")
        yield Finding("devices", "ok", _devices(lm, gpus))
        for name, probe in _PROBES.items():
            try:
                yield Finding(name, *probe(lm, header))
            except LocalPromptError as error:
                yield replace(_failed(name, error), state="no" if name in _OPTIONAL else "failed")
                if name == "decoding":
                    return


def _failed(name: str, error: LocalPromptError) -> Finding:
    return Finding(name, "failed", "; ".join(filter(None, [error.message, error.hint])))


def _described(header: GGUFHeader) -> str:
    level = header.file_type or "a mix"
    made_from = f", requantised from {header.requantised_from}" if header.requantised_from else ""
    return (
        f"{header.architecture}, {header.size_label} ({header.parameters:,} parameters), {level}{made_from}, "
        f"{size_text(header.file_size)}, trained for {header.context_length:,} tokens"
    )


def kind_of_memory(header: GGUFHeader) -> str:
    """Return what a model keeps of the tokens that it has read, by the keys of its header, in words."""
    is_recurrent = any(part in key for key in header.metadata for part in _RECURRENT)
    keys = [f"{header.architecture}.attention.{key}" for key in ("head_count", "head_count_kv")]
    if is_recurrent and not np.any(np.hstack([np.asarray(header.metadata.get(key, 0)) for key in keys])):
        return "recurrent layers alone: one state, no cells"
    window = header.integer(f"{header.architecture}.attention.sliding_window")
    attention = f"attention, in some layers over the last {window:,} tokens" if window else "attention"
    return f"hybrid: {attention} beside recurrent layers" if is_recurrent else attention


def _devices(lm: LocalModel, gpus: Sequence[Device]) -> str:
    if not gpus:
        return "all layers on the CPU; this build of llama.cpp sees no GPU"
    seen = " and ".join(
        f"{gpu.name} ({gpu.description}, {size_text(gpu.free)} of {size_text(gpu.total)} free)" for gpu in gpus
    )
    there = lm.on_gpus
    if not there:
        return f"all layers on the CPU, though llama.cpp sees {seen}"
    names = " and ".join(name for name, _ in there["devices"])
    return f"{there['layers']} of {there['of']} layers on {names}; seen: {seen}"


def _decoding(lm: LocalModel, header: GGUFHeader) -> tuple[State, str]:
    rate = lm.prefill_rate(_N_DECODED)
    lm.generate(["Once upon a time"] * 2, Sampling(max_tokens=2), [0, 0])
    return "ok", f"reads and writes, {rate:.0f} tokens/s at first; memory of {kind_of_memory(header)}"


def _vocabulary(lm: LocalModel, header: GGUFHeader) -> tuple[State, str]:
    marks = [f"{name.upper()} {lm.special_tokens[name][1]}" for name in ("bos", "eos") if name in lm.special_tokens]
    doubts = "; doubtful: " + "; ".join(lm.doubts) if lm.doubts else ""
    return "ok", ", ".join([f"{lm.n_vocab:,} tokens", *marks]) + doubts


def _chat(lm: LocalModel, header: GGUFHeader) -> tuple[State, str]:
    if header.chat_template is None:
        return "no", "a base model: it is asked in plain text"
    if not lm.has_chat:
        return "no", "its chat template cannot be used, so it is asked in plain text"
    together = [Message("user", f"{_SYSTEM.content}{between}{_QUESTION.content}") for between in ("\n\n", "\n", " ")]
    has_system = lm.chat([_SYSTEM, _QUESTION]) not in [lm.chat([message]) for message in together]
    system = "a system turn" if has_system else "no system turn: its text goes into the first user turn"
    thinking = f"thoughts are off in chats: {lm.thinking}" if lm.thinking else "nothing has to be done against thoughts"
    return "ok", f"renders; {system}; {thinking}"


def _grammar(lm: LocalModel, header: GGUFHeader) -> tuple[State, str]:
    sampling = Sampling(max_tokens=16, grammar=_PATTERN)
    (drawn,) = lm.generate(["Is one and one two? Is one and two four?\n"], sampling, [0])
    if re.fullmatch(_PATTERN, drawn.text):
        return "ok", "a completion can be held to a regular expression"
    return "failed", f"a completion that should match {_PATTERN!r} is {drawn.text!r}"


def _fim(lm: LocalModel, header: GGUFHeader) -> tuple[State, str]:
    if not lm.has_fim:
        return "no", "its vocabulary has no tokens for it"
    (drawn,) = lm.generate([lm.fim("The capital of France is", ", on the Seine.")], Sampling(max_tokens=8), [0])
    return "ok", f"has the tokens, and fills 'The capital of France is ..., on the Seine.' with {drawn.text!r}"


def _exact(lm: LocalModel, header: GGUFHeader) -> tuple[State, str]:
    try:
        settings = replace(lm.settings, exact=True)
    except ValueError as error:
        return "no", f"not with these settings: {error}"
    with LocalModel(lm.path, settings) as exact:
        difference = exact.find_difference()
    return ("no", difference) if difference else ("ok", "scores are equal bit for bit whatever is computed with them")


_PROBES: Mapping[str, Callable[[LocalModel, GGUFHeader], tuple[State, str]]] = {
    "decoding": _decoding,
    "vocabulary": _vocabulary,
    "chat template": _chat,
    "grammar": _grammar,
    "fill-in-the-middle": _fim,
    "exact mode": _exact,
}
"""What is tried with the loaded model; a further line is a function here."""
