"""The header reader and validator, on files that the `gguf` package writes and on damaged ones."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf_files import TENSORS, TOKENS, write
from hypothesis import given
from hypothesis import strategies as st

from localprompt.engine.gguf import FILE_TYPES, GGML_TYPES, REQUANTISED_KEY
from localprompt.engine.gguf_reader import read_header
from localprompt.engine.gguf_validator import validate
from localprompt.errors import ModelError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.gguf"


def _call(writer: gguf.GGUFWriter, **values: object) -> None:
    for name, value in values.items():
        getattr(writer, f"add_{name}")(value)


def test_a_good_file_is_read_and_valid(path: Path) -> None:
    write(path, more=lambda writer: _call(writer, file_type=15, chat_template="{{ messages }}"))

    header = validate(path)

    assert (header.architecture, header.version, header.alignment) == ("llama", 3, 32)
    assert (header.context_length, header.block_count, header.embedding_length) == (128, 1, 32)
    assert (header.n_vocab, [header.tokens[n] for n in range(len(header.tokens))]) == (len(TOKENS), list(TOKENS))
    assert (header.file_type, header.chat_template) == ("Q4_K_M", "{{ messages }}")
    assert header.parameters == 512
    assert [(s.name, s.n_tensors, s.n_bytes) for s in header.quantisation] == [("F32", 1, 1024), ("F16", 1, 512)]
    assert header.file_size == path.stat().st_size


def test_every_value_type_is_read(path: Path) -> None:
    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_uint8("x.u8", 200)
        writer.add_int8("x.i8", -5)
        writer.add_uint16("x.u16", 60000)
        writer.add_int16("x.i16", -300)
        writer.add_uint64("x.u64", 1 << 60)
        writer.add_int64("x.i64", -(1 << 60))
        writer.add_float32("x.f32", 0.5)
        writer.add_float64("x.f64", 0.1)
        writer.add_bool("x.bool", True)
        writer.add_string("x.str", "naïve")
        writer.add_array("x.flags", [True, False])
        writer.add_array("x.numbers", [1, 2, 3])

    metadata = read_header(write(path, more=more)).metadata

    scalars = [metadata[f"x.{kind}"] for kind in ("u8", "i8", "u16", "i16", "u64", "i64", "f32", "f64", "bool", "str")]
    assert scalars == [200, -5, 60000, -300, 1 << 60, -(1 << 60), 0.5, 0.1, True, "naïve"]
    assert np.array_equal(metadata["x.flags"], [True, False])  # type: ignore[arg-type]
    assert np.array_equal(metadata["x.numbers"], [1, 2, 3])  # type: ignore[arg-type]


def test_the_tables_of_types_agree_with_the_gguf_package() -> None:
    for kind, (elements, size) in gguf.constants.GGML_QUANT_SIZES.items():
        assert GGML_TYPES[int(kind)] == (kind.name, elements, size)
    names = {int(kind): kind.name.replace("MOSTLY_", "").replace("ALL_", "") for kind in gguf.LlamaFileType}
    assert {number: names[number] for number in FILE_TYPES} == FILE_TYPES


@pytest.mark.parametrize(
    ("levels", "known"), [("Q8_0-Q4_K_M", True), ("MXFP4", True), ("MXFP4-Q4_K_M", True), ("Q4_K", True), ("Q9", False)]
)
def test_a_file_says_what_it_was_made_from_where_the_mix_has_no_name_too(path: Path, levels: str, known: bool) -> None:
    write(path, more=lambda writer: writer.add_string(REQUANTISED_KEY, levels))
    assert validate(path).requantised_from == (levels if known else "")


@pytest.mark.parametrize(
    ("model", "pre", "said", "expected"),
    [
        ("llama", None, None, True),
        ("llama", None, False, False),
        ("gpt2", "qwen2", None, False),
        ("gpt2", "qwen2", True, True),
        ("gpt2", "llama-bpe", None, True),
        ("gpt2", "llama-bpe", False, False),
        ("bert", None, None, True),
        ("t5", None, None, False),
    ],
)
def test_a_bos_is_added_as_llama_cpp_would(
    path: Path, model: str, pre: str | None, said: bool | None, expected: bool
) -> None:
    assert read_header(write(path, model=model, pre=pre, add_bos=said)).add_bos is expected


def test_the_bos_comes_from_its_key_else_from_the_tokenizers_default(path: Path) -> None:
    assert read_header(write(path)).bos_id == 1
    assert read_header(write(path, more=lambda writer: _call(writer, bos_token_id=3))).bos_id == 3
    assert read_header(write(path, more=lambda writer: _call(writer, bos_token_id=999))).bos_id == 1
    assert read_header(write(path, model="gpt2")).bos_id is None, "its default, 11, is beyond this vocabulary"


def test_a_token_is_found_by_its_text_only_where_a_token_begins(path: Path) -> None:
    decoy = struct.pack("<Q", 5).decode() + "<PRE>"  # looks like a token in the middle of another
    tokens = read_header(write(path, tokens=(decoy, "a", "<PRE>"))).tokens
    assert (tokens.index("<PRE>"), tokens.index("a"), tokens.index("b")) == (2, 1, None)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"without": ["general.architecture"]}, r"general\.architecture is missing"),
        ({"without": ["llama.context_length"]}, r"llama\.context_length' is missing"),
        ({"without": ["llama.block_count"]}, r"llama\.block_count' is missing"),
        ({"without": ["tokenizer.ggml.tokens"]}, "it has no vocabulary"),
        ({"tokens": ("a", "b", "a")}, "the tokens 0 and 2 are both 'a'"),
        ({"model": "gpt2", "add_bos": True}, "wants a BOS token"),
        ({"more": lambda w: w.add_chat_template("x" * 300_000)}, "chat template"),
        ({"tensors": {}}, "no tensors"),
        ({"more": lambda w: w.add_uint64("general.alignment", 32)}, "alignment is not of the type uint32"),
    ],
)
def test_what_would_make_the_model_unusable_is_named(path: Path, options: dict[str, Any], complaint: str) -> None:
    write(path, **options)
    with pytest.raises(ModelError, match=complaint) as error:
        validate(path)
    assert str(path) in error.value.message


def test_several_empty_tokens_are_no_duplicates(path: Path) -> None:
    assert validate(write(path, tokens=(*TOKENS, "", ""))).n_vocab == len(TOKENS) + 2


def test_scores_of_another_length_than_the_tokens_are_refused(path: Path) -> None:
    def more(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0]["tokenizer.ggml.scores"].value.pop()

    with pytest.raises(ModelError, match="scores has 7 entries for 8 tokens"):
        validate(write(path, more=more))


def test_a_truncated_file_is_named_as_such(path: Path) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="beyond the end: it is truncated"):
        validate(path)


def damaged(path: Path, old: bytes, new: bytes) -> Path:
    data = write(path).read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    return path


def tensor_record(n_dims: int, dims: Sequence[int], kind: int, offset: int) -> bytes:
    return struct.pack(f"<I{len(dims)}QIQ", n_dims, *dims, kind, offset)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (tensor_record(2, (32, 8), 99, 0), "unknown type 99"),
        (tensor_record(2, (32, 8), 4, 0), "unknown type 4"),
        (tensor_record(2, (32, 8), 12, 0), "not whole blocks of Q4_K"),
        (tensor_record(2, (32, 0), 0, 0), "has 0 elements"),
        (tensor_record(2, (1 << 40, 1 << 40), 0, 0), "elements"),
        (tensor_record(2, (32, 8), 0, 7), "not aligned to 32 bytes"),
        (tensor_record(2, (32, 8), 0, 1 << 62), "beyond the end"),
        (tensor_record(9, (32, 8), 0, 0), "has 9 dimensions"),
    ],
)
def test_a_hostile_tensor_is_named(path: Path, record: bytes, complaint: str) -> None:
    name = b"token_embd.weight"
    damaged(path, name + tensor_record(2, (32, 8), 0, 0), name + record)
    with pytest.raises(ModelError, match=complaint):
        validate(path)


def test_a_norm_of_another_type_than_f32_is_named(path: Path) -> None:
    """llama.cpp loads it and aborts in its first batch."""
    write(path, tensors={"blk.0.attn_norm.weight": np.ones(32, np.float16)})
    with pytest.raises(ModelError, match=r"'blk\.0\.attn_norm\.weight' has the type F16"):
        validate(path)


def test_tensors_that_lie_on_one_another_are_named(path: Path) -> None:
    name = b"output.weight"
    damaged(path, name + tensor_record(2, (32, 8), 1, 1024), name + tensor_record(2, (32, 8), 1, 992))
    with pytest.raises(ModelError, match=r"'token_embd\.weight' and 'output\.weight' lie on one another"):
        validate(path)


def test_a_vocabulary_beyond_all_bounds_is_refused_before_it_is_compared(path: Path) -> None:
    array = struct.pack("<IIQ", 9, 8, 1_000_001) + bytes(8_000_008)
    keys = [key(b"general.architecture", struct.pack("<IQ", 8, 1), b"x")]
    keys += [
        key(name, struct.pack("<II", 4, 1)) for name in (b"x.context_length", b"x.block_count", b"x.embedding_length")
    ]
    keys += [key(b"tokenizer.ggml.model", struct.pack("<IQ", 8, 1), b"y"), key(b"tokenizer.ggml.tokens", array)]
    path.write_bytes(header_bytes(n_keys=len(keys), rest=b"".join(keys)))
    with pytest.raises(ModelError, match="claims 1000001 tokens"):
        validate(path)


def test_a_tensor_that_occurs_twice_is_named(path: Path) -> None:
    tensors = {"blk.0.a": TENSORS["token_embd.weight"], "blk.0.b": TENSORS["token_embd.weight"]}
    write(path, tensors=tensors)
    path.write_bytes(path.read_bytes().replace(b"blk.0.b", b"blk.0.a"))
    with pytest.raises(ModelError, match=r"'blk\.0\.a' occurs twice"):
        validate(path)


def test_a_key_that_occurs_twice_is_named(path: Path) -> None:
    write(path, more=lambda writer: writer.add_uint32("llama.block_xount", 1))
    path.write_bytes(path.read_bytes().replace(b"block_xount", b"block_count"))
    with pytest.raises(ModelError, match=r"'llama\.block_count' occurs twice"):
        validate(path)


@pytest.mark.parametrize("alignment", [0, 3, 48])
def test_an_alignment_that_is_no_power_of_two_is_refused(path: Path, alignment: int) -> None:
    write(path, more=lambda writer: writer.add_uint32("general.alignment", alignment))
    with pytest.raises(ModelError, match="alignment"):
        validate(path)


def header_bytes(version: int = 3, n_tensors: int = 0, n_keys: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys) + rest


def key(name: bytes, *value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + b"".join(value)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "begins with b''"),
        (b"PK\x03\x04 a zip file", "not with b'GGUF'"),
        (header_bytes(version=1), "its version is 1"),
        (header_bytes(version=3 << 24), "its version is"),
        (header_bytes(n_tensors=1 << 60), "it claims"),
        (header_bytes(n_keys=1 << 60), "it claims"),
        (header_bytes(n_keys=1), "ends inside its header"),
        (header_bytes(n_keys=1, rest=key(b"", struct.pack("<IB", 0, 0))), "a key is empty"),
        (header_bytes(n_keys=1, rest=key(b"k", struct.pack("<I", 77))), "unknown value type 77"),
        (header_bytes(n_keys=1, rest=key(b"k", struct.pack("<IIQ", 9, 9, 1))), "unsupported type 9"),
        (header_bytes(n_keys=1, rest=key(b"k", struct.pack("<IQ", 8, 1 << 63))), "beyond 64 MiB"),
        (header_bytes(n_keys=1, rest=key(b"k", struct.pack("<IIQ", 9, 10, 1 << 61))), "beyond 64 MiB"),
        (header_bytes(n_keys=1, rest=key(b"k", struct.pack("<IIQ", 9, 8, 1 << 61))), "strings"),
    ],
)
def test_a_header_that_is_none_is_refused(path: Path, data: bytes, complaint: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ModelError, match=complaint):
        read_header(path)


@pytest.mark.parametrize(
    ("name", "data", "hint"),
    [
        ("m.gguf", b"", "has not arrived as a whole"),
        ("m.gguf", header_bytes(n_keys=1), "has not arrived as a whole"),
        ("m.gguf.part", header_bytes(n_keys=1), "by its name the download has not ended"),
        ("5f0d.incomplete", header_bytes(n_keys=1), "by its name the download has not ended"),
        ("m.gguf.part2of2", b"\x00\x01\x02\x03", "put all pieces together with `cat`"),
        ("m.gguf-split-a", header_bytes(n_keys=1), "put all pieces together with `cat`"),
        ("m.gguf", b"PK\x03\x04 a zip file", "PyTorch checkpoint"),
        ("m.gguf", b'\x10\0\0\0\0\0\0\0{"a": {}}', "safetensors"),
        ("m.gguf", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("m.gguf", b"\n<!DOCTYPE html>", "a web page"),
        ("m.gguf", b"tjgg\x03\0\0\0", "before GGUF"),
        ("m.gguf", b"other", "give the path of a GGUF file"),
    ],
)
def test_what_to_do_about_a_file_that_is_none_depends_on_what_it_is(
    tmp_path: Path, name: str, data: bytes, hint: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError) as error:
        read_header(tmp_path / name)
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("adapter", "an adapter, such as a LoRA,"),
        ("imatrix", "an importance matrix"),
        ("mmproj", "a projector of pictures or sound"),
        ("poem", "something else"),
    ],
)
def test_a_file_that_belongs_to_a_model_is_none(path: Path, kind: str, what: str) -> None:
    write(path, more=lambda writer: writer.add_type(kind))
    with pytest.raises(ModelError) as raised:
        validate(path)
    assert raised.value.message == f"{path} is {what} (of the type {kind}), not a model"


def test_a_projector_of_old_is_known_by_its_architecture(path: Path) -> None:
    write(path, architecture="clip")
    with pytest.raises(ModelError, match=r"is a projector of pictures or sound \(of the type mmproj\), not a model$"):
        validate(path)


ENCODERS = """
    bert modern-bert nomic-bert nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert gemma-embedding llama-embed
    t5encoder
"""


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("t5", "an encoder-decoder model"),
        *((name, "an encoder") for name in ENCODERS.split()),
        *((name, "a diffusion model") for name in ("dream", "llada", "llada-moe", "rnd1")),
        *((name, "a draft model, which guesses for another one") for name in ("dflash", "eagle3", "gemma4-assistant")),
        ("wavtokenizer-dec", "a decoder of sound"),
        ("gptoss", "a model in a form that only Ollama reads"),
    ],
)
def test_a_model_that_does_not_write_from_left_to_right_is_refused_by_its_header(
    path: Path, architecture: str, kind: str
) -> None:
    write(path, architecture=architecture)
    with pytest.raises(ModelError) as raised:
        validate(path)
    assert raised.value.message == (
        f"{path} is {kind} ({architecture}); a model that writes from left to right is needed"
    )
    assert raised.value.hint == "`localprompt models list` names some"


def test_attention_that_is_not_causal_makes_an_encoder_of_any_architecture(path: Path) -> None:
    write(path, more=lambda writer: writer.add_causal_attention(True))
    assert validate(path).architecture == "llama"
    write(path, more=lambda writer: writer.add_causal_attention(False))
    with pytest.raises(ModelError, match=r"is an encoder \(llama\); a model that writes from left to right is needed"):
        validate(path)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for path in (tmp_path / "none.gguf", tmp_path, tmp_path / "pipe.gguf"):
        with pytest.raises(ModelError, match=str(path)):
            read_header(path)


def test_a_large_vocabulary_is_read_and_checked_within_a_second(path: Path) -> None:
    write(path, tokens=[f"token {number}" for number in range(152_000)])
    started = time.process_time()  # of this process: others may be busy
    assert validate(path).n_vocab == 152_000
    assert time.process_time() - started < 5


def test_the_most_strings_a_header_may_hold_take_seconds_at_most(path: Path) -> None:
    array = struct.pack("<IIQ", 9, 8, 2_000_000) + bytes(16_000_000)
    path.write_bytes(header_bytes(n_keys=1, rest=key(b"tokenizer.ggml.tokens", array)))
    started = time.process_time()  # of this process: others may be busy
    assert read_header(path).tokens.first_duplicate() is None
    assert time.process_time() - started < 15


TEXT = struct.pack("<I", 8)
"""Type number of a string value."""


@pytest.mark.parametrize(
    ("size", "values"),
    [
        (60 << 20, [TEXT + struct.pack("<Q", 60 << 20)]),
        (60 << 20, [TEXT + struct.pack("<Q", 2 << 20) + b"\xf0\x9f\xa6\x99" + bytes((2 << 20) - 4)] * 30),
        (60 << 20, [struct.pack("<IIQ", 9, 0, 60 << 20)]),
        (62 << 20, [struct.pack("<IIQ", 9, 8, 1_900_000)]),
    ],
    ids=["one long text", "many long texts", "one long array", "an array of many texts"],
)
def test_no_header_takes_more_than_its_share_of_memory(path: Path, size: int, values: list[bytes]) -> None:
    """A file of noise behind plausible beginnings: noise as text is twice as long in memory, one llama four times."""
    keys = [key(f"key.{i}".encode(), value) for i, value in enumerate(values)]
    head = header_bytes(n_keys=len(keys), rest=b"".join(keys))
    path.write_bytes(head + b"\xff" * (4 << 20) + bytes(max(0, size - len(head))))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError):
            validate(path)
        assert tracemalloc.get_traced_memory()[1] < 165 << 20
    finally:
        tracemalloc.stop()


def test_of_a_very_long_text_the_beginning_is_kept(path: Path) -> None:
    header = validate(write(path, more=lambda w: w.add_string("tokenizer.huggingface.json", "é" * 2_000_000)))
    assert header.text("tokenizer.huggingface.json") == "é" * (1 << 20)
    assert header.n_vocab == len(TOKENS)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "good.gguf"
    return write(path, more=lambda writer: writer.add_chat_template("{{ x }}")).read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / "damaged.gguf"


def use_everything(path: Path) -> None:
    header = read_header(path)
    assert header.quantisation is not None
    for name in ("size_label", "file_type", "chat_template", "bos_id", "add_bos", "name"):
        getattr(header, name)
    validate(path)


@given(data=st.data())
def test_whatever_is_cut_off_or_flipped_only_a_model_error_is_raised(
    good: bytes, scratch: Path, data: st.DataObject
) -> None:
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for at in data.draw(st.lists(st.integers(0, len(good) - 8), max_size=2)):
        damaged[at : at + 8] = struct.pack("<Q", data.draw(st.integers(0, 2**64 - 1)))
    scratch.write_bytes(damaged[: data.draw(st.integers(0, len(good)))] if data.draw(st.booleans()) else damaged)
    try:
        use_everything(scratch)
    except ModelError as error:
        assert "\n" not in error.message  # noqa: PT017 - not every damage is one
