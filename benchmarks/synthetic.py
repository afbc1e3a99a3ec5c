"""Models of about 7B with random weights: how fast they are here, what they occupy, how long a search takes with them.

    python benchmarks/synthetic.py FOLDER [--shapes qwen2.5-7b,...] [--minutes 12] [--untuned] [--json FILE] [--keep]

Each file has the dimensions and the Q4_K_M mix of a real model, and weights that are random bytes with scales that keep
activations finite. It writes nonsense, so it serves for rates and memory only; its name says `synthetic`. Rates depend
on shapes and types alone. (Of a mixture of experts they also depend on how evenly tokens choose among experts: random
weights choose evenly, which is the slowest case.) The vocabulary is that of a real model, cut or padded to the shape's
size, so that texts have as many tokens as usual; its merges are cut with it.

The minutes of a search are token counts of a rehearsal (as `--dry-run` has them) of each method's default search on
examples/support-routing with the vocabulary of this very file, over the rates that were measured just before.

With `--minutes` each shape gets its part of the time that is left: one repetition in any case, more where they fit. A
7B with its file takes about four minutes on two cores, `--untuned`; a choice of settings takes some minutes more. Each
step says when it begins. FOLDER holds one file at a time, `synthetic-SHAPE-q4_k_m.gguf`, at most 5 GB: it is removed
once it has been measured, and also where the process is interrupted or terminated. With `--keep` files stay, and those
that are there are measured; one that is not whole ends in `.part` and is written anew.

Source of the mix: llama.cpp's quantiser (src/llama-quant.cpp) for Q4_K_M. Of the shapes: the makers' published
configurations.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from localprompt.engine.gguf import GGUFHeader, StringArray
from localprompt.engine.gguf_reader import read_header
from localprompt.engine.gguf_validator import validate
from localprompt.errors import LocalPromptError, ModelError
from localprompt.hub.files import resolve
from localprompt.lm.deadline import AT_ONCE, Rates
from localprompt.lm.local import LocalModel, load_model
from localprompt.lm.speed import Benchmark, Footprint, Rate, Speed, drawing_rate, measured_speed
from localprompt.run.estimate import estimate
from localprompt.run.models import Models
from localprompt.run.prepare import prepare
from localprompt.run.spec import Limits, read_spec

TASK = Path(__file__).parents[1] / "examples" / "support-routing" / "task.yaml"
METHODS = ("ape", "protegi", "opro", "pe2")
SLACK = 400e6
"""Bytes that a worker may occupy beside weights and cells."""
_REHEARSALS = 60.0
"""Seconds that are kept of a shape's part of the minutes for rehearsing the searches."""
_CHUNK_BLOCKS = 1 << 16
"""Blocks that are drawn; a larger tensor repeats them."""
_Tensor = tuple[str, tuple[int, ...], Type]
"""Name, shape as numpy has it, type."""


@dataclass(frozen=True)
class Shape:
    """Dimensions of a real model."""

    architecture: str
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_vocab: int
    n_ctx: int
    rope_base: float = 10_000.0
    has_biases: bool = False
    has_rope_factors: bool = False
    n_expert: int = 0
    n_expert_used: int = 0
    n_ff_shared: int = 0
    attention_layers: tuple[int, ...] = ()
    """Empty: all; the others are Mamba 2."""
    n_state: int = 0
    n_ssm_head: int = 0
    keys: Mapping[str, float] = field(default_factory=dict)
    """More numbers of the header."""

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.n_embd // self.n_head

    @property
    def is_tied(self) -> bool:
        """Hybrids of this family share input and output embeddings."""
        return self.architecture == "granitehybrid"

    def attends(self, layer: int) -> bool:
        """Return whether a layer has attention."""
        return not self.attention_layers or layer in self.attention_layers


SHAPES = {
    "qwen2.5-7b": Shape("qwen2", 28, 3584, 18944, 28, 4, 152064, 32768, 1e6, has_biases=True),
    "llama-3.1-8b": Shape("llama", 32, 4096, 14336, 32, 8, 128256, 131072, 5e5, has_rope_factors=True),
    "granite-4-h-tiny": Shape(
        "granitehybrid",
        40,
        1536,
        512,
        12,
        4,
        100352,
        131072,
        n_expert=64,
        n_expert_used=6,
        n_ff_shared=1024,
        attention_layers=(5, 15, 25, 35),
        n_state=128,
        n_ssm_head=48,
        keys={"logit_scale": 6.0, "residual_scale": 0.22, "embedding_scale": 12.0, "attention.scale": 0.0078125},
    ),
}


def tensors(shape: Shape) -> Iterator[_Tensor]:
    """Yield all tensors of a model with their types in the Q4_K_M mix, a layer's together."""
    embedding = (shape.n_vocab, shape.n_embd)
    yield "token_embd.weight", embedding, Type.Q6_K if shape.is_tied else Type.Q4_K
    yield "output_norm.weight", (shape.n_embd,), Type.F32
    if not shape.is_tied:
        yield "output.weight", embedding, Type.Q6_K
    if shape.has_rope_factors:
        yield "rope_freqs.weight", (shape.head // 2,), Type.F32
    with_attention = [layer for layer in range(shape.n_layer) if shape.attends(layer)]
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", (shape.n_embd,), Type.F32
        if shape.attends(layer):
            yield from _attention(shape, block, _more_bits(with_attention.index(layer), len(with_attention)))
        else:
            yield from _mamba(shape, block)
        yield f"{block}.ffn_norm.weight", (shape.n_embd,), Type.F32
        yield from _feed_forward(shape, block, _more_bits(layer, shape.n_layer))


def _more_bits(layer: int, n_layer: int) -> Type:
    more = layer < n_layer // 8 or layer >= 7 * n_layer // 8 or (layer - n_layer // 8) % 3 == 2
    return Type.Q6_K if more else Type.Q4_K


def _attention(shape: Shape, block: str, of_value: Type) -> Iterator[_Tensor]:
    n_kv = shape.n_head_kv * shape.head
    for name, rows, kind in (("q", shape.n_embd, Type.Q4_K), ("k", n_kv, Type.Q4_K), ("v", n_kv, of_value)):
        yield f"{block}.attn_{name}.weight", (rows, shape.n_embd), kind
        if shape.has_biases:
            yield f"{block}.attn_{name}.bias", (rows,), Type.F32
    yield f"{block}.attn_output.weight", (shape.n_embd, shape.n_embd), Type.Q4_K


def _mamba(shape: Shape, block: str) -> Iterator[_Tensor]:
    n_inner = 2 * shape.n_embd
    n_conv = n_inner + 2 * shape.n_state
    yield f"{block}.ssm_in.weight", (n_inner + n_conv + shape.n_ssm_head, shape.n_embd), Type.Q4_K
    yield f"{block}.ssm_conv1d.weight", (n_conv, 4), Type.F32
    yield f"{block}.ssm_conv1d.bias", (n_conv,), Type.F32
    yield f"{block}.ssm_dt.bias", (shape.n_ssm_head,), Type.F32
    yield f"{block}.ssm_a", (shape.n_ssm_head, 1), Type.F32
    yield f"{block}.ssm_d", (shape.n_ssm_head, 1), Type.F32
    yield f"{block}.ssm_norm.weight", (1, n_inner), Type.F32
    yield f"{block}.ssm_out.weight", (shape.n_embd, n_inner), Type.Q4_K


def _feed_forward(shape: Shape, block: str, of_down: Type) -> Iterator[_Tensor]:
    kinds = (("gate", Type.Q4_K), ("up", Type.Q4_K), ("down", of_down))
    if not shape.n_expert:
        for name, kind in kinds:
            yield f"{block}.ffn_{name}.weight", _turned(name, shape.n_ff, shape.n_embd), kind
        return
    yield f"{block}.ffn_gate_inp.weight", (shape.n_expert, shape.n_embd), Type.F32
    for name, kind in kinds:
        yield f"{block}.ffn_{name}_exps.weight", (shape.n_expert, *_turned(name, shape.n_ff, shape.n_embd)), kind
        yield f"{block}.ffn_{name}_shexp.weight", _turned(name, shape.n_ff_shared, shape.n_embd), kind


def _turned(name: str, n_ff: int, n_embd: int) -> tuple[int, int]:
    return (n_embd, n_ff) if name == "down" else (n_ff, n_embd)


def weights(name: str, dims: tuple[int, ...], kind: Type, rng: np.random.Generator) -> NDArray[Any]:
    """Return random weights of a type whose rows keep the size of activations: numbers, or bytes of blocks."""
    if kind == Type.F32:
        if name.endswith(("norm.weight", "rope_freqs.weight")):
            return np.ones(dims, np.float32)
        if name.endswith("ssm_a"):
            return -rng.uniform(1.0, 16.0, dims).astype(np.float32)
        return np.asarray(0.1 * rng.standard_normal(dims) / np.sqrt(dims[-1]), np.float32)
    per_block, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    n_blocks = int(np.prod(dims)) // per_block
    drawn = rng.integers(0, 256, (min(n_blocks, _CHUNK_BLOCKS), n_bytes), np.uint8)
    deviation = 1.0 / np.sqrt(dims[-1])
    if kind == Type.Q4_K:  # d * scale * q - dmin * minimum: 6 bits of each scale and minimum, q in 0..15
        scale = np.float16(deviation / 250.0)
        drawn[:, 0:2], drawn[:, 2:4] = _bytes_of(scale), _bytes_of(np.float16(7.5 * float(scale)))
    else:  # Q6_K: d * scale * (q - 32), scales of 8 bits
        drawn[:, -2:] = _bytes_of(np.float16(deviation / 1400.0))
    return np.resize(drawn, (*dims[:-1], dims[-1] // per_block * n_bytes))


def _bytes_of(number: np.float16) -> NDArray[np.uint8]:
    return np.frombuffer(number.tobytes(), np.uint8)


def write(path: Path, name: str, shape: Shape, vocabulary: GGUFHeader) -> None:
    """Write a model with random weights; `vocabulary` is the file from which tokens and chat template are taken."""
    writer = gguf.GGUFWriter(path, shape.architecture)
    writer.add_name(f"synthetic {name}: random weights")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_block_count(shape.n_layer)
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.n_embd)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    hybrid = [shape.n_head_kv * shape.attends(layer) for layer in range(shape.n_layer)]
    writer.add_head_count_kv(hybrid if shape.attention_layers else shape.n_head_kv)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head)
    writer.add_vocab_size(shape.n_vocab)
    if shape.n_expert:
        writer.add_expert_count(shape.n_expert)
        writer.add_expert_used_count(shape.n_expert_used)
        writer.add_expert_shared_feed_forward_length(shape.n_ff_shared)
    if shape.n_state:
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(2 * shape.n_embd)
        writer.add_ssm_state_size(shape.n_state)
        writer.add_ssm_time_step_rank(shape.n_ssm_head)
        writer.add_ssm_group_count(1)
        writer.add_rope_scaling_finetuned(False)
    for key, value in shape.keys.items():
        writer.add_float32(f"{shape.architecture}.{key}", value)
    _add_vocabulary(writer, shape.n_vocab, vocabulary)
    wanted = list(tensors(shape))
    for tensor, dims, kind in wanted:
        per_block, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        size = int(np.prod(dims)) // per_block * n_bytes
        writer.add_tensor_info(tensor, dims, np.dtype(np.float32), size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(0)
    for tensor, dims, kind in wanted:
        writer.write_tensor_data(weights(tensor, dims, kind, rng))
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter, n_vocab: int, source: GGUFHeader) -> None:
    """Add a byte-level vocabulary cut or padded to `n_vocab`: letters, merges in order of rank, control tokens."""
    kinds, merges = source.metadata["tokenizer.ggml.token_type"], source.metadata["tokenizer.ggml.merges"]
    if not isinstance(kinds, np.ndarray) or not isinstance(merges, StringArray):
        raise ModelError(f"{source.path} has no byte-level vocabulary", "give --vocabulary another model")
    special = [token for token in range(source.n_vocab) if kinds[token] in (gguf.TokenType.CONTROL, 4)]
    n_merges = min(len(merges), n_vocab - 256 - len(special))
    kept = [*range(256 + n_merges), *special]
    tokens = [source.tokens[token] for token in kept]
    n_padding = n_vocab - len(tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(source.text("tokenizer.ggml.pre"))
    writer.add_token_list([*tokens, *(f"[PAD{number}]" for number in range(n_padding))])
    writer.add_token_types([*(int(kinds[token]) for token in kept), *[int(gguf.TokenType.UNUSED)] * n_padding])
    writer.add_token_merges([merges[rank] for rank in range(n_merges)])
    for add, key in ((writer.add_bos_token_id, "bos"), (writer.add_eos_token_id, "eos")):
        token = source.integer(f"tokenizer.ggml.{key}_token_id")
        if token is not None:
            add(tokens.index(source.tokens[token]))
    writer.add_add_bos_token(False)
    if source.chat_template:
        writer.add_chat_template(source.chat_template)


def measured(path: Path, seconds: float | None, *, is_tuned: bool, repetitions: int = 1) -> dict[str, Any]:
    """Return rates, memory, and what the default search of each method is expected to take with a file.

    Args:
        path: of the file.
        seconds: to repeat measurements in; None: `repetitions`.
        is_tuned: measure a choice of settings first, which is remembered for this file.
        repetitions: of each rate, where no seconds are given.
    """
    began = time.monotonic()
    _say("choosing settings and loading" if is_tuned else "loading")
    with load_model(str(path), tune=is_tuned) as lm:
        speed = _speed(lm, 1 if seconds is not None else repetitions)
        took = time.monotonic() - began
        if seconds is not None and (more := int((seconds - took) / took)) > 0:
            speed = _joined(speed, _speed(lm, more))
        _say(f"{AT_ONCE} completions at once")
        drawing = drawing_rate(lm, AT_ONCE, 8)
        rates = Rates(speed.prompt.mean, drawing, speed.single.mean)
        found = Benchmark(lm.facts.name, str(path), lm.settings, (), speed, Footprint.of(lm)).to_json()
        return {**found, "drawing": drawing, "searches": {method: _expected(lm, method, rates) for method in METHODS}}


def _speed(lm: LocalModel, repetitions: int) -> Speed:
    """Return the four rates, and say how far they are."""
    names = ("pp512", "tg128", "scoring", "generation")
    _say(f"warm-up of each rate, then {repetitions} x {', '.join(names)}")
    return measured_speed(
        lm, repetitions, lambda done, total: _say(f"{names[(done - 1) % 4]} measured, {done}/{total}")
    )


def _joined(first: Speed, second: Speed) -> Speed:
    """Return the repetitions of both."""
    return Speed(
        prompt=Rate(first.prompt.values + second.prompt.values),
        single=Rate(first.single.values + second.single.values),
        scoring=Rate(first.scoring.values + second.scoring.values),
        generation=Rate(first.generation.values + second.generation.values),
        load=first.load,
    )


def _expected(lm: LocalModel, method: str, rates: Rates) -> dict[str, Any]:
    """Return what the default search of a method takes at these rates; only the tokeniser is asked."""
    _say(f"rehearsing {method}")
    spec = read_spec(TASK, (method, "local", {}), 0, Limits(), allow_code=False)
    ready = prepare(spec, Models(lm, lm))
    return estimate(ready.spec, ready.models, {lm.facts.fingerprint: rates}).to_json()


_BEGAN = time.monotonic()


def _say(what: str) -> None:
    print(f"  {time.monotonic() - _BEGAN:4.0f} s: {what}", file=sys.stderr, flush=True)


def written(path: Path, name: str, vocabulary: GGUFHeader) -> None:
    """Write the file of a shape, unless it is there.

    Raises:
        ModelError: if the disk has no room for it, before anything is written.
    """
    if path.exists():
        _say(f"{path} is there")
        return
    needed = sum(
        int(np.prod(dims)) // gguf.GGML_QUANT_SIZES[kind][0] * gguf.GGML_QUANT_SIZES[kind][1]
        for _, dims, kind in tensors(SHAPES[name])
    )
    free = shutil.disk_usage(path.parent).free
    if free < 1.1 * needed:
        raise ModelError(f"{path.parent} has {free / 1e9:.1f} GB free and the file needs {needed / 1e9:.1f}")
    _say(f"writing {path}, {needed / 1e9:.1f} GB")
    part = path.with_suffix(".part")
    try:
        write(part, name, SHAPES[name], vocabulary)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def row(name: str, found: Mapping[str, Any]) -> str:
    """Return what was measured as lines of Markdown."""
    rates = {rate["name"]: rate for rate in found["rates"]}
    memory = found["memory"]
    beside = (memory["peak"] or 0) - memory["weights"] - memory["cells"]
    shown = " | ".join(f"{rates[each]['mean']:.2f} ± {rates[each]['deviation']:.2f}" for each in rates)
    return (
        f"| synthetic {name} | {shown} | {rates['scoring']['ratio']:.2f}, {rates['generation']['ratio']:.1f} "
        f"| {memory['weights'] / 1e9:.2f} + {memory['cells'] / 1e9:.2f} | {(memory['peak'] or 0) / 1e9:.2f} "
        f"({'within' if beside <= SLACK else 'beyond'} {SLACK / 1e6:.0f} MB beside them) | {found['load']:.1f} |"
    )


def minutes(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield for each method the tokens and minutes of its default search, and of the final evaluation after it."""
    for method, expected in found["searches"].items():
        tokens = f"{expected['tokens_decoded']:,} and {expected['final_tokens_computed']:,} tokens"
        seconds = expected["seconds"], expected["proof_seconds"]
        yield f"| {method} | {tokens} | {seconds[0] / 60:.1f} and {seconds[1] / 60:.1f} minutes |"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files go; 5 GB for a while")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--vocabulary", default="qwen2.5-coder-0.5b-instruct", help="a model with a byte-level one")
    parser.add_argument("--repetitions", type=int, default=2, help="where no minutes are given")
    parser.add_argument("--minutes", type=float, help="for all shapes: as many repetitions as fit, at least one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--untuned", action="store_true", help="default settings: no choice of others is measured")
    parser.add_argument("--keep", action="store_true", help="leave the files, and measure those that are there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the file is removed
    options.folder.mkdir(parents=True, exist_ok=True)
    vocabulary = read_header(resolve(options.vocabulary))
    results, names = {}, options.shapes.split(",")
    for number, name in enumerate(names):
        path = options.folder / f"synthetic-{name}-q4_k_m.gguf"
        left = None if options.minutes is None else 60 * options.minutes - (time.monotonic() - _BEGAN)
        began = time.monotonic()
        try:
            written(path, name, vocabulary)
            header = validate(path)
            size = f"{header.parameters / 1e9:.2f}B parameters, {header.file_size / 1e9:.2f} GB"
            print(f"synthetic {name}: {size}", flush=True)
            part = None if left is None else left / (len(names) - number) - (time.monotonic() - began) - _REHEARSALS
            results[name] = measured(path, part, is_tuned=not options.untuned, repetitions=options.repetitions)
            print("\n".join([row(name, results[name]), *minutes(results[name])]), flush=True)
        except LocalPromptError as error:
            print(f"synthetic {name} was not measured: {error}", flush=True)
        finally:
            if not options.keep:
                path.unlink(missing_ok=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
