"""Greedy completions of many prompts without an engine: a loop over llama.cpp's C API, for `generation.py`.

The beginning that the prompts share is decoded once and copied to all, then there is one llama_decode a token for all
completions, and argmax in numpy. Source: llama.cpp, examples/batched. Differs: it copies what prompts begin with, not
one prompt.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from apart import Job
from numpy.typing import NDArray

PADDING = 256
"""llama.cpp rounds the cells of a stream up to this."""


class Loop:
    """A plain loop over llama.cpp's C API: no engine.

    Args:
        job: the file, the settings and the prompts.
        streams: each completion has its own cells; else all share them.
    """

    def __init__(self, job: Job, *, streams: bool) -> None:
        import llama_cpp  # noqa: PLC0415 - the server's environment has none

        self.c: Any = llama_cpp
        self.silence = self.c.llama_log_callback(lambda *_: None)
        self.c.llama_log_set(self.silence, ctypes.c_void_p(0))
        self.c.llama_backend_init()
        of_model = self.c.llama_model_default_params()
        of_model.use_extra_bufts = job["use_extra_bufts"]
        self.model = self.c.llama_model_load_from_file(job["model"].encode(), of_model)
        self.vocabulary = self.c.llama_model_get_vocab(self.model)
        self.n_vocab: int = self.c.llama_vocab_n_tokens(self.vocabulary)
        self.job, self.streams = job, streams
        self.prompts: list[list[int]] = job["prompts"]
        self.calls = self.computed = 0

    def open(self, prompts: Sequence[Sequence[int]], n_new: int) -> None:
        """Make the memory for completions of these prompts."""
        longest = -(-(max(map(len, prompts)) + n_new) // PADDING) * PADDING
        params = self.c.llama_context_default_params()
        params.n_seq_max = len(prompts)
        params.n_ctx = len(prompts) * longest
        params.n_batch = params.n_ubatch = self.job["n_ubatch"]
        params.n_outputs_max = self.job["n_ubatch"]
        params.n_threads = params.n_threads_batch = self.job["threads"]
        params.kv_unified = not self.streams
        params.no_perf = True
        self.context = self.c.llama_init_from_model(self.model, params)
        self.memory = self.c.llama_get_memory(self.context)
        self.batch = self.c.llama_batch_init(self.job["n_ubatch"], 0, 1)

    def close(self) -> None:
        """Give the memory back."""
        self.c.llama_batch_free(self.batch)
        self.c.llama_free(self.context)

    def decode(self, rows: Sequence[tuple[int, int, int, bool]]) -> NDArray[np.float32]:
        """Return the logits of the rows that ask for them; a row is a token, its position and sequence, and whether.

        Raises:
            RuntimeError: if llama.cpp fails.
        """
        batch = self.batch
        batch.n_tokens = len(rows)
        for k, (token, position, sequence, output) in enumerate(rows):
            batch.token[k], batch.pos[k], batch.logits[k] = token, position, output
            batch.n_seq_id[k], batch.seq_id[k][0] = 1, sequence
        if code := self.c.llama_decode(self.context, batch):
            raise RuntimeError(f"llama_decode returned {code}")
        self.calls, self.computed = self.calls + 1, self.computed + len(rows)
        shape = (sum(output for *_, output in rows), self.n_vocab)
        if not shape[0]:
            return np.empty(shape, np.float32)
        return np.ctypeslib.as_array(self.c.llama_get_logits(self.context), shape=shape)

    def read(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Return the first token of each completion."""
        together = len([*takewhile(lambda column: len({*column}) == 1, zip(*prompts, strict=False))])
        together = min(together, min(map(len, prompts)) - 1)
        n = self.job["n_ubatch"]
        for at in range(0, together, n):
            self.decode([(prompts[0][k], k, 0, False) for k in range(at, min(together, at + n))])
        for sequence in range(1, len(prompts)):
            self.c.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)
        first: list[int] = []
        rows: list[tuple[int, int, int, bool]] = []
        for sequence, prompt in enumerate(prompts):
            own = [(prompt[k], k, sequence, k == len(prompt) - 1) for k in range(together, len(prompt))]
            if len(rows) + len(own) > n:
                first += self.decode(rows).argmax(1).tolist()
                rows = []
            rows += own
        first += self.decode(rows).argmax(1).tolist()
        return first

    def complete(self, prompts: Sequence[Sequence[int]], n_new: int) -> list[list[int]]:
        """Return the tokens drawn for each prompt, the one that ends a text included."""
        drawn = [[token] for token in self.read(prompts)]
        ends = {token for token in range(self.n_vocab) if self.c.llama_vocab_is_eog(self.vocabulary, token)}
        while True:
            live = [k for k, tokens in enumerate(drawn) if len(tokens) < n_new and tokens[-1] not in ends]
            if not live:
                return drawn
            rows = [(drawn[k][-1], len(prompts[k]) + len(drawn[k]) - 1, k, True) for k in live]
            for k, token in zip(live, self.decode(rows).argmax(1).tolist(), strict=True):
                drawn[k].append(token)

    def text(self, tokens: Sequence[int]) -> str:
        """Return what tokens say."""
        said = b""
        for token in tokens:
            piece = ctypes.create_string_buffer(256)
            n = self.c.llama_token_to_piece(self.vocabulary, token, piece, len(piece), 0, False)
            said += piece.raw[: max(0, n)]
        return said.decode("utf-8", "replace")


def with_loop(job: Job, *, streams: bool) -> dict[str, Any]:
    """All prompts at once, without an engine."""
    loop = Loop(job, streams=streams)
    warm_up = [prompt[-8:] for prompt in loop.prompts[:2]]
    loop.open(warm_up, 2)
    loop.complete(warm_up, 2)
    loop.close()
    loop.computed, began = 0, time.perf_counter()
    loop.open(loop.prompts, job["n_new"])
    drawn = loop.complete(loop.prompts, job["n_new"])
    seconds = time.perf_counter() - began
    texts = [loop.text(tokens) for tokens in drawn]
    return {"seconds": seconds, "texts": texts, "drawn": [*map(len, drawn)], "computed": loop.computed}
