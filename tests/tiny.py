"""Two tiny F32 GGUFs and a naive oracle for them.

`write_llama` has a SentencePiece vocabulary and wants a BOS token; `write_qwen` has a byte-level BPE vocabulary without
BOS, with fill-in-the-middle tokens and a chat template. Both hold all 256 bytes and merges learnt from `CORPUS`, so
that every text has tokens and tokens merge across the borders of requests. Weights are random but seeded.

The oracle decodes one request at a time in a fresh KV cache. It does not import the package it judges.
"""

from __future__ import annotations

import codecs
import ctypes
import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gguf
import llama_cpp
import numpy as np
import numpy.typing as npt

N_CTX = 512
N_LAYER, N_EMBD, N_HEAD, N_FF = 2, 64, 4, 128
N_MERGES = 120
CHAIN = "☕é🦙".encode()
"""Bytes that both models repeat in a circle: greedy generation after `☕` is `é🦙☕é🦙☕...`, one byte a token."""
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = """
the ticket is about a refund and the answer is billing because the customer paid for the same order twice
the answer is positive or negative and the review of the film says that the story is slow but the end is good
question and answer write the plural of the word then the opposite of the word then the first letter of the word
input output instruction label text sentence the instruction was to read the input and to write the output
"""
CONTROL = gguf.TokenType.CONTROL
ENDS = ("</s>", "<|im_end|>")
"""Control tokens that are drawn now and then; the others practically never."""


def write_llama(
    path: Path, *, marks: Sequence[str] = (), add_space_prefix: bool = True, named_by_key: bool = False
) -> None:
    """Write a llama model whose vocabulary adds BOS (SentencePiece's default).

    `marks` are more control tokens or, if `named_by_key`, ordinary ones that keys of the file name as those around
    prefix, suffix and middle.
    """
    writer = _header(path, "llama")
    tokens, types = add_sentencepiece_vocabulary(
        writer, marks=marks, add_space_prefix=add_space_prefix, named_by_key=named_by_key
    )
    chain = [tokens.index(f"<0x{byte:02X}>") for byte in CHAIN]
    _write(writer, _weights(tokens, types, chain, biases=False))


def add_sentencepiece_vocabulary(
    writer: gguf.GGUFWriter, *, marks: Sequence[str] = (), add_space_prefix: bool = True, named_by_key: bool = False
) -> tuple[list[str], list[int]]:
    """Add the vocabulary of `write_llama` to a file; the tokens and their types."""
    pieces = _merged_pieces(CORPUS, "▁")
    letters = ["▁", *map(chr, range(33, 127))]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types: list[int] = [gguf.TokenType.UNKNOWN, CONTROL, CONTROL, *[gguf.TokenType.BYTE] * 256]
    scores = [0.0] * len(tokens)
    for rank, piece in enumerate([*(left + right for left, right in pieces), *letters]):
        tokens.append(piece)
        types.append(gguf.TokenType.NORMAL)
        scores.append(-1.0 - rank)
    tokens += marks
    types += [gguf.TokenType.NORMAL if named_by_key else CONTROL] * len(marks)
    scores += [0.0] * len(marks)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if named_by_key:
        for name, mark in zip(("pre", "suf", "mid"), marks, strict=True):
            writer.add_uint32(f"tokenizer.ggml.fim_{name}_token_id", tokens.index(mark))
    if not add_space_prefix:
        writer.add_add_space_prefix(False)
    return tokens, types


def write_qwen(path: Path, *, template: str = CHATML, types: Mapping[str, int] = MappingProxyType({})) -> None:
    """Write a qwen2 model: byte-level BPE, no BOS, chat template, fill-in-the-middle tokens.

    `types` are those of special tokens that are not typed as control tokens.
    """
    writer = _header(path, "qwen2")
    tokens, kinds = add_byte_level_vocabulary(writer, types=types, template=template)
    _write(writer, _weights(tokens, kinds, list(CHAIN), biases=True))


def add_byte_level_vocabulary(
    writer: gguf.GGUFWriter, *, template: str = CHATML, types: Mapping[str, int] = MappingProxyType({})
) -> tuple[list[str], list[int]]:
    """Add the vocabulary of `write_qwen` to a file; the tokens and their types."""
    letter = gpt2_letters()
    merges = _merged_pieces(CORPUS, letter[ord(" ")])
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]
    tokens = [*letter, *(left + right for left, right in merges), *special]
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(special)) + [types.get(mark, CONTROL) for mark in special]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_uint32("tokenizer.ggml.fim_pre_token_id", tokens.index("<|fim_prefix|>"))
    writer.add_uint32("tokenizer.ggml.fim_mid_token_id", tokens.index("<|fim_middle|>"))
    writer.add_uint32("tokenizer.ggml.fim_suf_token_id", tokens.index("<|fim_suffix|>"))
    writer.add_chat_template(template)
    return tokens, kinds


def write_letters(path: Path) -> None:
    """Write a model that knows no bytes but these letters."""
    tokens = ["<unk>", "<s>", "</s>", "▁", *"abcdef"]
    control = gguf.TokenType.CONTROL
    types = [gguf.TokenType.UNKNOWN, control, control] + [gguf.TokenType.NORMAL] * 7
    writer = _header(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(rank) for rank in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    _write(writer, _weights(tokens, types, [4, 5], biases=False))


def gpt2_letters() -> list[str]:
    """The printable character that stands for each byte in a byte-level vocabulary, indexed by the byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _merged_pieces(corpus: str, space: str) -> list[tuple[str, str]]:
    """Byte-pair encoding of the words of `corpus`: the merges in order of rank."""
    words = Counter((space, *word) for word in corpus.split())
    merges: list[tuple[str, str]] = []
    while len(merges) < N_MERGES:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in words.items():
            for pair in pairwise(word):
                pairs[pair] += n
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = Counter({_merge(word, best): n for word, n in words.items()})
    return merges


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for piece in word:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return tuple(merged)


def _header(path: Path, arch: str) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(f"tiny {arch}")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(N_CTX)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYER)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD // 2)
    writer.add_rope_dimension_count(N_EMBD // N_HEAD)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    return writer


def embedding_and_head(
    rng: np.random.Generator, tokens: Sequence[str], types: Sequence[int], chain: Sequence[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weights of `token_embd` and of `output`, which repeats the tokens of `chain` and hardly draws control tokens."""
    embedding = rng.standard_normal((len(tokens), N_EMBD)).astype(np.float32)
    embedding[:, 0] = 4.0  # a constant direction: what the head has there acts as a bias of its token
    head = np.asarray(rng.standard_normal((len(tokens), N_EMBD)) * 2.0 / np.sqrt(N_EMBD), np.float32)
    head[:, 0] = 0.0
    never = [kind == CONTROL and token not in ENDS for token, kind in zip(tokens, types, strict=True)]
    head[never, 0] = -8.0
    for token, after in zip(chain, [*chain[1:], chain[0]], strict=True):
        head[after, 1:] = embedding[token, 1:] / 2.0
        head[after, 0] = -1.0  # else every text would soon fall into the circle
    return embedding, head


def _weights(
    tokens: Sequence[str], types: Sequence[int], chain: Sequence[int], *, biases: bool
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield (name, tensor), in the shape numpy has it: (rows out, columns in)."""
    rng = np.random.default_rng(20)
    n_kv = N_EMBD // 2

    def matrix(rows: int, columns: int, scale: float = 1.0) -> npt.NDArray[np.float32]:
        return np.asarray(rng.standard_normal((rows, columns)) * scale / np.sqrt(columns), np.float32)

    embedding, head = embedding_and_head(rng, tokens, types, chain)
    yield "token_embd.weight", embedding
    yield "output.weight", head
    yield "output_norm.weight", np.ones(N_EMBD, np.float32)
    for layer in range(N_LAYER):
        shapes = {"attn_q": N_EMBD, "attn_k": n_kv, "attn_v": n_kv}
        for name, rows in shapes.items():
            yield f"blk.{layer}.{name}.weight", matrix(rows, N_EMBD)
            if biases:
                yield f"blk.{layer}.{name}.bias", matrix(1, rows)[0]
        yield f"blk.{layer}.attn_output.weight", matrix(N_EMBD, N_EMBD)
        yield f"blk.{layer}.ffn_gate.weight", matrix(N_FF, N_EMBD)
        yield f"blk.{layer}.ffn_up.weight", matrix(N_FF, N_EMBD)
        yield f"blk.{layer}.ffn_down.weight", matrix(N_EMBD, N_FF)
        yield f"blk.{layer}.attn_norm.weight", np.ones(N_EMBD, np.float32)
        yield f"blk.{layer}.ffn_norm.weight", np.ones(N_EMBD, np.float32)


def _write(writer: gguf.GGUFWriter, weights: Iterator[tuple[str, npt.NDArray[np.float32]]]) -> None:
    for name, tensor in weights:
        writer.add_tensor(name, tensor)
    finish(writer)


def finish(writer: gguf.GGUFWriter) -> None:
    """Write what was added, and close the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(_level: int, _text: bytes, _data: Any) -> None:
    """llama.cpp writes to stderr unless told otherwise."""


_NO_DEVICES = (ctypes.c_void_p * 1)()


class Oracle:
    """A model by itself: tokens to log-probabilities, one request a decode, nothing kept between requests."""

    def __init__(self, path: Path, *, on_gpu: bool = False) -> None:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        params = llama_cpp.llama_model_default_params()
        if not on_gpu:
            params.n_gpu_layers = 0
            params.devices = ctypes.cast(_NO_DEVICES, ctypes.c_void_p)  # or large batches would be computed on a GPU
        params.use_extra_bufts = False
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        assert self.model, path
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.bos = llama_cpp.llama_vocab_bos(self.vocab)

    def close(self) -> None:
        llama_cpp.llama_model_free(self.model)

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        data = text.encode()
        buffer = (llama_cpp.llama_token * (len(data) + 8))()
        n = llama_cpp.llama_tokenize(self.vocab, data, len(data), buffer, len(buffer), add_special, parse_special)
        assert n >= 0, n
        return list(buffer[:n])

    def piece(self, token: int) -> bytes:
        """The bytes of a token; control tokens have none."""
        buffer = ctypes.create_string_buffer(64)
        n = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
        assert n >= 0, n
        return buffer.raw[:n]

    def is_control(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_control(self.vocab, token))

    def is_end(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def logprobs(self, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
        """Log-softmax after each token, shape (n_tokens, n_vocab): row i judges token i + 1."""
        with self._context() as context:
            self._decode(context, tokens)
            rows = [self._row(context, i) for i in range(len(tokens))]
        return np.stack(rows)

    def logprobs_one_by_one(self, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
        """What `logprobs` gives, from one decode a token."""
        rows = []
        with self._context() as context:
            for token in tokens:
                self._decode(context, [token])
                rows.append(self._row(context, 0))
        return np.stack(rows)

    def greedy(self, tokens: Sequence[int], max_tokens: int) -> list[int]:
        """The most probable token, again and again, one a decode; ends before an end token."""
        drawn: list[int] = []
        with self._context() as context:
            self._decode(context, tokens)
            row = self._row(context, len(tokens) - 1)
            while len(drawn) < max_tokens and not self.is_end(token := int(row.argmax())):
                drawn.append(token)
                self._decode(context, [token])
                row = self._row(context, 0)
        return drawn

    def text(self, tokens: Sequence[int]) -> str:
        """Bytes of the tokens as text; half a character at the end is dropped."""
        return codecs.getincrementaldecoder("utf-8")("replace").decode(b"".join(map(self.piece, tokens)))

    @contextmanager
    def _context(self) -> Iterator[Any]:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = N_CTX  # a batch longer than n_batch aborts the process
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = 0  # F32 cells and no flash attention: both round to 16 bits otherwise, which
        params.flash_attn_type = 0  #        moves log-probabilities by up to 0.02 nats with the rows of a batch
        context = llama_cpp.llama_init_from_model(self.model, params)
        assert context
        try:
            yield context
        finally:
            llama_cpp.llama_free(context)

    def _decode(self, context: Any, tokens: Sequence[int]) -> None:
        assert 0 < len(tokens) <= N_CTX
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        first = llama_cpp.llama_memory_seq_pos_max(llama_cpp.llama_get_memory(context), 0) + 1
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, first + i, 1, True
            batch.seq_id[i][0] = 0
        code = llama_cpp.llama_decode(context, batch)
        llama_cpp.llama_batch_free(batch)
        assert code == 0, code

    def _row(self, context: Any, i: int) -> npt.NDArray[np.float64]:
        pointer = llama_cpp.llama_get_logits_ith(context, i)
        logits = np.ctypeslib.as_array(pointer, (self.n_vocab,)).astype(np.float64)
        logits -= logits.max()
        return logits - np.log(np.exp(logits).sum())  # type: ignore[no-any-return]


@functools.cache
def oracle(path: Path) -> Oracle:
    """The oracle of a file, loaded once a process."""
    return Oracle(path)


def naive_logprobs(path: Path, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
    """Log-softmax after each token, shape (n_tokens, n_vocab), from one decode in a fresh context."""
    return oracle(path).logprobs(tokens)
