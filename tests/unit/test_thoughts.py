"""What a completion thinks, and what it says."""

from __future__ import annotations

import time

import pytest

from localprompt.engine.thoughts import listen, marks_among
from localprompt.proposals.parsing import without_chatter
from localprompt.tasks.answers import find_answer


@pytest.mark.parametrize(
    "completion",
    [
        *("<think>is it 3?</think>4", "<Think>\nhm\n</Think>\n\n4", "<thinking>3</thinking> 4"),
        "<THINKING>3</THINKING>4",
        *("<thought>3</thought>4", "<thoughts>3</thoughts>4", "<reasoning>\n3\n</reasoning>\n4", "[THINK]3[/THINK]4"),
        *("<reflection>3</reflection>4", "<scratchpad>3</scratchpad>4", '<thinking effort="low">3</thinking>4'),
        *("<seed:think>3</seed:think>4", "<longcat_think>3</longcat_think>4", "◁think▷3◁/think▷4"),
        *("<|think|>3<|end|><|begin|>assistant<|content|>4<|end|>", "<|channel>thought\n3<channel|>4"),
        *("<|START_THINKING|>3<|END_THINKING|><|START_RESPONSE|>4<|END_RESPONSE|>", "<unused94>thought\n3<unused95>4"),
        "<|begin_of_thought|>3<|end_of_thought|>\n\n<|begin_of_solution|>4<|end_of_solution|>",
        *("<think>3</think><response>4</response>", "<think>3</think>\n<response>4"),
        "Here are my steps: 3\n[BEGIN FINAL RESPONSE]\n4\n[END FINAL RESPONSE]",
        "<|channel|>analysis<|message|>3<|end|><|start|>assistant<|channel|>final<|message|>4",
        "<|channel|>analysis<|message|>3<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>",
        "<|channel|>commentary<|message|>3<|end|><|channel|>final <|constrain|>json<|message|>4<|end|>\n5",
        *("3<|end|><|start|>assistant<|channel|>final<|message|>4", "so 3.</think>4", "so 3.[/THINK]4", "</think>4"),
        *("<think>3<think>2</think>1</think>4", "<think>3</think><reasoning>2</reasoning>4", "<think></think>4"),
        *("<thinking>3</think>4", "4<think>3</think>", "4"),
    ],
)  # fmt: skip
def test_an_answer_is_read_behind_the_thoughts_of_many_models(completion: str) -> None:
    assert find_answer("first_line")(completion) == "4"
    assert without_chatter(completion).strip() == "4"


@pytest.mark.parametrize(
    "completion",
    [
        *("<think>12", "<thought>\n12", "[THINK]12", "◁think▷12", "4 <think>or is it"),
        *("<|channel|>analysis<|message|>12", "<|channel|>analysis<|message|>12<|end|><|start|>assistant"),
        *("<|channel|>ana", "<|channel|>analysis<|message|>12<|end|><|start|>assistant<|channel|>fin"),
        "<|START_THINKING|>12",
    ],
)  # fmt: skip
def test_a_thought_that_never_ends_leaves_no_answer(completion: str) -> None:
    assert find_answer("whole")(completion) is None
    assert find_answer("last_number")(completion) is None


@pytest.mark.parametrize(
    "text",
    [
        *("End it with the <think> tag.", "the tag is `<think>`", 'Write "<reasoning>" first', "use “[THINK]”"),
        *("a thought is <thoughtful>", "<response>4</response>", "[reasoning] 4", "5 <|end|> 4", "x <thinker> y"),
    ],
)
def test_a_mark_that_is_only_mentioned_stays_in_the_answer(text: str) -> None:
    assert find_answer("whole")(text) == text


def test_a_pattern_may_look_for_the_tags_around_a_reply() -> None:
    completion = "<think>3</think><response>4</response>"
    assert find_answer("regex", "<response>(.*)</response>")(completion) == "4"
    assert find_answer("after_marker", "<response>")(completion) == "4</response>"
    assert find_answer("json_field", "a")('<think>{"a": 1}</think><response>{"a": 2}</response>') == "2"


def test_several_thoughts_are_all_taken_out() -> None:
    assert listen("<think>a</think>b[THINK]c[/THINK]d").said == "bd"


@pytest.mark.parametrize("text", ["<think>", "<|start|>", "<|channel|>analysis<|message|>", "`<think>`", "<think "])
def test_many_marks_take_no_long_time(text: str) -> None:
    start = time.process_time()
    listen(text * 20_000)
    assert time.process_time() - start < 2


def test_of_control_tokens_those_that_set_thoughts_apart_are_marks() -> None:
    turns = {"<|start|>", "<|end|>", "<|message|>"}
    assert marks_among({"<s>", "[INST]", "[THINK]", "[/THINK]"}) == {"[THINK]", "[/THINK]"}
    assert marks_among(turns | {"<|user|>", "<|think"}) == frozenset()
    assert marks_among(turns | {"<|channel|>", "<|endoftext|>"}) == turns | {"<|channel|>"}
    assert marks_among({"<|START_THINKING|>", "<|END_RESPONSE|>"}) == {"<|START_THINKING|>"}
