"""Tiny F32 GGUFs of architectures beyond a plain transformer.

Their vocabularies are those of `tiny`: byte-level but for Gemma 3. Recurrent and hybrid models, sliding
windows, mixtures of experts, latent attention, tied and untied heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from tiny import N_EMBD, N_FF, N_HEAD, add_sentencepiece_vocabulary
from tiny_delta_nets import write_kimi_linear, write_qwen3_next, write_qwen35, write_qwen35_moe, write_rwkv7
from tiny_weights import (
    EXPERTS,
    FF_EXPERT,
    GELU_GATE,
    HEAD,
    MAMBA_1,
    MAMBA_2,
    N_EXPERT,
    N_KV,
    N_USED,
    TRANSFORMER,
    WINDOW,
    Key,
    Weights,
)


def write_mamba(path: Path) -> None:
    """Write a Mamba model: states alone, no attention; tied."""
    n_layer = 3
    file = Weights(path, "mamba", n_layer, {"feed_forward_length": 0, "attention.head_count": 0, **MAMBA_1})
    file.ends(tied=True)
    for layer in range(n_layer):
        file.norm(f"blk.{layer}.attn_norm", N_EMBD)
        file.mamba_1(f"blk.{layer}")
    file.finish()


def write_mamba2(path: Path) -> None:
    """Write a Mamba 2 model: states alone, no attention."""
    n_layer = 3
    file = Weights(path, "mamba2", n_layer, {"feed_forward_length": 0, "attention.head_count": 0, **MAMBA_2})
    file.ends(tied=False)
    for layer in range(n_layer):
        file.norm(f"blk.{layer}.attn_norm", N_EMBD)
        file.mamba_2(f"blk.{layer}")
    file.finish()


def write_granite_hybrid(path: Path) -> None:
    """Write a Granite 4 H model: Mamba 2 and attention without positions in turn, shared and chosen experts."""
    n_head_kv = [0, N_KV, 0, N_KV]
    keys: Mapping[str, Key] = {
        **TRANSFORMER,
        **EXPERTS,
        **MAMBA_2,
        "feed_forward_length": FF_EXPERT,
        "expert_shared_feed_forward_length": FF_EXPERT,
        "attention.head_count_kv": n_head_kv,
        "attention.scale": 0.2,
        "rope.scaling.finetuned": False,
        "embedding_scale": 1.5,
        "residual_scale": 0.8,
        "logit_scale": 1.2,
    }
    file = Weights(path, "granitehybrid", len(n_head_kv), keys)
    file.ends(tied=False)
    for layer, n_heads in enumerate(n_head_kv):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", N_EMBD)
        if n_heads:
            file.attention(block)
        else:
            file.mamba_2(block)
        file.norm(f"{block}.ffn_norm", N_EMBD)
        file.experts(block)
        file.feed_forward(block, "_shexp", FF_EXPERT)
    file.finish()


def write_lfm2(path: Path, *, windowed: bool = False) -> None:
    """Write an LFM2 model: short convolutions and attention, over windows if `windowed`, in turn; tied."""
    n_head_kv, l_cache = [0, N_KV, 0, N_KV], 3
    window = {"attention.sliding_window": WINDOW} if windowed else {}
    keys: Mapping[str, Key] = {
        **TRANSFORMER,
        **window,
        "attention.head_count_kv": n_head_kv,
        "shortconv.l_cache": l_cache,
    }
    file = Weights(path, "lfm2", len(n_head_kv), keys)
    file.ends("token_embd_norm", tied=True)
    for layer, n_heads in enumerate(n_head_kv):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", N_EMBD)
        if n_heads:
            file.attention(block, head_norms=1.3)
        else:
            file.matrix(f"{block}.shortconv.in_proj", 3 * N_EMBD, N_EMBD)
            file.matrix(f"{block}.shortconv.conv", N_EMBD, l_cache)
            file.matrix(f"{block}.shortconv.out_proj", N_EMBD, N_EMBD)
        file.norm(f"{block}.ffn_norm", N_EMBD)
        file.feed_forward(block)
    file.finish()


def write_jamba(path: Path) -> None:
    """Write a Jamba model: Mamba and attention without positions, feed-forward layers and experts in turn."""
    n_head_kv = [0, N_KV, 0, N_KV]
    keys: Mapping[str, Key] = {**TRANSFORMER, **EXPERTS, **MAMBA_1, "attention.head_count_kv": n_head_kv}
    keys = {**keys, "feed_forward_length": FF_EXPERT}
    file = Weights(path, "jamba", len(n_head_kv), keys)
    file.ends(tied=False)
    for layer, n_heads in enumerate(n_head_kv):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", N_EMBD)
        if n_heads:
            file.attention(block)
        else:
            file.mamba_1(block, norms=True)
        file.norm(f"{block}.ffn_norm", N_EMBD)
        if layer < 2:
            file.feed_forward(block, size=FF_EXPERT)
        else:
            file.experts(block)
    file.finish()


def write_falcon_h1(path: Path) -> None:
    """Write a Falcon H1 model: Mamba 2 beside attention in each layer."""
    n_layer = 3
    file = Weights(path, "falcon-h1", n_layer, {**TRANSFORMER, **MAMBA_2})
    file.ends(tied=False)
    for layer in range(n_layer):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", N_EMBD)
        file.attention(block)
        file.mamba_2(block)
        file.add(f"{block}.ffn_norm", np.ones(N_EMBD))  # llama.cpp reads this one without "weight"
        file.feed_forward(block)
    file.finish()


def write_nemotron_h(path: Path) -> None:
    """Write a Nemotron H model: each layer is Mamba 2, attention or a feed-forward layer."""
    kinds = ["mamba", "feed forward", "mamba", "attention", "mamba", "feed forward"]
    keys: Mapping[str, Key] = {
        **TRANSFORMER,
        **MAMBA_2,
        "feed_forward_length": [N_FF if kind == "feed forward" else 0 for kind in kinds],
        "attention.head_count_kv": [N_KV if kind == "attention" else 0 for kind in kinds],
        "attention.layer_norm_epsilon": 1e-6,
    }
    file = Weights(path, "nemotron_h", len(kinds), keys)
    file.ends(tied=False)
    for layer, kind in enumerate(kinds):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", N_EMBD)
        if kind == "mamba":
            file.mamba_2(block)
        elif kind == "attention":
            file.attention(block)
        else:
            file.feed_forward(block, gate=0.0)
    file.finish()


def write_tied_llama(path: Path) -> None:
    """Write a llama model whose embedding is its head too."""
    _write_llama(path, n_expert=0, tied=True)


def write_mixtral(path: Path) -> None:
    """Write a mixture of experts as Mixtral is one: a llama model with a router."""
    _write_llama(path, n_expert=N_EXPERT, tied=False)


def _write_llama(path: Path, *, n_expert: int, tied: bool) -> None:
    n_layer = 2
    experts = {"expert_count": n_expert, "expert_used_count": N_USED, "feed_forward_length": FF_EXPERT}
    file = Weights(path, "llama", n_layer, {**TRANSFORMER, **(experts if n_expert else {})})
    file.ends(tied=tied)
    for layer in range(n_layer):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", N_EMBD)
        file.attention(block)
        file.norm(f"{block}.ffn_norm", N_EMBD)
        if n_expert:
            file.experts(block)
        else:
            file.feed_forward(block)
    file.finish()


def write_qwen3_moe(path: Path) -> None:
    """Write a Qwen 3 mixture of experts: norms of queries and keys."""
    n_layer = 2
    file = Weights(path, "qwen3moe", n_layer, {**TRANSFORMER, **EXPERTS})
    file.ends(tied=False)
    for layer in range(n_layer):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", N_EMBD)
        file.attention(block, head_norms=1.3)
        file.norm(f"{block}.ffn_norm", N_EMBD)
        file.experts(block)
    file.finish()


def write_gpt_oss(path: Path, *, every: int = 2) -> None:
    """Write a gpt-oss model: experts with biases, attention sinks, and a full layer after `every` - 1 windowed ones."""
    n_layer = 4
    keys: Mapping[str, Key] = {
        **TRANSFORMER,
        **EXPERTS,
        "attention.sliding_window": WINDOW,
        "attention.sliding_window_pattern": every,
    }
    file = Weights(path, "gpt-oss", n_layer, keys)
    file.ends(tied=False)
    for layer in range(n_layer):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", N_EMBD)
        file.attention(block, biases=True)
        file.norm(f"{block}.attn_sinks", N_HEAD)
        file.norm(f"{block}.post_attention_norm", N_EMBD)
        file.experts(block, biases=True)
    file.finish()


def write_gemma2(path: Path) -> None:
    """Write a Gemma 2 model: windowed and full layers in turn, capped attention and logits; tied."""
    caps: Mapping[str, Key] = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 15.0}
    n_layer = 4
    file = Weights(path, "gemma2", n_layer, {**TRANSFORMER, **caps, "attention.sliding_window": WINDOW})
    file.ends(tied=True)
    for layer in range(n_layer):
        file.attention(f"blk.{layer}")
        file.four_norms_and_feed_forward(f"blk.{layer}")
    file.finish()


def write_gemma3(path: Path, *, every: int = 3) -> None:
    """Write a Gemma 3 model: a full layer after `every` - 1 windowed ones; tied; its SentencePiece texts want a BOS."""
    n_layer = 4
    keys: Mapping[str, Key] = {
        **TRANSFORMER,
        "attention.sliding_window": WINDOW,
        "attention.sliding_window_pattern": every,
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 1e4,
    }
    vocabulary = partial(add_sentencepiece_vocabulary, add_space_prefix=False)
    file = Weights(path, "gemma3", n_layer, keys, vocabulary)
    file.ends(tied=True)
    for layer in range(n_layer):
        file.attention(f"blk.{layer}", head_norms=1.3)
        file.four_norms_and_feed_forward(f"blk.{layer}")
    file.finish()


def write_gemma3n(path: Path) -> None:
    """Write a Gemma 3n model: four streams, embeddings per layer, layers after the twentieth that read others' cells.

    llama.cpp fixes the number of streams, the sizes of their gates and which layers have cells of their own.
    """
    windowed, n_stream, rank, size = [*[True, True, True, True, False] * 4, True, False], 4, 64, 256
    keys: Mapping[str, Key] = {
        **TRANSFORMER,
        "attention.sliding_window": WINDOW,
        "attention.sliding_window_pattern": windowed,
        "embedding_length_per_layer_input": size,
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 1e4,
    }
    file = Weights(path, "gemma3n", len(windowed), keys)
    file.ends(tied=True)
    file.matrix("altup_proj", n_stream - 1, N_EMBD, N_EMBD)
    file.matrix("altup_unembd_proj", n_stream - 1, N_EMBD, N_EMBD)
    file.matrix("per_layer_token_embd", len(file.tokens), size * len(windowed))
    file.matrix("per_layer_model_proj", size * len(windowed), N_EMBD)
    file.norm("per_layer_proj_norm", size)
    for layer in range(len(windowed)):
        block = f"blk.{layer}"
        file.attention(block, head_norms=0.7)
        file.four_norms_and_feed_forward(block, behind=0.3)  # or 22 layers amplify rounding
        file.matrix(f"{block}.inp_gate", size, N_EMBD, scale=GELU_GATE)
        file.matrix(f"{block}.proj", N_EMBD, size)
        file.matrix(f"{block}.altup_correct_coef", n_stream, n_stream, scale=0.1)
        file.matrix(f"{block}.altup_predict_coef", n_stream * n_stream, n_stream, scale=0.1)
        file.matrix(f"{block}.altup_router", n_stream, N_EMBD, scale=N_EMBD)
        file.matrix(f"{block}.laurel_l", rank, N_EMBD)
        file.matrix(f"{block}.laurel_r", N_EMBD, rank)
        for norm in ("post_norm", "altup_correct_scale", "altup_router_norm", "laurel_post_norm"):
            file.norm(f"{block}.{norm}", N_EMBD)
    file.finish()


def write_gemma4(path: Path) -> None:
    """Write a Gemma 4 model: wider heads in full layers, two layers that read the cells of others; tied."""
    windowed, size = [True, False, True, False], 8
    keys: Mapping[str, Key] = {
        **TRANSFORMER,
        "attention.key_length": 2 * HEAD,
        "attention.value_length": 2 * HEAD,
        "attention.key_length_swa": HEAD,
        "attention.value_length_swa": HEAD,
        "attention.shared_kv_layers": 2,
        "attention.sliding_window": WINDOW,
        "attention.sliding_window_pattern": windowed,
        "embedding_length_per_layer_input": size,
        "final_logit_softcapping": 15.0,
        "rope.dimension_count": 2 * HEAD,
        "rope.dimension_count_swa": HEAD,
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 1e4,
    }
    file = Weights(path, "gemma4", len(windowed), keys)
    file.ends(tied=True)
    file.matrix("per_layer_token_embd", len(file.tokens), size * len(windowed))
    file.matrix("per_layer_model_proj", size * len(windowed), N_EMBD)
    file.norm("per_layer_proj_norm", size)
    file.norm("rope_freqs", HEAD)
    for layer, is_windowed in enumerate(windowed):
        block = f"blk.{layer}"
        file.attention(block, HEAD if is_windowed else 2 * HEAD, head_norms=0.7)
        file.four_norms_and_feed_forward(block)
        file.matrix(f"{block}.inp_gate", size, N_EMBD, scale=GELU_GATE)
        file.matrix(f"{block}.proj", N_EMBD, size)
        file.norm(f"{block}.post_norm", N_EMBD)
        file.norm(f"{block}.layer_output_scale", 1)
    file.finish()


def write_deepseek2(path: Path) -> None:
    """Write a DeepSeek 2 model: latent attention (MLA), one dense layer, then shared and chosen experts."""
    n_layer, q_rank, kv_rank, plain, rotated = 3, 32, 24, HEAD, 8
    keys: Mapping[str, Key] = {
        **TRANSFORMER,
        **EXPERTS,
        "attention.head_count_kv": 1,
        "attention.key_length": kv_rank + rotated,
        "attention.value_length": kv_rank,
        "attention.key_length_mla": plain + rotated,
        "attention.value_length_mla": HEAD,
        "attention.q_lora_rank": q_rank,
        "attention.kv_lora_rank": kv_rank,
        "rope.dimension_count": rotated,
        "leading_dense_block_count": 1,
        "expert_shared_count": 1,
        "expert_weights_scale": 1.5,
        "expert_weights_norm": True,
        "expert_gating_func": 2,
    }
    file = Weights(path, "deepseek2", n_layer, keys)
    file.ends(tied=False)
    for layer in range(n_layer):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", N_EMBD)
        file.matrix(f"{block}.attn_q_a", q_rank, N_EMBD)
        file.norm(f"{block}.attn_q_a_norm", q_rank)
        file.matrix(f"{block}.attn_q_b", N_HEAD * (plain + rotated), q_rank, scale=1.5)
        file.matrix(f"{block}.attn_kv_a_mqa", kv_rank + rotated, N_EMBD)
        file.norm(f"{block}.attn_kv_a_norm", kv_rank)
        file.matrix(f"{block}.attn_k_b", N_HEAD, kv_rank, plain, scale=1.5)
        file.matrix(f"{block}.attn_v_b", N_HEAD, HEAD, kv_rank)
        file.matrix(f"{block}.attn_output", N_EMBD, N_HEAD * HEAD, scale=1.5)
        file.norm(f"{block}.ffn_norm", N_EMBD)
        if layer == 0:
            file.feed_forward(block)
        else:
            file.experts(block)
            file.bias(f"{block}.exp_probs_b", N_EXPERT)
            file.feed_forward(block, "_shexp", FF_EXPERT)
    file.finish()


RECURRENT: Mapping[str, Callable[[Path], None]] = {
    "mamba": write_mamba,
    "mamba2": write_mamba2,
    "falcon-h1": write_falcon_h1,
    "granitehybrid": write_granite_hybrid,
    "jamba": write_jamba,
    "kimi-linear": write_kimi_linear,
    "lfm2": write_lfm2,
    "lfm2-windowed": partial(write_lfm2, windowed=True),
    "nemotron-h": write_nemotron_h,
    "qwen35": write_qwen35,
    "qwen35moe": write_qwen35_moe,
    "qwen3next": write_qwen3_next,
    "rwkv7": write_rwkv7,
}
"""Architectures with states, alone or beside attention."""

ATTENTION: Mapping[str, Callable[[Path], None]] = {
    "llama-tied": write_tied_llama,
    "mixtral": write_mixtral,
    "qwen3moe": write_qwen3_moe,
    "gpt-oss": write_gpt_oss,
    "gemma2": write_gemma2,
    "gemma3": write_gemma3,
    "gemma3n": write_gemma3n,
    "gemma4": write_gemma4,
    "deepseek2": write_deepseek2,
}
"""Transformers with something that a llama model has not."""
