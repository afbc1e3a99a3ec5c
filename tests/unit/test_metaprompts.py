"""Meta-prompts as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from localprompt.errors import ConfigError
from localprompt.optimizers import configure
from localprompt.proposals.metaprompts import MetaPrompt, in_a_row, inputs_of, load, shipped_hash, shortened, worked
from localprompt.types import Example

WANTED = {"induce_pair": ("inputs", "output"), "induce_chat": ("demos",)}


def _load(folder: Path, **texts: str) -> dict[str, MetaPrompt]:
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return load("random", WANTED, folder)


def test_a_file_of_the_user_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    loaded = _load(tmp_path, induce_pair="{{inputs}} -> {{output}}\n")
    assert loaded["induce_pair"].text == "{{inputs}} -> {{output}}"
    assert loaded["induce_chat"] == load("random", WANTED, None)["induce_chat"]


def test_a_template_for_a_chat_ends_in_the_opening_of_the_answer(tmp_path: Path) -> None:
    user, opening = _load(tmp_path, induce_chat="Look:\n\n{{demos}}\n\n<rule>\n")["induce_chat"].turns
    assert (user.fill(demos="{{output}}"), opening) == ("Look:\n\n{{output}}", "<rule>")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("demos", "x", "is no meta-prompt of this method"),
        ("induce_pair", "", "lacks the slot {{inputs}}"),
        ("induce_pair", "\n", "lacks the slot {{inputs}}"),
        ("induce_pair", "{{inputs}}", "lacks the slot {{output}}"),
        ("induce_pair", "{{inputs}} {{output}} {{output}}", "more than once"),
        ("induce_pair", "{{inputs}} {{output}} {{score}}", "unknown slot {{score}}"),
        ("induce_chat", "{{demos}}", "has no blank line"),
        ("induce_chat", "Look:\n\n{{demos}}", "has a slot in its last paragraph"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}\.txt.*{message}"):
        _load(tmp_path, **{name: text})


def test_a_folder_that_is_missing_or_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load("random", WANTED, tmp_path / "nowhere")
    (tmp_path / "induce_pair.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load("random", WANTED, tmp_path)


def test_a_file_of_the_user_is_known_by_its_former_name_too(tmp_path: Path) -> None:
    loaded = _load(tmp_path, demo="{{inputs}} -> {{output}}\n", forward_chat="{{demos}}\n\nIt was to")
    assert loaded["induce_pair"].text == "{{inputs}} -> {{output}}"
    assert loaded["induce_chat"].turns[1] == "It was to"


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        ("ape", "5b0b005fe85e79d4"),
        ("manual", "7f74986d6aa15e0c"),
        ("opro", "e433b45193097e34"),
        ("pe2", "52e6b7d2bf1e9f15"),
        ("protegi", "fd8bdb527b548db1"),
        ("random", "47ca6c0bb61c457a"),
    ],
)
def test_texts_that_have_moved_since_have_the_hash_that_kept_runs_have(method: str, kept: str) -> None:
    configure(method, {})  # registers it
    assert shipped_hash(method) == kept


def test_the_fixed_text_has_neither_slots_nor_what_would_join_over_them() -> None:
    assert MetaPrompt("demo", "one {{inputs}} two").fixed == "one \n two"


def test_a_long_text_loses_its_middle() -> None:
    assert shortened(" one  two\tthree\n", 20) == "one two three"
    assert shortened("a" * 30 + "b" * 30, 15) == "aaaaa ... bbbbb"


CODE = "def f(x):\n    if x:\n        return 38\n\n    return 0"


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        (CODE, 99, CODE),
        (f"\n  \n{CODE}  \n\n", 99, CODE),
        ("  a | b\n  1 | 2", 99, "  a | b\n  1 | 2"),
        ("one\r\n  two\rthree", 99, "one\n  two\nthree"),
        (CODE, 40, "def f(x):\n...\n    return 0"),
        ("Which?\n" + "\n".join(f"{letter}) {letter * 9}" for letter in "ABCDEF"), 41, "Which?\n...\nF) FFFFFFFFF"),
        (f"{'q' * 99}\nA) yes\nB) no", 37, f"{'q' * 16} ... qqq\nA) yes\nB) no"),
        (f"A) yes\nB) no\n{'q' * 99}", 37, f"A) yes\nB) no\nqqq ... {'q' * 16}"),
        (f"{'p' * 99}\n{'q' * 99}", 25, f"{'p' * 10} ... {'q' * 10}"),
    ],
)
def test_several_lines_keep_their_breaks_and_lose_whole_lines_of_their_middle(
    text: str, limit: int, shown: str
) -> None:
    assert shortened(text, limit) == shown
    assert len(shown) <= limit


@pytest.mark.parametrize("limit", range(20, 60))
@pytest.mark.parametrize("text", [CODE, "a\nb" * 40, "\n".join("word" * n for n in range(1, 20)), "x" * 200])
def test_a_shortened_text_keeps_to_its_limit_and_both_ends(text: str, limit: int) -> None:
    shown = shortened(text, limit)
    assert len(shown) <= limit
    assert shown == text or (text.startswith(shown.partition("...")[0].rstrip()) and "..." in shown)
    assert text.rstrip().endswith(shown.rpartition("...")[2].strip())


def test_several_lines_are_set_off_so_that_one_sees_where_they_end() -> None:
    template = MetaPrompt("demo", "{{inputs}}\nOutput:  {{ output }}")
    example = Example("train:0", {"input": f"{CODE}\n\nOutput: 7"}, ("a\n```\nb",))
    assert worked(template, example, example.targets[0], 99) == (
        f"Input:\n```\n{CODE}\n\nOutput: 7\n```\nOutput:\n````\na\n```\nb\n````"
    )
    two = Example("train:1", {"code": CODE, "question": "What of 1?"}, ("38",))
    assert inputs_of(two, 99) == f"Code:\n```\n{CODE}\n```\nQuestion: What of 1?"


def test_blanks_before_a_slot_stay_where_its_value_has_one_line() -> None:
    template = MetaPrompt("demo", "{{inputs}} -> {{output}}")
    assert template.fill(inputs="x ", output=" y") == "x  ->  y"
    assert template.fill(inputs="x  {{output}}", output="\ny") == "x  {{output}} ->\ny"


def test_outputs_of_several_lines_are_listed_without_breaking_the_sentence() -> None:
    assert in_a_row(["no", 'a "b"\nc', "yes"]) == 'no, "a \\"b\\"\\nc", yes'


def test_an_example_is_shown_with_its_inputs_by_name_where_there_are_several() -> None:
    template = MetaPrompt("demo", "{{inputs}}\nOutput: {{output}}")
    one = Example("train:0", {"input": "hot"}, ("cold",))
    two = Example("train:1", {"first_word": "hot", "second": "{{output}}"}, ("no",))
    assert worked(template, one, "cold", 99) == "Input: hot\nOutput: cold"
    assert worked(template, two, "no", 99) == "First word: hot\nSecond: {{output}}\nOutput: no"


def test_a_byte_order_mark_is_no_text_and_a_folder_no_file(tmp_path: Path) -> None:
    assert _load(tmp_path, induce_pair="\ufeff{{inputs}} {{output}}")["induce_pair"].text == "{{inputs}} {{output}}"
    (tmp_path / "induce_chat.txt").mkdir()
    with pytest.raises(ConfigError, match=r"induce_chat\.txt cannot be read"):
        load("random", WANTED, tmp_path)
