"""Replies of small models and what is left of them."""

from __future__ import annotations

import pytest

from localprompt.proposing import Forbidden, Reading, accept, instruction_in, normalised, objection, words
from localprompt.types import Example, Generation

LINE, PARAGRAPH = Reading("line"), Reading("paragraph")
EXAMPLES = (
    Example("train:0", {"input": "hot"}, ("cold", "chilly")),
    Example("train:1", {"input": "The film was a waste of two good hours."}, ("negative",)),
)
FORBIDDEN = Forbidden(EXAMPLES, ("positive", "negative"), "A teacher gave a student one instruction to follow today.")


def _reply(text: str, finish_reason: str = "stop") -> Generation:
    return Generation(text, len(text.split()), finish_reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (" write the opposite.", "Write the opposite."),
        (" write the opposite.\nInput: hot", "Write the opposite."),
        ("\n\nWrite the opposite.\n", "Write the opposite."),
        ('"Write the opposite."', "Write the opposite."),
        ('"Write the opposite.', "Write the opposite."),
        ('write the opposite."', "Write the opposite."),
        ("“Write the opposite.”", "Write the opposite."),
        ("**Write the opposite.**", "Write the opposite."),
        ('Write "yes" or "no".', 'Write "yes" or "no".'),
        ("'Yes' or 'no' is the answer, say 'it'", "'Yes' or 'no' is the answer, say 'it'"),
        ("1. Write the opposite.", "Write the opposite."),
        ("- Write the opposite.", "Write the opposite."),
        ("Here is the instruction: Write the opposite.", "Write the opposite."),
        ("Here's a variation:\n\nWrite the opposite.", "Write the opposite."),
        ("Sure! Here is a new prompt:\nWrite the opposite.", "Write the opposite."),
        ("Sure, write the opposite.", "Write the opposite."),
        ("Instruction: Write the opposite.", "Write the opposite."),
        ("**Instruction:** Write the opposite.", "Write the opposite."),
        ("The instruction was to write the opposite.", "Write the opposite."),
        ("<think>Hot, cold... opposites.</think>Write the opposite.", "Write the opposite."),
        ("opposites, I think.</think>\n\nWrite the opposite.", "Write the opposite."),
        ("<think>Hot, cold, and then", ""),
        ("Write the opposite.<|im_end|>\n<|im_start|>user", "Write the opposite."),
        ("Write the\x1b[31m opposite.\x00", "Write the[31m opposite."),
        ("", ""),
        ("\n \n", ""),
    ],
)
def test_the_instruction_is_found_in_the_reply(reply: str, expected: str) -> None:
    assert instruction_in(_reply(reply), LINE) == (expected, False)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (" write the opposite", ("Write the opposite.", False)),
        (" write the opposite. What was it?", ("Write the opposite.", False)),
        (' say "yes"', ('Say "yes".', False)),
        ('"write the opposite".', ("Write the opposite.", False)),
        (" take a pair, e.g. two, and add", ("Take a pair, e.g. two, and add.", False)),
        (" take a pair, e.g", ("take a pair, e.g.", True)),
        ("写反义词", ("写反义词", False)),
        ("", ("", False)),
    ],
)
def test_a_continuation_ends_with_its_first_sentence(reply: str, expected: tuple[str, bool]) -> None:
    assert instruction_in(_reply(reply), Reading("sentence")) == expected


def test_a_paragraph_may_have_several_lines() -> None:
    reply = _reply("Write the opposite.\nOne word only.\n\nInput: hot")
    assert instruction_in(reply, PARAGRAPH) == ("Write the opposite.\nOne word only.", False)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Write the opposite. For exam", ("Write the opposite.", False)),
        ("Write the opposite of the word that", ("Write the opposite of the word that", True)),
        ("Write the opposite\nInput: ho", ("Write the opposite", False)),
        ("", ("", False)),
    ],
)
def test_a_reply_cut_by_the_token_limit_is_cut_back_to_its_last_whole_sentence(
    reply: str, expected: tuple[str, bool]
) -> None:
    assert instruction_in(_reply(reply, "length"), LINE) == expected


def test_what_follows_the_blank_is_removed_where_the_model_went_on_with_it() -> None:
    reading = Reading("paragraph", suffix="\n\nInput: hot\nOutput: cold")
    reply = _reply("Write the opposite. Input: hot Output: cold")
    assert instruction_in(reply, reading) == ("Write the opposite.", False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Write the opposite.", ""),
        ("Say whether the film is good: positive or negative.", ""),
        ("把下列词翻译成英文", ""),
        ("", "empty"),
        ("?!", "empty"),
        ("Negative.", "answer instead of an instruction"),
        ("cold", "answer instead of an instruction"),
        ("Opposite.", "too short"),
        ("write " * 200, "too long"),
        ("Write the opposite of [insert word].", "placeholder"),
        ("Write the opposite of {{input}}.", "placeholder"),
        ("Write the opposite of <word>.", "placeholder"),
        ("Write the opposite of ...", "placeholder"),
        ("Write the opposite of ____.", "placeholder"),
        ("If x < 3 write small and if y > 3 write large.", ""),
        ("Write the opposite. Input: big", "copies an example"),
        ("Write the opposite, such as cold for hot.", "copies an example"),
        ("Write the opposite of hot.", ""),
        ("Judge: the film was a WASTE of two hours, say.", "copies an example"),
        ("The film was a waste of two good hours", "copies an example"),
        ("Hot", "too short"),
        ("A teacher gave a student nothing.", ""),
        ("That a teacher gave a student one instruction.", "echoes the meta-prompt"),
    ],
)
def test_what_cannot_be_an_instruction_is_discarded_with_its_reason(text: str, reason: str) -> None:
    assert objection(text, FORBIDDEN) == reason


def test_every_reply_is_either_accepted_or_discarded_and_the_order_is_kept() -> None:
    replies = [
        _reply(text)
        for text in (
            "Write the opposite.",
            "write the  OPPOSITE",
            "cold",
            "",
            "Name the antonym.",
            "Say it again, Sam.",
        )
    ]
    proposal = accept(replies, LINE, FORBIDDEN, ["say it again sam"])
    assert proposal.accepted == ("Write the opposite.", "Name the antonym.")
    assert [each.reason for each in proposal.discarded] == [
        "duplicate",
        "answer instead of an instruction",
        "empty",
        "duplicate",
    ]


def test_a_truncated_reply_is_discarded_as_such() -> None:
    proposal = accept([_reply("write the opposite of the", "length")], LINE, FORBIDDEN)
    assert [each.reason for each in proposal.discarded] == ["truncated"]


def test_a_different_answer_given_for_an_input_is_no_copy() -> None:
    assert objection("Never write warm for hot.", FORBIDDEN) == ""


def test_words_ignore_case_width_and_punctuation_and_split_unspaced_scripts() -> None:
    assert normalised("  Ｗrite, the—WORD! ") == "write the word"
    assert words("写反义词 now") == ["写", "反", "义", "词", "now"]
