"""Write localprompt/engine/selftest.gguf: a tiny model with random F32 weights, by which a build of llama.cpp is known.

    python scripts/write_selftest.py

The weights are seeded, so the file is the same each time; the expected number in `localprompt/engine/build.py` is that
of the formulas of the architecture, computed here with numpy in F64 and printed.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from localprompt.engine.build import SELFTEST, SENTENCE

N_EMBD, N_HEAD, N_FF, N_CTX, EPSILON, BASE = 32, 2, 64, 64, 1e-5, 10_000.0
N_BYTES = 256
Array = npt.NDArray[np.float64]


def weights() -> dict[str, npt.NDArray[np.float32]]:
    """Return the tensors of one layer, by their names in a GGUF file, rows first."""
    rng = np.random.Generator(np.random.PCG64(0))
    n_vocab = N_BYTES + 3

    def matrix(rows: int, columns: int, size: float) -> npt.NDArray[np.float32]:
        return (rng.standard_normal((rows, columns)) * size).astype(np.float32)

    return {
        "token_embd.weight": matrix(n_vocab, N_EMBD, 1.0),
        "output_norm.weight": np.ones(N_EMBD, np.float32),
        "output.weight": matrix(n_vocab, N_EMBD, 0.3),
        "blk.0.attn_norm.weight": np.ones(N_EMBD, np.float32),
        "blk.0.ffn_norm.weight": np.ones(N_EMBD, np.float32),
        **{f"blk.0.attn_{name}.weight": matrix(N_EMBD, N_EMBD, 0.3) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": matrix(N_FF, N_EMBD, 0.3),
        "blk.0.ffn_up.weight": matrix(N_FF, N_EMBD, 0.3),
        "blk.0.ffn_down.weight": matrix(N_EMBD, N_FF, 0.3),
    }


def log_probability(tensors: dict[str, npt.NDArray[np.float32]], tokens: list[int]) -> float:
    """Return the log-probability of `tokens[1:]` after `tokens[:1]`, in nats."""
    w = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    x = w["token_embd.weight"][tokens]
    h = norm(x)
    q, k = (rotated((h @ w[f"blk.0.attn_{name}.weight"].T).reshape(len(tokens), N_HEAD, -1)) for name in "qk")
    v = (h @ w["blk.0.attn_v.weight"].T).reshape(len(tokens), N_HEAD, -1)
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(N_EMBD / N_HEAD)
    scores[:, ~np.tri(len(tokens), dtype=bool)] = -np.inf
    mixed = np.einsum("hqk,khd->qhd", softmax(scores), v).reshape(len(tokens), N_EMBD)
    x = x + mixed @ w["blk.0.attn_output.weight"].T
    h = norm(x)
    gate = h @ w["blk.0.ffn_gate.weight"].T
    x = x + (gate / (1 + np.exp(-gate)) * (h @ w["blk.0.ffn_up.weight"].T)) @ w["blk.0.ffn_down.weight"].T
    chances = softmax(norm(x) @ w["output.weight"].T)
    return float(sum(np.log(chances[i, token]) for i, token in enumerate(tokens[1:])))


def norm(x: Array) -> Array:
    """Return rows divided by their root mean square."""
    return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON))


def rotated(x: Array) -> Array:
    """Return heads with neighbouring pairs of numbers turned by their positions, as llama does."""
    n, _, width = x.shape
    angles = np.arange(n)[:, None] * BASE ** (-np.arange(0, width, 2) / width)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    turned = np.empty_like(x)
    turned[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    turned[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
    return turned


def softmax(x: Array) -> Array:
    """Return shares of the last axis."""
    shares = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(shares / shares.sum(-1, keepdims=True))


def main() -> None:
    """Write the file and print what it gives."""
    writer = gguf.GGUFWriter(SELFTEST, "llama")
    writer.add_context_length(N_CTX)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(1)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(N_EMBD // N_HEAD)
    writer.add_tokenizer_model("llama")
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * N_BYTES]
    writer.add_token_list(["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(N_BYTES))])
    writer.add_token_scores([0.0] * len(kinds))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    tensors = weights()
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(Path(SELFTEST).stat().st_size, log_probability(tensors, [1, *(3 + byte for byte in SENTENCE)]))


if __name__ == "__main__":
    main()
