"""Model files whose chat template or vocabulary is not what it should be: what is asked of them, and what is said."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import tiny
import toy
from click.testing import CliRunner
from tiny import CHATML

from localprompt.cli.main import main
from localprompt.engine.gguf_reader import read_header
from localprompt.errors import ConfigError, ModelError
from localprompt.lm.local import LocalModel, load_model
from localprompt.run import api as runs
from localprompt.search.observer import SilentObserver
from localprompt.store import Store
from localprompt.types import Message, Sampling

NORMAL = gguf.TokenType.NORMAL
PARTS = CHATML.replace("{{ message['content'] }}", "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}")
REFUSING = "{{ raise_exception('tools are required') }}"
QUESTION = Message("user", "the answer is")


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model with a template and types of tokens."""

    def write(template: str = CHATML, **types: int) -> Path:
        path = tmp_path / "foreign.gguf"
        tiny.write_qwen(path, template=template, types={f"<|{mark}|>": kind for mark, kind in types.items()})
        return path

    return write


def loaded(path: Path) -> LocalModel:
    return load_model(path, tune=False, n_ctx=512, n_threads=1)


def test_contents_as_parts_make_the_same_chat(written: Callable[..., Path], tiny_qwen: Path) -> None:
    with loaded(written(PARTS)) as lm, loaded(tiny_qwen) as plain:
        assert lm.chat([QUESTION], "It") == plain.chat([QUESTION], "It")
        assert lm.has_chat
        assert lm.doubts == ()


def test_a_reasoning_model_is_asked_without_thoughts_and_its_answers_are_kept_apart(
    written: Callable[..., Path], tiny_qwen: Path
) -> None:
    opened = "{% if reasoning_effort != 'none' %}<think>{% endif %}"
    final = "{% if message['role'] == 'assistant' %}<|endoftext|>{% endif %}{{ message['content'] }}"
    with loaded(written(CHATML.replace("{{ message['content'] }}", final) + opened)) as lm, loaded(tiny_qwen) as plain:
        thinking = "reasoning_effort='none', an answer begins behind '<|endoftext|>'"
        assert lm.facts.identity["thinking"] == lm.thinking == thinking
        assert lm.facts.fingerprint != plain.facts.fingerprint
        assert lm.chat([QUESTION], "It") == plain.chat([QUESTION]) + "<|endoftext|>It"
        end, _ = lm.special_tokens["bos"]
        assert lm.tokenize([lm.chat([QUESTION])])[0] == [*plain.tokenize([plain.chat([QUESTION])])[0], end]
        info = CliRunner().invoke(main, ["models", "info", str(lm.path)], env={"COLUMNS": "200"}).output
        assert f"off in chats: {thinking}" in info
        assert plain.thinking == ""
        assert "thinking" not in plain.facts.identity


@pytest.mark.parametrize("template", [REFUSING, "chatml", "{% nonsense %}"])
def test_a_template_that_cannot_be_used_is_told_to_whom_it_concerns(
    template: str, written: Callable[..., Path]
) -> None:
    with loaded(written(template)) as lm:
        assert not lm.has_chat
        with pytest.raises(ModelError, match="the model's chat template"):
            lm.chat([QUESTION])
        (doubt,) = lm.doubts
        assert doubt.endswith("so prompts are asked of this model in plain text, not in a chat")
        with lm.vocabulary() as words:
            assert (words.doubts, words.has_chat) == (lm.doubts, False)


@pytest.mark.parametrize("method", ["ape", "protegi", "opro", "pe2", "random"])
def test_a_raw_task_needs_no_template_whatever_the_method(method: str, written: Callable[..., Path]) -> None:
    task = toy.task(train=4, dev=4, test=4)
    with loaded(written(REFUSING)) as lm:
        assert runs.dry_run(task, lm, method=method, max_calls=60).proposals > 0
        if method in ("ape", "protegi", "opro"):
            with pytest.raises(ConfigError, match=r"style=chat needs .* chat template that can be used"):
                runs.dry_run(task, lm, method=method, settings={"style": "chat"}, max_calls=60)


def test_marks_of_normal_type_are_named(written: Callable[..., Path]) -> None:
    with loaded(written(im_start=NORMAL, im_end=NORMAL)) as lm:
        (doubt,) = lm.doubts
        assert "<|im_start|>, <|im_end|>, in the vocabulary but not typed as control tokens" in doubt
        assert "<|im_start|> into " in doubt
    with loaded(written(im_start=gguf.TokenType.USER_DEFINED)) as lm:
        assert lm.doubts == ()


def test_a_text_of_which_a_vocabulary_would_drop_characters_is_refused(tiny_qwen: Path, tmp_path: Path) -> None:
    """llama.cpp leaves out a byte that a byte-level vocabulary has no token for."""
    path = tmp_path / "bytes.gguf"
    letter, other = tiny.gpt2_letters()[0xC3], "ζ"
    size = struct.pack("<Q", 2)
    path.write_bytes(tiny_qwen.read_bytes().replace(size + letter.encode(), size + other.encode()))
    with loaded(path) as lm:
        assert lm.tokenize(["the answer\n\t is  ☕", "\ud800", ""])
        chat = lm.chat([Message("user", "café")])
        calls: list[Callable[[], object]] = [
            lambda: lm.count_tokens(["a café"]),
            lambda: lm.tokenize([chat]),
            lambda: lm.loglikelihood([("the answer is", " né")]),
            lambda: lm.generate(["é"], Sampling(max_tokens=1), [0]),
        ]
        for call in calls:
            with pytest.raises(ModelError, match="the model's vocabulary has no tokens for 'é' of the text"):
                call()


def test_an_end_of_turn_that_ends_nothing_is_named(written: Callable[..., Path]) -> None:
    with loaded(written(CHATML.replace("<|im_end|>", "<|fim_middle|>"))) as lm:
        (doubt,) = lm.doubts
        assert "ends an answer with '<|fim_middle|>'" in doubt


def test_a_mark_that_a_template_writes_twice_at_the_beginning_is_named(written: Callable[..., Path]) -> None:
    with loaded(written("{{ bos_token }}{{ bos_token }}" + CHATML)) as lm:
        assert lm.doubts == ("a chat begins with <|endoftext|> twice: the template writes it two times",)


def test_who_checks_a_task_asks_about_a_model_or_begins_a_run_is_told(
    written: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = written(im_start=NORMAL)
    told = "not typed as control tokens"
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"input": "the {n}", "target": "is"}}\n' for n in range(5)))
    (tmp_path / "task.yaml").write_text("data: {file: rows.jsonl}\nlayout: chat\n")
    for command in (
        ["tasks", "check", str(tmp_path / "task.yaml"), "--model", str(path)],
        ["models", "info", str(path)],
    ):
        shown = CliRunner().invoke(main, command)
        assert shown.exit_code == 0, shown.output
        assert "warning" in shown.output
        assert told in shown.output
    noted: list[str] = []
    observer = SilentObserver()
    monkeypatch.setattr(observer, "note", noted.append)
    with loaded(path) as lm:
        runs.evaluate(toy.task(train=1, dev=1, test=1), lm, "", use_cache=False, observer=observer)
    assert [note for note in noted if told in note and note.startswith("foreign: ")] != []


def test_a_chat_task_with_a_template_that_loses_text_ends_before_anything_is_spent(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    task = toy.task(train=4, dev=4, test=4)
    chat = replace(task, layout=replace(task.layout, mode="chat"))
    with loaded(written("chatml")) as lm:
        for call in (lambda: runs.optimize(chat, lm), lambda: runs.evaluate(chat, lm, "Answer.")):
            with pytest.raises(ModelError, match=r"'chatml'\) is a name") as error:
                call()
            assert "`mode: raw`" in error.value.hint
        assert lm.stats.decode_calls == 0
    with Store(tmp_path / "store.sqlite") as store:
        assert store.runs.all() == []


def test_a_model_whose_weights_are_no_numbers_is_not_loaded(written: Callable[..., Path]) -> None:
    path = written()
    header = read_header(path)
    (norm,) = (tensor for tensor in header.tensors if tensor.name == "output_norm.weight")
    with path.open("r+b") as file:
        file.seek(header.data_offset + norm.offset)
        file.write(struct.pack("<f", float("nan")))
    with pytest.raises(ModelError, match="computes what is no number"):
        loaded(path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are Unicode")
def test_a_file_may_have_any_name_that_the_system_allows(written: Callable[..., Path], tmp_path: Path) -> None:
    path = written().rename(tmp_path / os.fsdecode(b"m\xff.gguf"))
    with load_model(path, tune=False, n_ctx=512) as lm:
        assert lm.tokenize(["the answer"])[0]
