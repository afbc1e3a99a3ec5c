"""One sequence, one token a decode: what everything that decodes many at once is measured against. Level 2.

Source: `llama-bench` (llama.cpp, tools/llama-bench), its test tg: an empty cache, then n decodes of one arbitrary token
each, with logits, nothing drawn from them. Differs: the first token is arbitrary too where llama-bench takes BOS, and
the context is the engine's, with room for many sequences. Its test pp is `Engine.prefill_rate`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from localprompt.engine.context import Next

if TYPE_CHECKING:
    from localprompt.engine.llama import Llama


def generation_rate(llama: Llama, n_tokens: int) -> float:
    """Return tokens per second of decoding `n_tokens` one at a time, as many of them as the context holds."""
    context = llama.context
    tokens = np.random.Generator(np.random.PCG64(0)).integers(0, llama.n_vocab, min(n_tokens, context.shape.longest))
    context.clear()
    began = time.perf_counter()
    for position, token in enumerate(tokens.tolist()):
        context.run(None, [Next(context.ids[0], token, position)])
    seconds = time.perf_counter() - began
    context.clear()
    return len(tokens) / seconds
