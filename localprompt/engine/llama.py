"""A model through llama.cpp: load, tokenise, quantise. Level 2, imported by the worker alone.

This file and `context.py` are the only ones that touch llama.cpp.

llama.cpp aborts the process on ordinary mistakes, so every precondition is checked here before the call. The high-level
`Llama` class is not used: it keeps the logits of all tokens, misaligns prompt log-probabilities by one for models
without BOS, and sorts the vocabulary in Python for each token.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp as C  # noqa: N812 - C as in the C API
import numpy as np
from llama_cpp import _ctypes_extensions, _ggml
from numpy.typing import NDArray

from localprompt.engine.chat import ChatTemplate
from localprompt.engine.context import Context, Shape
from localprompt.engine.devices import Device, LoadLog
from localprompt.engine.radix import any_of
from localprompt.engine.settings import LEAST_EXACT_ROWS, MOST_GPUS, EngineSettings
from localprompt.engine.thoughts import marks_among
from localprompt.errors import ModelError
from localprompt.types import EngineStats

_GPU, _INTEGRATED_GPU = 1, 2
"""`ggml_backend_dev_type`."""
_NO_DEVICES = (ctypes.c_void_p * 1)()
"""A list that ends at once."""


@C.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: ctypes.c_void_p) -> None:  # pragma: no cover - called from native code
    if level in (3, 4):  # GGML_LOG_LEVEL_WARN, _ERROR: the parent keeps the tail for its error messages
        sys.stderr.write(text.decode(errors="replace"))


_CONTROL = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN


class Vocabulary:
    """What a model file says of tokens and chats: loaded without the weights, it needs hardly any memory.

    Args:
        path: the file.
        settings: how it is loaded.
        alone: False: load the weights too, as `Llama` does.

    Raises:
        ModelError: if llama.cpp cannot load the file.
    """

    def __init__(self, path: Path, settings: EngineSettings, *, alone: bool = True) -> None:
        C.llama_log_set(_log, ctypes.c_void_p(0))
        C.llama_backend_init()
        _check_abi()
        self.settings = settings
        log = LoadLog()
        with log_to(log):
            self._model = _load(path, settings, vocab_only=alone)
        self.on_gpus = log.facts()
        """What is on GPUs; see `LoadLog.facts`."""
        self._vocab = C.llama_model_get_vocab(self._model)
        self.n_vocab: int = C.llama_vocab_n_tokens(self._vocab)
        self.n_ctx_train: int = C.llama_model_n_ctx_train(self._model)
        """0 without the weights."""
        self._pieces: dict[int, bytes] = {}

    @cached_property
    def bos(self) -> int | None:
        """BOS, where the model wants one before every text; else None."""
        return self.special_ids.get("bos") if C.llama_vocab_get_add_bos(self._vocab) else None

    @cached_property
    def writes_spaces_as_underlines(self) -> bool:
        """True for SentencePiece vocabularies: U+2581 in a text and a space are the same to them."""
        return bool(C.llama_vocab_type(self._vocab) == C.LLAMA_VOCAB_TYPE_SPM)

    @cached_property
    def start_token(self) -> int:
        """What an empty context is replaced by: BOS, or the end-of-text token for models without (as in lm-eval)."""
        return self.special_ids.get("bos", self.special_ids.get("eos", 0))

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Tokens that have a role, as far as the vocabulary has them: `bos`, `eos`, `fim_pre`, `fim_suf`, `fim_mid`."""
        names = ("bos", "eos", "fim_pre", "fim_suf", "fim_mid")
        ids = {name: int(getattr(C, f"llama_vocab_{name}")(self._vocab)) for name in names}
        return {name: token for name, token in ids.items() if token >= 0}

    @cached_property
    def special_texts(self) -> dict[str, str]:
        """The texts of `special_ids`."""
        return {name: self.text_of(token) for name, token in self.special_ids.items()}

    @cached_property
    def control_ids(self) -> dict[str, int]:
        """Control tokens and their texts: what must stay text wherever data contains it."""
        # llama.cpp parses the text of the unknown token as a token too; marks that a key names may be of any type. One
        # question a token, for all tokens are asked about before a first decode.
        of_fim = {token for name, token in self.special_ids.items() if name.startswith("fim")}
        control = [t for t in range(self.n_vocab) if C.llama_vocab_get_attr(self._vocab, t) & _CONTROL or t in of_fim]
        return {text: token for token in control if (text := self.text_of(token))}

    @cached_property
    def control_pattern(self) -> re.Pattern[str]:
        """Matches any control-token text, the longest first."""
        return re.compile(any_of(list(self.control_ids)) or r"(?!)")

    def text_of(self, token: int) -> str:
        """Return a token's text as the vocabulary writes it."""
        return bytes(C.llama_vocab_get_text(self._vocab, token) or b"").decode(errors="replace")

    def is_end(self, token: int) -> bool:
        """True for every token that ends a completion."""
        return bool(C.llama_vocab_is_eog(self._vocab, token))

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token adds to a text; nothing for control tokens."""
        known = self._pieces.get(token)
        if known is None:
            buffer = ctypes.create_string_buffer(256)
            n = C.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
            if n < 0:
                buffer = ctypes.create_string_buffer(-n)
                n = C.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
            known = self._pieces[token] = buffer.raw[:n]
        return known

    def written(self, token: int) -> bytes:
        """Return the bytes that a token drawn adds to a completion: as `piece`, and the marks of thoughts too."""
        return self._marks.get(token) or self.piece(token)

    @cached_property
    def _marks(self) -> dict[int, bytes]:
        # Without its marks, which are control tokens in some vocabularies, a thought is read as a part of the answer.
        return {self.control_ids[text]: text.encode() for text in marks_among(self.control_ids)}

    def tokenize(self, text: str, *, control: bool) -> list[int]:
        """Return the tokens of a text, without BOS or EOS; control-token text becomes control tokens if `control`."""
        data = utf8(text)
        size = len(data) + 8
        while True:
            tokens = (ctypes.c_int32 * size)()
            n = C.llama_tokenize(self._vocab, data, len(data), tokens, size, False, control)
            if n >= 0:
                return tokens[:n]
            size = -n

    # Chat

    @property
    def has_chat_template(self) -> bool:
        """True if the file carries a template, whether or not it is valid."""
        return bool(C.llama_model_chat_template(self._model, None))

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The model's own chat template; None for a base model."""
        source = C.llama_model_chat_template(self._model, None)
        if not source:
            return None
        variables = {f"{name}_token": self.special_texts.get(name, "") for name in ("bos", "eos")}
        return ChatTemplate(source.decode(errors="replace"), self.control_pattern, variables)


class Llama(Vocabulary):
    """A loaded model with one context, and a second one for long completions when it is asked for.

    Raises:
        ModelError: if llama.cpp cannot load the file or cannot make a context for it.
    """

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        super().__init__(path, settings, alone=False)
        is_recurrent = bool(C.llama_model_is_recurrent(self._model))
        n_ctx = settings.n_ctx + (LEAST_EXACT_ROWS if settings.exact else 0)
        self.context = Context(self._model, self.n_vocab, settings, Shape(n_ctx, settings.n_seq_max))
        self.context.joins_neighbours = is_recurrent
        self.context.copies_whole = not self.context.can_truncate()
        self._streams: Context | None = None
        self._past = EngineStats()

    def streams(self, shape: Shape) -> Context | None:
        """Return a second context with a stream of cells for each sequence; None if llama.cpp cannot make it now.

        One of another shape is let go.
        """
        if self._streams is None or self._streams.shape != shape:
            if self._streams is not None:
                self._past += self._streams.stats
                self._streams.close()
            self._streams = None
            with suppress(ModelError):  # it is only faster
                self._streams = Context(self._model, self.n_vocab, self.settings, shape)
        return self._streams

    def clear(self) -> None:
        """Forget all sequences of both contexts."""
        self.context.clear()
        if self._streams is not None:
            self._streams.clear()

    @property
    def stats(self) -> EngineStats:
        """Rows, rows with logits and calls so far."""
        return self._past + self.context.stats + (self._streams.stats if self._streams else EngineStats())


def gpus() -> list[Device]:
    """Return the GPUs that llama.cpp uses unless told otherwise, in its order: integrated ones only without others."""
    C.llama_log_set(_log, ctypes.c_void_p(0))
    C.llama_backend_init()
    registry = base = _ggml.libggml
    if not hasattr(base, "ggml_backend_dev_type"):  # Windows looks into no library that a library needs
        base = _ctypes_extensions.load_shared_library("ggml-base", _ggml.libggml_base_path)
    registry.ggml_backend_dev_count.restype = ctypes.c_size_t
    registry.ggml_backend_dev_get.argtypes, registry.ggml_backend_dev_get.restype = [ctypes.c_size_t], ctypes.c_void_p
    base.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    handles = [registry.ggml_backend_dev_get(k) for k in range(registry.ggml_backend_dev_count())]
    of_type = {kind: [h for h in handles if base.ggml_backend_dev_type(h) == kind] for kind in (_GPU, _INTEGRATED_GPU)}
    return [_device(base, handle) for handle in of_type[_GPU] or of_type[_INTEGRATED_GPU]]


def _device(base: Any, handle: int) -> Device:
    texts = []
    for function in (base.ggml_backend_dev_name, base.ggml_backend_dev_description):
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_char_p
        texts.append(function(handle).decode(errors="replace"))
    base.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p] + 2 * [ctypes.POINTER(ctypes.c_size_t)]
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    base.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    shares_ram = base.ggml_backend_dev_type(handle) == _INTEGRATED_GPU or texts[0].startswith("MTL")
    return Device(texts[0], texts[1], free.value, total.value, shares_ram)


def utf8(text: str) -> bytes:
    """Return a text's bytes; lone surrogates, which JSON can carry and UTF-8 cannot, become U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


@contextmanager
def log_to(said: Callable[[int, str], None]) -> Iterator[None]:
    """Give the level and the text of what llama.cpp logs, often less than a line, to a function for a time."""
    log = C.llama_log_callback(lambda level, text, _: said(level, text.decode(errors="replace")))
    C.llama_log_set(log, ctypes.c_void_p(0))
    try:
        yield
    finally:
        C.llama_log_set(_log, ctypes.c_void_p(0))


def quantise(
    source: Path,
    target: Path,
    how: Mapping[str, int],
    marks: Mapping[str, str],
    importance: Mapping[str, NDArray[np.float32]],
) -> None:
    """Write a model with its weights at another level; what llama.cpp logs meanwhile says how far it is.

    Args:
        source: a validated file.
        target: the file that is made.
        how: fields of llama.cpp's `llama_model_quantize_params`.
        marks: texts for the metadata of the target; what is beyond 127 bytes of one is left out.
        importance: of the columns of weights, by their names.

    Raises:
        ModelError: if llama.cpp refuses; a part of the target may be left.
    """
    params = C.llama_model_quantize_default_params()
    if (params.ftype, params.quantize_output_tensor, params.dry_run, params.max_buf_size) != (7, True, False, 8 << 30):
        raise ModelError("this llama-cpp-python has other struct layouts", "install llama-cpp-python==0.3.36")
    params.allow_requantize = True
    for name, value in how.items():
        setattr(params, name, value)
    # Both lists end with an entry that is all zero.
    overrides = (C.llama_model_kv_override * (len(marks) + 1))()
    for override, (key, text) in zip(overrides, marks.items(), strict=False):
        override.tag, override.key = C.LLAMA_KV_OVERRIDE_TYPE_STR, key.encode()
        override.value.val_str = utf8(text)[:127]
    params.kv_overrides = overrides
    if importance:
        columns = (C.llama_model_imatrix_data * (len(importance) + 1))()
        for entry, (name, values) in zip(columns, importance.items(), strict=False):
            data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            entry.name, entry.data, entry.size = name.encode(), data, len(values)
        params.imatrix = columns
    if C.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)) != 0:
        raise ModelError(f"llama.cpp cannot quantise {source}")


def _check_abi() -> None:
    """Refuse a llama-cpp-python whose structs are laid out differently from the tested version's."""
    p = C.llama_context_default_params()
    seen = (
        p.n_ctx,
        p.n_batch,
        p.n_ubatch,
        p.yarn_ext_factor,
        p.swa_full,
        p.kv_unified,
        C.llama_max_parallel_sequences(),
    )
    if seen != (512, 2048, 512, -1.0, True, False, 256):
        raise ModelError(f"this llama-cpp-python has other struct layouts: {seen}", "install llama-cpp-python==0.3.36")


def _place(params: Any, settings: EngineSettings) -> None:
    """Set which layers go to which GPUs."""
    if settings.n_gpu_layers is not None:
        params.n_gpu_layers = settings.n_gpu_layers
    if settings.n_gpu_layers == 0:  # or llama.cpp would still copy weights to a GPU for large batches
        params.devices = ctypes.cast(_NO_DEVICES, ctypes.c_void_p)
    elif settings.main_gpu is not None:
        params.split_mode, params.main_gpu = C.LLAMA_SPLIT_MODE_NONE, settings.main_gpu
    elif settings.tensor_split is not None:
        shares = (ctypes.c_float * MOST_GPUS)(*settings.tensor_split)
        params.tensor_split = shares  # params keep it alive


def _load(path: Path, settings: EngineSettings, *, vocab_only: bool) -> Any:
    params = C.llama_model_default_params()
    params.vocab_only = vocab_only
    params.use_extra_bufts = settings.use_extra_bufts
    _place(params, settings)
    model = C.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        hint = "its header is in order: perhaps it is newer than this llama.cpp, or another program's own kind of file"
        raise ModelError(f"llama.cpp cannot load {path}", hint)
    refused = {
        "a diffusion model": C.llama_model_is_diffusion(model),
        "an encoder": C.llama_model_has_encoder(model) or not C.llama_model_has_decoder(model),
    }
    for kind, is_so in refused.items():
        if is_so:
            raise ModelError(
                f"{path} is {kind}; the engine needs a model that reads from left to right and predicts the next token"
            )
    return model
