"""The parts of which tiny models of many architectures are made: their metadata and random but seeded F32 weights.

Weights are scaled so that what makes an architecture special is seen in the last logits of a long text: states that
forget slowly, attention that is not uniform, experts that differ, windows shorter than the texts of the tests.

Names, keys and shapes are those that llama.cpp's loaders ask for: `src/llama-arch.cpp` and `src/models/*.cpp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from tiny import CHAIN, CONTROL, N_CTX, N_EMBD, N_FF, N_HEAD, add_byte_level_vocabulary, embedding_and_head, finish

Key = bool | int | float | Sequence[int]

HEAD = N_EMBD // N_HEAD
N_KV = N_HEAD // 2
WINDOW = 12
"""Tokens that a windowed layer sees, its own included."""
GELU_GATE = 1000.0
"""Scale of what goes into a GELU: ggml looks it up in a table of 16-bit numbers, but for arguments beyond 10."""
N_EXPERT, N_USED, FF_EXPERT = 4, 2, 48
TRANSFORMER: Mapping[str, Key] = {
    "feed_forward_length": N_FF,
    "attention.head_count": N_HEAD,
    "attention.head_count_kv": N_KV,
    "attention.key_length": HEAD,
    "attention.value_length": HEAD,
    "rope.dimension_count": HEAD,
    "rope.freq_base": 10000.0,
}
EXPERTS: Mapping[str, Key] = {
    "expert_count": N_EXPERT,
    "expert_used_count": N_USED,
    "expert_feed_forward_length": FF_EXPERT,
}
# The sizes of states and heads are those that GPU kernels have too.
D_INNER, D_CONV = 2 * N_EMBD, 4
D_STATE_1, DT_RANK = 16, 4
D_STATE, N_GROUP, N_SSM_HEAD = 128, 2, 8
MAMBA_1: Mapping[str, Key] = {
    "ssm.conv_kernel": D_CONV,
    "ssm.inner_size": D_INNER,
    "ssm.state_size": D_STATE_1,
    "ssm.time_step_rank": DT_RANK,
}
MAMBA_2: Mapping[str, Key] = {
    "ssm.conv_kernel": D_CONV,
    "ssm.inner_size": D_INNER,
    "ssm.state_size": D_STATE,
    "ssm.time_step_rank": N_SSM_HEAD,
    "ssm.group_count": N_GROUP,
}


class Weights:
    """A GGUF file in the making: a constructor writes the header, `finish` the tensors.

    Shapes are numpy's: rows out, columns in, the contiguous one last.
    """

    def __init__(
        self,
        path: Path,
        architecture: str,
        n_layer: int,
        keys: Mapping[str, Key],
        add_vocabulary: Callable[[gguf.GGUFWriter], tuple[list[str], list[int]]] = add_byte_level_vocabulary,
    ) -> None:
        self.rng = np.random.default_rng(20)
        self.writer = gguf.GGUFWriter(path, architecture)
        self.writer.add_name(f"tiny {architecture}")
        self.writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        self.writer.add_context_length(N_CTX)
        self.writer.add_embedding_length(N_EMBD)
        self.writer.add_block_count(n_layer)
        self.writer.add_layer_norm_rms_eps(1e-6)
        for key, value in keys.items():
            self._key(f"{architecture}.{key}", value)
        self.tokens, self.types = add_vocabulary(self.writer)

    def _key(self, key: str, value: Key) -> None:
        if isinstance(value, bool):
            self.writer.add_bool(key, value)
        elif isinstance(value, int):
            self.writer.add_uint32(key, value)
        elif isinstance(value, float):
            self.writer.add_float32(key, value)
        else:
            self.writer.add_array(key, value)

    def add(self, name: str, values: npt.ArrayLike) -> None:
        """Add a tensor."""
        self.writer.add_tensor(name, np.asarray(values, np.float32))

    def matrix(self, name: str, *shape: int, scale: float = 1.0) -> None:
        """Add a random matrix, or one for each expert: it keeps the size of what it is multiplied with."""
        self.add(f"{name}.weight", self.rng.standard_normal(shape) * scale / np.sqrt(shape[-1]))

    def norm(self, name: str, *shape: int, size: float = 1.0) -> None:
        """Add weights of a norm, or of anything else that is multiplied with: around `size`."""
        self.add(f"{name}.weight", size * self.rng.uniform(0.8, 1.2, shape))

    def bias(self, name: str, *shape: int) -> None:
        """Add small random biases."""
        self.add(f"{name}.bias", 0.2 * self.rng.standard_normal(shape))

    def ends(self, norm: str = "output_norm", *, tied: bool) -> None:
        """Add the embedding, the last norm and, unless the embedding serves as such, the head."""
        if tied:
            sizes = np.where(np.array(self.types) == CONTROL, 0.03, 0.3)  # control tokens are hardly ever drawn
            self.add("token_embd.weight", sizes[:, None] * self.rng.standard_normal((len(self.tokens), N_EMBD)))
        else:
            embedding, head = embedding_and_head(self.rng, self.tokens, self.types, list(CHAIN))
            self.add("token_embd.weight", embedding)
            self.add("output.weight", head)
        self.norm(norm, N_EMBD)

    def attention(
        self, block: str, head: int = HEAD, *, head_norms: float = 0.0, biases: bool = False, gated: bool = False
    ) -> None:
        """Add grouped-query attention.

        `head_norms` is the size of the norms of queries and keys, 0 for none; `gated`: the queries hold a gate too.
        """
        n_query = N_HEAD * head
        shapes = {
            "q": (n_query * (2 if gated else 1), N_EMBD),
            "k": (N_KV * head, N_EMBD),
            "v": (N_KV * head, N_EMBD),
            "output": (N_EMBD, n_query),
        }
        for part, shape in shapes.items():
            self.matrix(f"{block}.attn_{part}", *shape, scale=1.5)
            if biases:
                self.bias(f"{block}.attn_{part}", shape[0])
        if head_norms:
            self.norm(f"{block}.attn_q_norm", head, size=head_norms)
            self.norm(f"{block}.attn_k_norm", head, size=head_norms)

    def feed_forward(self, block: str, suffix: str = "", size: int = N_FF, *, gate: float = 1.0) -> None:
        """Add a feed-forward layer; its gate is scaled by `gate`, and left out at 0."""
        if gate:
            self.matrix(f"{block}.ffn_gate{suffix}", size, N_EMBD, scale=gate)
        self.matrix(f"{block}.ffn_up{suffix}", size, N_EMBD)
        self.matrix(f"{block}.ffn_down{suffix}", N_EMBD, size, scale=2.0)

    def four_norms_and_feed_forward(self, block: str, *, behind: float = 4.0) -> None:
        """Add what Gemma has around attention: a norm before each half of a layer, and one of size `behind` after."""
        for half, after in (("attn", "post_attention"), ("ffn", "post_ffw")):
            self.norm(f"{block}.{half}_norm", N_EMBD)
            self.norm(f"{block}.{after}_norm", N_EMBD, size=behind)
        self.feed_forward(block, gate=GELU_GATE)

    def experts(self, block: str, *, biases: bool = False) -> None:
        """Add a router and experts."""
        shapes = {"gate": (FF_EXPERT, N_EMBD), "up": (FF_EXPERT, N_EMBD), "down": (N_EMBD, FF_EXPERT)}
        self.matrix(f"{block}.ffn_gate_inp", N_EXPERT, N_EMBD)
        for part, shape in shapes.items():
            self.matrix(f"{block}.ffn_{part}_exps", N_EXPERT, *shape, scale=1.5)
            if biases:
                self.bias(f"{block}.ffn_{part}_exps", N_EXPERT, shape[0])
        if biases:
            self.bias(f"{block}.ffn_gate_inp", N_EXPERT)

    def mamba_1(self, block: str, *, norms: bool = False) -> None:
        """Add a Mamba mixer whose states forget after 3 to 300 tokens; `norms` as Jamba has them."""
        self.matrix(f"{block}.ssm_in", 2 * D_INNER, N_EMBD)
        self.matrix(f"{block}.ssm_conv1d", D_INNER, D_CONV, scale=1.5)
        self.bias(f"{block}.ssm_conv1d", D_INNER)
        self.matrix(f"{block}.ssm_x", DT_RANK + 2 * D_STATE_1, D_INNER, scale=2.0)
        self.matrix(f"{block}.ssm_dt", D_INNER, DT_RANK)
        self.bias(f"{block}.ssm_dt", D_INNER)
        self.add(f"{block}.ssm_a", np.broadcast_to(-np.geomspace(0.004, 0.4, D_STATE_1), (D_INNER, D_STATE_1)))
        self.add(f"{block}.ssm_d", np.ones(D_INNER))
        self.matrix(f"{block}.ssm_out", N_EMBD, D_INNER)
        if norms:
            self.norm(f"{block}.ssm_dt_norm", DT_RANK)
            self.norm(f"{block}.ssm_b_norm", D_STATE_1)
            self.norm(f"{block}.ssm_c_norm", D_STATE_1)

    def mamba_2(self, block: str) -> None:
        """Add a Mamba 2 mixer whose heads forget after 6 to 600 tokens."""
        channels = D_INNER + 2 * N_GROUP * D_STATE
        self.matrix(f"{block}.ssm_in", D_INNER + channels + N_SSM_HEAD, N_EMBD)
        self.matrix(f"{block}.ssm_conv1d", channels, D_CONV, scale=1.5)
        self.bias(f"{block}.ssm_conv1d", channels)
        self.bias(f"{block}.ssm_dt", N_SSM_HEAD)
        self.add(f"{block}.ssm_a", -np.geomspace(0.002, 0.2, N_SSM_HEAD)[:, None])
        self.add(f"{block}.ssm_d", np.full((N_SSM_HEAD, 1), 0.3))
        self.norm(f"{block}.ssm_norm", N_GROUP, D_INNER // N_GROUP)
        self.matrix(f"{block}.ssm_out", N_EMBD, D_INNER)

    def delta_net(self, block: str, n_key_heads: int, n_value_heads: int, *, gates_in_one: bool = False) -> None:
        """Add a gated delta net whose heads forget after 3 to 300 tokens; its two gates may be one matrix."""
        value, channels = n_value_heads * HEAD, (2 * n_key_heads + n_value_heads) * HEAD
        self.matrix(f"{block}.attn_qkv", channels, N_EMBD)
        self.matrix(f"{block}.attn_gate", value, N_EMBD)
        self.matrix(f"{block}.ssm_conv1d", channels, D_CONV, scale=1.5)
        self.bias(f"{block}.ssm_dt", n_value_heads)
        self.add(f"{block}.ssm_a", -np.geomspace(0.004, 0.4, n_value_heads))
        for gate in ("ba",) if gates_in_one else ("beta", "alpha"):
            self.matrix(f"{block}.ssm_{gate}", n_value_heads * (2 if gates_in_one else 1), N_EMBD)
        self.norm(f"{block}.ssm_norm", HEAD)
        self.matrix(f"{block}.ssm_out", N_EMBD, value, scale=1.5)

    def finish(self) -> None:
        """Write the file."""
        finish(self.writer)
