"""Tiny F32 GGUFs of architectures whose states follow the delta rule: gated delta nets, Kimi's, and RWKV 7."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tiny import N_EMBD, N_FF, N_HEAD
from tiny_weights import D_CONV, EXPERTS, FF_EXPERT, HEAD, N_EXPERT, TRANSFORMER, Key, Weights

N_KEY_HEADS, N_VALUE_HEADS = 2, 4
DELTA_NET: Mapping[str, Key] = {
    **TRANSFORMER,
    "full_attention_interval": 2,
    "ssm.conv_kernel": D_CONV,
    "ssm.inner_size": N_VALUE_HEADS * HEAD,
    "ssm.state_size": HEAD,
    "ssm.time_step_rank": N_VALUE_HEADS,
    "ssm.group_count": N_KEY_HEADS,
}
SECTIONS: Mapping[str, Key] = {"rope.dimension_count": 8, "rope.dimension_sections": [2, 1, 1, 0]}
MIXTURE: Mapping[str, Key] = {**EXPERTS, "expert_shared_feed_forward_length": FF_EXPERT}


def write_qwen35(path: Path) -> None:
    """Write a Qwen 3.5 model: gated delta nets and gated attention in turn."""
    n_layer = 4
    file = Weights(path, "qwen35", n_layer, {**DELTA_NET, **SECTIONS})
    file.ends(tied=False)
    for layer in range(n_layer):
        _mixer(file, layer)
        file.feed_forward(f"blk.{layer}")
    file.finish()


def write_qwen35_moe(path: Path) -> None:
    """Write a Qwen 3.5 mixture of experts, with a layer that predicts the token after next (MTP), which is not run."""
    n_layer = 4
    file = Weights(path, "qwen35moe", n_layer + 1, {**DELTA_NET, **SECTIONS, **MIXTURE, "nextn_predict_layers": 1})
    file.ends(tied=False)
    for layer in range(n_layer + 1):
        _mixer(file, layer, is_last=layer == n_layer)
        _shared_and_chosen_experts(file, layer)
    file.matrix(f"blk.{n_layer}.nextn.eh_proj", N_EMBD, 2 * N_EMBD)
    file.norm(f"blk.{n_layer}.nextn.enorm", N_EMBD)
    file.norm(f"blk.{n_layer}.nextn.hnorm", N_EMBD)
    file.finish()


def write_qwen3_next(path: Path) -> None:
    """Write a Qwen 3 Next model: as Qwen 3.5, with experts and the two gates of a delta net in one matrix."""
    n_layer = 4
    file = Weights(path, "qwen3next", n_layer, {**DELTA_NET, **MIXTURE})
    file.ends(tied=False)
    for layer in range(n_layer):
        _mixer(file, layer, gates_in_one=True)
        _shared_and_chosen_experts(file, layer)
    file.finish()


def _mixer(file: Weights, layer: int, *, is_last: bool = False, gates_in_one: bool = False) -> None:
    block = f"blk.{layer}"
    file.norm(f"{block}.attn_norm", N_EMBD)
    if layer % 2 or is_last:
        file.attention(block, head_norms=1.3, gated=True)
    else:
        file.delta_net(block, N_KEY_HEADS, N_VALUE_HEADS, gates_in_one=gates_in_one)
    file.norm(f"{block}.post_attention_norm", N_EMBD)


def _shared_and_chosen_experts(file: Weights, layer: int) -> None:
    block = f"blk.{layer}"
    file.experts(block)
    file.norm(f"{block}.ffn_gate_inp_shexp", N_EMBD)
    file.feed_forward(block, "_shexp", FF_EXPERT)


def write_kimi_linear(path: Path) -> None:
    """Write a Kimi Linear model: delta nets with a gate for each channel, and latent attention without positions."""
    n_layer, kv_rank, plain, unrotated = 4, 24, HEAD, 8
    keys: Mapping[str, Key] = {
        **TRANSFORMER,
        **EXPERTS,
        "attention.head_count_kv": [layer % 2 for layer in range(n_layer)],
        "attention.key_length": kv_rank + unrotated,
        "attention.value_length": kv_rank,
        "attention.key_length_mla": plain + unrotated,
        "attention.value_length_mla": HEAD,
        "attention.kv_lora_rank": kv_rank,
        "rope.dimension_count": unrotated,
        "kda.head_dim": HEAD,
        "ssm.conv_kernel": D_CONV,
        "leading_dense_block_count": 1,
        "expert_shared_count": 1,
        "expert_weights_scale": 1.5,
        "expert_gating_func": 2,
    }
    file = Weights(path, "kimi-linear", n_layer, keys)
    file.ends(tied=False)
    for layer in range(n_layer):
        block = f"blk.{layer}"
        file.norm(f"{block}.attn_norm", N_EMBD)
        if layer % 2:
            file.matrix(f"{block}.attn_q", N_HEAD * (plain + unrotated), N_EMBD, scale=1.5)
            file.matrix(f"{block}.attn_kv_a_mqa", kv_rank + unrotated, N_EMBD)
            file.norm(f"{block}.attn_kv_a_norm", kv_rank)
            file.matrix(f"{block}.attn_k_b", N_HEAD, kv_rank, plain, scale=1.5)
            file.matrix(f"{block}.attn_v_b", N_HEAD, HEAD, kv_rank)
            file.matrix(f"{block}.attn_output", N_EMBD, N_HEAD * HEAD, scale=1.5)
        else:
            _kimi_delta_net(file, block)
        file.norm(f"{block}.ffn_norm", N_EMBD)
        if layer == 0:
            file.feed_forward(block)
        else:
            file.experts(block)
            file.bias(f"{block}.exp_probs_b", N_EXPERT)
            file.feed_forward(block, "_shexp", FF_EXPERT)
    file.finish()


def _kimi_delta_net(file: Weights, block: str) -> None:
    """Add a delta net whose heads forget after 3 to 300 tokens."""
    size = N_HEAD * HEAD
    for part in "qkv":
        file.matrix(f"{block}.attn_{part}", size, N_EMBD)
        file.matrix(f"{block}.ssm_conv1d_{part}", size, 1, D_CONV, scale=1.5)
    for gate in "fg":
        file.matrix(f"{block}.ssm_{gate}_a", HEAD, N_EMBD)
        file.matrix(f"{block}.ssm_{gate}_b", size, HEAD)
    file.matrix(f"{block}.ssm_beta", N_HEAD, N_EMBD)
    file.add(f"{block}.ssm_a", -np.geomspace(0.004, 0.4, N_HEAD)[:, None])
    file.bias(f"{block}.ssm_dt", size)
    file.norm(f"{block}.ssm_norm", HEAD)
    file.matrix(f"{block}.attn_output", N_EMBD, size, scale=1.5)


def write_rwkv7(path: Path) -> None:
    """Write an RWKV 7 model: states alone, which forget after 3 to 600 tokens, and the token before each."""
    n_layer, rank, head = 3, 8, 64
    names = ("decay", "iclr", "value_residual_mix", "gate")
    keys: Mapping[str, Key] = {
        "feed_forward_length": N_FF,
        "attention.head_count": 0,
        "attention.layer_norm_epsilon": 1e-5,
        "wkv.head_size": head,
        "token_shift_count": 2,
        **{f"attention.{name}_lora_rank": rank for name in names},
    }
    file = Weights(path, "rwkv7", n_layer, keys)
    file.ends(tied=False)
    for norm in ("output_norm", "token_embd_norm"):
        file.bias(norm, N_EMBD)
    file.norm("token_embd_norm", N_EMBD)
    for layer in range(n_layer):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "attn_norm_2", "time_mix_ln"):
            file.norm(f"{block}.{norm}", N_EMBD)
            file.bias(f"{block}.{norm}", N_EMBD)
        for part in "wavg":
            file.matrix(f"{block}.time_mix_{part}1", rank, N_EMBD)
            file.matrix(f"{block}.time_mix_{part}2", N_EMBD, rank)
        file.add(f"{block}.time_mix_w0.weight", np.linspace(-6.0, 1.0, N_EMBD))
        for part in ("a0", "v0", "k_k", "k_a", "r_k"):
            file.norm(f"{block}.time_mix_{part}", N_EMBD, size=0.5)
        file.add(f"{block}.time_mix_lerp_fused.weight", file.rng.uniform(0.0, 1.0, (6, 1, 1, N_EMBD)))
        for part in ("key", "value", "receptance", "output"):
            file.matrix(f"{block}.time_mix_{part}", N_EMBD, N_EMBD)
        file.add(f"{block}.channel_mix_lerp_k.weight", file.rng.uniform(0.0, 1.0, (1, 1, N_EMBD)))
        file.matrix(f"{block}.channel_mix_key", N_FF, N_EMBD)
        file.matrix(f"{block}.channel_mix_value", N_EMBD, N_FF)
    file.finish()
