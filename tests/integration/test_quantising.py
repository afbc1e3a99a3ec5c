"""Tiny models at other levels, by llama.cpp's own quantiser in its own process; what fails leaves no file."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator, Sequence
from pathlib import Path

import gguf
import gguf_files
import llama_cpp
import numpy as np
import psutil
import pytest
import tiny
from filelock import FileLock

from localprompt.engine import child, memory
from localprompt.engine.gguf import FILE_TYPES
from localprompt.engine.gguf_validator import validate
from localprompt.errors import ConfigError, LocalPromptError, ModelError, NotEnoughMemory
from localprompt.hub import quantising
from localprompt.hub.quantising import LEVELS, Quantised, carry_out, plan
from localprompt.lm.local import load_model

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in F32 whose rows are whole blocks of every type."""
    monkeypatch.setattr(tiny, "N_EMBD", 256)
    monkeypatch.setattr(tiny, "N_FF", 512)
    path = tmp_path / "wide-f32.gguf"
    tiny.write_qwen(path)
    return path


def made(source: Path, *levels: str, folder: Path | None = None, force: bool = False) -> list[Quantised]:
    return list(carry_out(plan(source, levels, folder=folder, force=force), n_threads=1))


def names(folder: Path) -> set[str]:
    """What is in a folder, the lock apart."""
    return {path.name for path in folder.iterdir()} - {quantising._LOCK}


def test_the_levels_are_those_of_llama_cpp() -> None:
    constants = {name: number for name, number in vars(llama_cpp).items() if name.startswith("LLAMA_FTYPE_")}
    known = {name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_"): number for name, number in constants.items()}
    numbers = {name: number for number, name in FILE_TYPES.items()}
    assert {level: known[level] for level in LEVELS} == {level: numbers[level] for level in LEVELS}
    assert known.keys() - set(LEVELS) == {"ALL_F32", "GUESSED", "MXFP4_MOE", "NVFP4", "Q1_0", "Q2_0"}


def test_levels_become_files_beside_the_model_that_load_and_answer(source: Path) -> None:
    files = made(source, "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
    assert [file.path.name for file in files] == [
        f"wide.{level}.gguf" for level in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
    ]
    bits = [file.bits_per_weight for file in files]
    assert bits == sorted(bits, reverse=True)
    assert bits[0] == pytest.approx(8.5, abs=0.2)
    assert 2.5 < bits[-1] < 5.5
    for file in files:
        assert (file.requantised_from, file.n_fallback, file.was_there) == ("", 0, False)
        header = validate(file.path)
        assert (header.file_type, header.requantised_from, header.file_size) == (file.level, "", file.size_bytes)
    with (
        load_model(source, n_ctx=512, n_ubatch=256) as full,
        load_model(files[0].path, n_ctx=512, n_ubatch=256) as less,
    ):
        asked = [("the ticket is about", " a refund")]
        scores = [lm.loglikelihood(asked)[0].logprob for lm in (full, less)]
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], abs=0.5)


def test_the_size_that_is_said_before_is_the_size(source: Path) -> None:
    chosen = plan(source, ["Q4_K_M"])
    (file,) = carry_out(chosen)
    assert chosen.targets[0].size_bytes == pytest.approx(file.size_bytes, abs=16_000)


def test_rows_that_the_type_does_not_divide_are_counted(tiny_qwen: Path, tmp_path: Path) -> None:
    (file,) = made(tiny_qwen, "Q2_K", folder=tmp_path)
    assert file.n_fallback > 0
    assert "Q4_0" in {share.name for share in validate(file.path).quantisation}


def test_a_file_made_from_a_quantised_one_says_so_in_its_name_and_within(source: Path) -> None:
    (first,) = made(source, "Q8_0")
    (second,) = made(first.path, "Q4_K_M")
    (third,) = made(second.path, "Q2_K")
    assert second.path.name == "wide.Q4_K_M.from-Q8_0.gguf"
    assert third.path.name == "wide.Q2_K.from-Q8_0-Q4_K_M.gguf"
    assert (second.requantised_from, third.requantised_from) == ("Q8_0", "Q8_0-Q4_K_M")
    assert validate(third.path).requantised_from == "Q8_0-Q4_K_M"


def test_a_file_that_says_f16_and_is_quantised_is_marked_all_the_same(source: Path, tmp_path: Path) -> None:
    (first,) = made(source, "Q8_0")
    data = first.path.read_bytes()
    key = b"general.file_type" + (4).to_bytes(4, "little")
    assert data.count(key + (7).to_bytes(4, "little")) == 1
    liar = tmp_path / "liar.gguf"
    liar.write_bytes(data.replace(key + (7).to_bytes(4, "little"), key + (1).to_bytes(4, "little")))
    assert plan(liar, ["Q2_K"]).requantised_from == "Q8_0"


def test_a_split_model_becomes_one_file(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "GGUFWriter", functools.partial(gguf.GGUFWriter, split_max_tensors=12))
    tiny.write_qwen(tmp_path / "parted.gguf")
    parts = sorted(tmp_path.glob("parted-*.gguf"))
    assert len(parts) > 1
    (whole,), (file,) = made(source, "Q4_K_M"), made(parts[0], "Q4_K_M")
    assert file.path.name == "parted.Q4_K_M.gguf"
    assert (file.size_bytes, validate(file.path).tensors) == (whole.size_bytes, validate(whole.path).tensors)
    with pytest.raises(ModelError, match="is part 2 of"):
        plan(parts[1], ["Q4_K_M"])


def test_upwards_is_refused(source: Path) -> None:
    (first,) = made(source, "Q4_K_M")
    with pytest.raises(
        ConfigError, match=r"Q6_K, F16 would make wide.Q4_K_M.gguf no smaller: it is quantised \(Q4_K_M"
    ):
        plan(first.path, ["Q8_0", "Q6_K", "F16", "Q2_K"])
    with pytest.raises(ConfigError, match=r"Q4_K_M would make wide.Q4_K_M.gguf no smaller"):
        plan(first.path, ["Q4_K_M"])


def test_upwards_to_eight_bits_is_for_speed(source: Path) -> None:
    (first,) = made(source, "Q4_K_M")
    (second,) = made(first.path, "Q8_0")
    assert (second.path.name, second.requantised_from) == ("wide.Q8_0.from-Q4_K_M.gguf", "Q4_K_M")
    assert second.size_bytes > first.size_bytes
    with pytest.raises(ConfigError, match=r"Q8_0 would make wide.Q8_0.from-Q4_K_M.gguf no smaller"):
        plan(second.path, ["Q8_0"])


def test_a_file_that_is_there_stays_unless_forced(source: Path) -> None:
    (first,) = made(source, "Q4_K_M")
    before = first.path.stat().st_mtime_ns
    (again,) = made(source, "Q4_K_M")
    assert (again.was_there, again.seconds) == (True, 0)
    assert first.path.stat().st_mtime_ns == before
    (anew,) = made(source, "Q4_K_M", force=True)
    assert not anew.was_there
    assert first.path.stat().st_mtime_ns != before


def test_a_file_of_that_name_that_is_another_one_is_not_taken_for_it(source: Path, tiny_llama: Path) -> None:
    target = source.with_name("wide.Q8_0.gguf")
    for content in (b"text", tiny_llama.read_bytes()):
        target.write_bytes(content)
        with pytest.raises(ModelError, match="is there, and it is not this model at Q8_0"):
            plan(source, ["Q8_0"])
    (anew,) = made(source, "Q8_0", force=True)
    assert validate(anew.path).file_type == "Q8_0"


def test_the_model_itself_is_never_replaced(source: Path) -> None:
    liar = source.rename(source.with_name("wide.Q8_0.gguf"))
    with pytest.raises(ConfigError, match="is the model itself"):
        plan(liar, ["Q8_0"], force=True)


def test_levels_are_known_by_their_names(source: Path) -> None:
    assert [target.level for target in plan(source, [" q4_k_m", "Q4_K_M"]).targets] == ["Q4_K_M"]
    with pytest.raises(ConfigError, match="unknown level of quantisation 'Q4KM'") as raised:
        plan(source, ["Q4KM"])
    assert "Q4_K_M" in raised.value.hint
    with pytest.raises(ConfigError, match="no level"):
        plan(source, [])


def test_a_level_that_needs_an_importance_matrix_is_refused_before_anything_is_written(source: Path) -> None:
    with pytest.raises(ModelError, match="IQ2_XXS cannot be made without an importance matrix"):
        plan(source, ["Q2_K", "IQ2_XXS"])


def write_imatrix(path: Path, source: Path, *, scale: float = 1.0) -> Path:
    writer = gguf.GGUFWriter(path, "")
    writer.kv_data[0].clear()
    writer.add_type("imatrix")
    rng = np.random.default_rng(3)
    for tensor in validate(source).tensors:
        if len(tensor.dims) == 2:
            writer.add_tensor(
                f"{tensor.name}.in_sum2", np.asarray(rng.random((1, tensor.dims[0])) ** 8 * scale, np.float32)
            )
            writer.add_tensor(f"{tensor.name}.counts", np.full((1, 1), 4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_importance_matrix_changes_the_weights_and_is_named_in_the_file(source: Path, tmp_path: Path) -> None:
    matrix = write_imatrix(tmp_path / "importance.gguf", source)
    (plain,) = made(source, "Q4_K_M")
    (weighted,) = carry_out(plan(source, ["Q4_K_M"], folder=tmp_path / "with", imatrix=matrix))
    assert validate(weighted.path).text("quantize.imatrix.file") == "importance.gguf"
    skip = [validate(file.path).data_offset for file in (plain, weighted)]
    assert plain.path.read_bytes()[skip[0] :] != weighted.path.read_bytes()[skip[1] :]
    (low,) = carry_out(plan(source, ["IQ2_XXS"], imatrix=matrix))
    assert low.bits_per_weight < plain.bits_per_weight


def test_a_file_made_with_another_importance_matrix_or_none_is_not_taken_for_one_made_with_this(
    source: Path, tmp_path: Path
) -> None:
    long = "x" * 140 + ".gguf"  # llama.cpp keeps the beginning of the name
    one, other = (write_imatrix(tmp_path / name, source) for name in ("one.gguf", long))
    (plain,) = made(source, "Q4_K_M")
    with pytest.raises(ModelError, match=r"not this model at Q4_K_M with one\.gguf"):
        plan(source, ["Q4_K_M"], imatrix=one)
    for matrix in (one, other):
        (weighted,) = carry_out(plan(source, ["Q4_K_M"], imatrix=matrix, force=True))
        (kept,) = carry_out(plan(source, ["Q4_K_M"], imatrix=matrix))
        assert (weighted.was_there, kept.was_there) == (False, True)
        with pytest.raises(ModelError, match="at Q4_K_M without an importance matrix"):
            plan(source, ["Q4_K_M"])
    (again,) = made(plain.path, "Q2_K")  # the file there has a matrix now, and copies name it too
    assert validate(again.path).text("quantize.imatrix.file") == long[:127]
    assert made(plain.path, "Q2_K")[0].was_there


def test_a_name_that_becomes_too_long_is_one_sentence(source: Path) -> None:
    long = source.rename(source.with_name("x" * 236 + ".gguf"))
    with pytest.raises(ModelError, match="too long for the name of a file"):
        plan(long, ["Q8_0"])


# What fails


class Interrupted(Exception):  # noqa: N818 - what happened
    """A user's Ctrl-C, which pytest would take for its own."""


def test_a_write_that_fails_in_the_middle_leaves_no_file(source: Path) -> None:
    chosen = plan(source, ["Q8_0"])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # the child inherits it; a file cannot grow beyond
    try:
        with pytest.raises(ModelError, match=r"llama\.cpp cannot quantise") as raised:
            list(carry_out(chosen))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "failed to quantize" in raised.value.hint
    assert names(source.parent) == {source.name}


def test_an_interruption_leaves_no_file_and_no_process(source: Path) -> None:
    def interrupt(level: str, done: int, total: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        list(carry_out(plan(source, ["Q8_0"]), progress=interrupt))
    assert names(source.parent) == {source.name}


def stand_in(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the child write half a file, then do as `code` says."""
    half = "job = read_frame(sys.stdin.buffer); open(job['target'], 'wb').write(b'GGUF' + bytes(1000))"
    head = "import os, signal, sys, time; from localprompt.engine.frames import read_frame, write_frame"
    command = [sys.executable, "-c", f"{head}; {half}; {code}"]
    monkeypatch.setattr(child, "child_command", lambda module: command)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("sys.stderr.write('GGML_ASSERT(x) failed'); sys.stderr.flush(); os.abort()", "signal SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
        ("sys.exit(3)", "exit status 3"),
        ("write_frame(sys.stdout.buffer, {'result': []})", "what llama.cpp wrote is not"),
    ],
)
def test_a_child_that_dies_or_writes_half_a_file_leaves_none(
    source: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    chosen = plan(source, ["Q8_0"])
    stand_in(monkeypatch, code)
    with pytest.raises(ModelError) as raised:
        list(carry_out(chosen))
    assert said in raised.value.message
    assert ("GGML_ASSERT" in raised.value.hint) == ("GGML" in code)
    assert names(source.parent) == {source.name}


def test_another_model_is_not_taken_for_the_result(
    source: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = plan(source, ["Q8_0"])
    stand_in(
        monkeypatch,
        f"open(job['target'], 'wb').write(open({str(tiny_llama)!r}, 'rb').read());"
        "write_frame(sys.stdout.buffer, {'result': []})",
    )
    with pytest.raises(ModelError, match=r"what llama\.cpp wrote is not .*wide-f32.gguf at Q8_0"):
        list(carry_out(chosen))
    assert names(source.parent) == {source.name}


@contextlib.contextmanager
def killed_in_the_middle(source: Path) -> Iterator[int]:
    """A process that quantises is killed while its child, whose id is yielded, has written half a file."""
    code = (
        "import sys, quantise_slowly; from localprompt.hub.quantising import *; "
        f"list(carry_out(plan({str(source)!r}, ['Q8_0'])))"
    )
    slow = (
        "from localprompt.engine import child\nimport sys\nask = child.child_command\n"
        "SLOW = 'import os, sys, time; from localprompt.engine.child import become_child; '"
        "'from localprompt.engine.frames import read_frame; out = become_child(); job = read_frame(sys.stdin.buffer); '"
        '\'open(job["target"], "w").write(str(os.getpid())); time.sleep(600)\'\n'
        "jobs = []\n"
        "def command(module):\n    jobs.append(module)\n"
        "    return ask(module) if len(jobs) == 1 else [sys.executable, '-c', SLOW]\n"
        "child.child_command = command\n"
    )
    (source.parent / "modules").mkdir()
    (source.parent / "modules" / "quantise_slowly.py").write_text(slow)
    paths = os.pathsep.join([str(source.parent / "modules"), *sys.path])
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths})
    part = source.with_name(".wide.Q8_0.gguf.quantising")
    try:
        end = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.02)
        yield int(part.read_text())
    finally:
        process.kill()
        process.wait()


def test_what_a_killed_process_left_is_removed_by_the_next_and_its_child_ends(source: Path) -> None:
    with killed_in_the_middle(source) as child:
        with pytest.raises(ModelError, match="another process quantises into"):
            list(carry_out(plan(source, ["Q6_K"])))
        assert ".wide.Q8_0.gguf.quantising" in names(source.parent)
    assert "wide.Q8_0.gguf" not in names(source.parent)
    assert ".wide.Q8_0.gguf.quantising" in names(source.parent)
    made(source, "Q6_K")
    assert names(source.parent) == {source.name, "wide.Q6_K.gguf", "modules"}
    end = time.monotonic() + 30
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_files_that_are_done_stay_when_a_later_one_fails(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = carry_out(plan(source, ["Q8_0", "Q2_K"]))
    first = next(work)
    stand_in(monkeypatch, "os.abort()")
    with pytest.raises(ModelError, match="SIGABRT"):
        next(work)
    assert names(source.parent) == {source.name, first.path.name}


def test_a_full_disk_is_known_before(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 1_000_000))
    with pytest.raises(ModelError, match=r"the files take 0.00 GB, and .* has 0.00 GB free"):
        plan(source, ["Q8_0"])


def test_a_disk_that_fills_up_meanwhile_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = carry_out(plan(source, ["Q2_K", "Q8_0"]))
    next(work)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 0))
    stand_in(monkeypatch, "os.abort()")
    with pytest.raises(ModelError, match=r"the disk of .* is full"):
        next(work)


def test_too_little_memory_is_known_before(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10_000_000)
    with pytest.raises(NotEnoughMemory, match=r"takes about \d+ MB of memory, 10 MB are free"):
        plan(source, ["Q8_0"])


def test_a_folder_that_cannot_be_written_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot be written"):
        list(carry_out(plan(source, ["Q8_0"], folder=tmp_path / "file" / "below")))


def test_a_folder_in_use_is_named(source: Path) -> None:
    with FileLock(source.parent / quantising._LOCK), pytest.raises(ModelError, match="another process quantises"):
        list(carry_out(plan(source, ["Q8_0"])))


def hostile(tmp_path: Path) -> Sequence[tuple[Path, str]]:
    text, empty = tmp_path / "text.gguf", tmp_path / "empty.gguf"
    text.write_text("no model")
    empty.touch()
    bare = gguf_files.write(tmp_path / "other.gguf")
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(bare.read_bytes().replace(b"llama", b"LLama"))
    return [
        (text, "is not a usable GGUF file"),
        (empty, "is not a usable GGUF file"),
        (tmp_path / "absent.gguf", "there is no file"),
        (tmp_path, "is a folder"),
        (strange, "llama.cpp cannot load"),
        (bare, "llama.cpp cannot quantise"),
    ]


@pytest.mark.parametrize("number", range(6))
def test_what_is_no_model_that_can_be_run_is_one_sentence(tmp_path: Path, number: int) -> None:
    path, said = hostile(tmp_path)[number]
    with pytest.raises(LocalPromptError, match=said) as raised:
        plan(path, ["Q8_0"])
    assert "\n" not in raised.value.message
    if said == "llama.cpp cannot load":
        assert "unknown model architecture: 'LLama'" in raised.value.hint
        assert raised.value.hint.startswith("its header is in order: perhaps it is newer than this llama.cpp")


def test_a_kind_of_model_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "diffusion.gguf", architecture="llada")
    with pytest.raises(ModelError, match="is a diffusion model"):
        plan(path, ["Q8_0"])
