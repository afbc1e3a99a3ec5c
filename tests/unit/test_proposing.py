"""Replies of small models and what is left of them."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localprompt.proposals.parsing import ReplyFormat, grammar_for, listed, parse_instruction, tagged, without_chatter
from localprompt.proposals.similarity import gist, normalised, words
from localprompt.proposals.validation import LeakCheck, Memory, filter_replies, objection
from localprompt.types import Example, Generation

LINE, PARAGRAPH = ReplyFormat("line"), ReplyFormat("paragraph")
EXAMPLES = (
    Example("train:0", {"input": "hot"}, ("cold", "chilly")),
    Example("train:1", {"input": "The film was a waste of two good hours."}, ("negative",)),
)
FORBIDDEN = LeakCheck(EXAMPLES, ("positive", "negative"), "A teacher gave a student one instruction to follow today.")


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
        ("<think>Hot, cold... opposites.</think>Write the opposite.", "Write the opposite."),
        ("opposites, I think.</think>\n\nWrite the opposite.", "Write the opposite."),
        ("<think>Hot, cold, and then", ""),
        ("Write the opposite.<|im_end|>\n<|im_start|>user", "Write the opposite."),
        ("Write the\x1b[31m opposite.\x00", "Write the opposite."),
        ("", ""),
        ("\n \n", ""),
    ],
)
def test_the_instruction_is_found_in_the_reply(reply: str, expected: str) -> None:
    assert parse_instruction(_reply(reply), LINE) == (expected, False)


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
    assert parse_instruction(_reply(reply), ReplyFormat("sentence")) == expected


def test_a_paragraph_may_have_several_lines() -> None:
    reply = _reply("Write the opposite.\nOne word only.\n\nInput: hot")
    assert parse_instruction(reply, PARAGRAPH) == ("Write the opposite.\nOne word only.", False)


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
    assert parse_instruction(_reply(reply, "length"), LINE) == expected


def test_what_follows_the_blank_is_removed_where_the_model_went_on_with_it() -> None:
    reading = ReplyFormat("paragraph", suffix="\n\nInput: hot\nOutput: cold")
    reply = _reply("Write the opposite. Input: hot Output: cold")
    assert parse_instruction(reply, reading) == ("Write the opposite.", False)


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
        ("Write the opposite. Input: big", ""),
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
    proposal = filter_replies(replies, LINE, FORBIDDEN, Memory(["say it again sam"]))
    assert proposal.accepted == ("Write the opposite.", "Name the antonym.")
    assert [each.reason for each in proposal.discarded] == [
        "duplicate",
        "answer instead of an instruction",
        "empty",
        "duplicate",
    ]


def test_a_truncated_reply_is_discarded_as_such() -> None:
    proposal = filter_replies([_reply("write the opposite of the", "length")], LINE, FORBIDDEN, Memory([]))
    assert [each.reason for each in proposal.discarded] == ["truncated"]


def test_a_different_answer_given_for_an_input_is_no_copy() -> None:
    assert objection("Never write warm for hot.", FORBIDDEN) == ""


def test_words_ignore_case_width_and_punctuation_and_split_unspaced_scripts() -> None:
    assert normalised("  Ｗrite, the—WORD! ") == "write the word"
    assert words("写反义词 now") == ["写", "反", "义", "词", "now"]


TAG = ReplyFormat("line", tag="rule")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("<rule>Write it.</rule>", "Write it."),
        ("I think so.\n<rule>\nWrite it.\n</rule>\nThat will do.", "Write it."),
        ("<rule>No, wait.</rule> Better: <rule>Write it.</rule>", "Write it."),
        ("<RULE>Write it.</ Rule >", "Write it."),
        ("write it.</rule> And so on.", "Write it."),
        ("write it.", "Write it."),
        ("\n\n  write it.\n", "Write it."),
        ("Reasons first. <rule>Write it.", "Write it."),
        ("<rule>Write it.</think><rule>Say it.</rule>", "Say it."),
        ("<think><rule>No.</rule></think><rule>Write it.</rule>", "Write it."),
        ('<rule>Instruction: "Write it."</rule>', "Write it."),
        ("<rule>Sure! Here is the rule:\nWrite it.</rule>", "Write it."),
        ("<rule>Write it.</rule><|im_end|><rule>Never.</rule>", "Write it."),
        ("<rule></rule>", ""),
        ("</rule>", ""),
    ],
)
def test_a_tagged_instruction_is_found_however_it_is_tagged(reply: str, expected: str) -> None:
    assert parse_instruction(_reply(reply), TAG) == (expected, False)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("<rule>Write the", ("Write the", True)),
        ("Write it. And then", ("Write it.", False)),
        ("Write it</ru", ("Write it", True)),
        ("Write it.</ru", ("Write it.", False)),
        ("<rule>Write it</rule> because", ("Write it", False)),
    ],
)
def test_a_tag_cut_off_by_the_token_limit_is_no_whole_instruction(reply: str, expected: tuple[str, bool]) -> None:
    assert parse_instruction(_reply(reply, "length"), TAG) == expected


def test_a_whole_reply_keeps_its_paragraphs() -> None:
    reply = _reply("Write the opposite.\n\nOne word only.\n")
    assert parse_instruction(reply, ReplyFormat("whole")) == ("Write the opposite.\n\nOne word only.", False)


def test_all_complete_pairs_are_returned_in_order() -> None:
    text = "<think><a>0</a></think><a> 1 </a> <b>2</b> ```xml\n<a>3</a>\n``` <a>4 <a>5</a> <a>6"
    assert tagged(text, "a") == ["1", "3", "5"]
    assert tagged("", "a") == []


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("1. One thing.\n2. Another.", ["One thing.", "Another."]),
        ("Reasons:\n\n- one\n- two\n\nThat is all.", ["one", "two"]),
        ("1) one\n   goes on\n2) two", ["one goes on", "two"]),
        ("**1.** one\n**2.** two", ["one", "two"]),
        ("1. **Wording**: vague\n2. `short`", ["**Wording**: vague", "short"]),
        ("it is vague\n2. it is short", ["it is vague", "it is short"]),
        ("```\n* one\n* two\n```", ["one", "two"]),
        ("1.\n2. two\n3. ...", ["two"]),
        ("<think>- no</think>- yes", ["yes"]),
        ("No list at all.\nIn 1990. Or so.", []),
        ("3.5 is a number", []),
        ("", []),
    ],
)
def test_the_items_of_a_list_are_returned_in_order(text: str, items: list[str]) -> None:
    assert listed(text) == items


def test_chatter_is_what_stands_before_the_matter() -> None:
    assert without_chatter("<think>so</think>Sure! Here is the reason: it is vague.</s>x") == "it is vague."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("What is the opposite of the input word?", ""),
        ("Please provide the opposite of the input.", ""),
        ("Could you name the opposite of the word?", ""),
        ("Could you provide the plural of the input word?", ""),
        ("Please give the input in upper case.", ""),
        ("Please provide the text you want me to judge.", "speaks to the user"),
        ("Could you please provide the input?", "speaks to the user"),
        ("I’m sorry, but there is no rule here.", "speaks to the user"),
        ("As an AI language model, judge the film.", "speaks to the user"),
        ("Say positive or negative.", ""),
        ("Decide whether the sentiment is negative.", ""),
        ("If the film is bad, the answer is negative.", ""),
        ("The answer is positive or negative.", ""),
        ("The label is positive. The label is negative.", ""),
        ("The answer is negative.", "gives an answer away"),
        ("Judge the film. So the answer is “negative”.", "gives an answer away"),
        ("This review is positive.", "gives an answer away"),
        ("Answer: cold", "gives an answer away"),
        ("It is cold.", "gives an answer away"),
        ("It is cold today.", ""),
    ],
)
def test_what_speaks_to_the_user_or_solves_an_example_is_discarded(text: str, reason: str) -> None:
    proposal = filter_replies([_reply(text)], LINE, FORBIDDEN, Memory([]))
    assert [each.reason for each in proposal.discarded] == ([reason] if reason else [])


def test_a_long_piece_of_a_target_is_a_copy() -> None:
    forbidden = LeakCheck((Example("train:0", {"input": "hi"}, ("We are all very pleased to meet you.",)),))
    proposal = filter_replies([_reply("Be formal: we are all very pleased to meet")], LINE, forbidden, Memory([]))
    assert [each.reason for each in proposal.discarded] == ["copies an example"]


def test_nothing_is_proposed_twice() -> None:
    texts = (
        "Write the opposite.",
        "write the opposite!",
        "Please write an opposite.",
        "Write one opposite.",
        "Name the antonym.",
        "Say the reverse.",
    )
    memory = Memory(["Name an antonym"], ["say reverse"])
    proposal = filter_replies([_reply(text) for text in texts], LINE, FORBIDDEN, memory)
    assert proposal.accepted == ("Write the opposite.", "Write one opposite.")
    reasons = ["duplicate", "near-duplicate", "near-duplicate", "rejected before"]
    assert [each.reason for each in proposal.discarded] == reasons
    assert memory.objection("write one opposite") == "duplicate"


def test_the_gist_of_nothing_but_fillers_is_themselves() -> None:
    assert gist("Please, the word.") == "word"
    assert gist("Please the") == "please the"


def test_a_code_fence_is_taken_off() -> None:
    replies = [
        _reply("```text\nWrite the opposite.\n```\nThis is short."),
        _reply("Here is it:\n```\nName the antonym.\n```"),
        _reply("```Say the reverse.```"),
    ]
    proposal = filter_replies(replies, PARAGRAPH, FORBIDDEN, Memory([]))
    assert proposal.accepted == ("Write the opposite.", "Name the antonym.", "Say the reverse.")


def test_a_grammar_ends_with_the_closing_tag_and_is_open_by_one_character() -> None:
    grammar = grammar_for(ReplyFormat("line", max_chars=9, tag="rule"))
    assert re.fullmatch(grammar, "write it</rule>")
    assert re.fullmatch(grammar, "0123456789</rule>")  # too long, and so discarded as such
    for reply in ("01234567890</rule>", "a\nbc</rule>", "ab</rule>", "a <b> c</rule>", "write it", "write it</rule>."):
        assert not re.fullmatch(grammar, reply)
    assert re.fullmatch(grammar_for(ReplyFormat("paragraph", tag="rule")), "a\nbc</rule>")
    assert not re.fullmatch(grammar_for(ReplyFormat("paragraph", tag="rule")), "\n\nabc</rule>"), (
        "a stop string ends that"
    )


def test_a_closing_tag_of_another_name_ends_the_instruction_too() -> None:
    replies = [_reply("Write the opposite.</instruction> And so on."), _reply("Name the antonym. < / INS >")]
    reading = ReplyFormat("paragraph", tag="rule")
    assert filter_replies(replies, reading, FORBIDDEN, Memory([])).accepted == (
        "Write the opposite.",
        "Name the antonym.",
    )


@given(st.text(max_size=300))
def test_any_reply_is_accepted_or_discarded(text: str) -> None:
    for reading in (LINE, PARAGRAPH, TAG, ReplyFormat("sentence", suffix=text), ReplyFormat("whole", tag="rule")):
        proposal = filter_replies([_reply(text), _reply(text, "length")], reading, FORBIDDEN, Memory([text]))
        assert len(proposal.accepted) + len(proposal.discarded) == 2
    assert all(item.strip() == item for item in [*listed(text), *tagged(text, "rule")])


@pytest.mark.parametrize("cut", ["line", "sentence"])
def test_a_line_without_a_tag_begins_at_once_and_may_end_in_a_line_break(cut: Literal["line", "sentence"]) -> None:
    grammar = grammar_for(ReplyFormat(cut, max_chars=9))
    for reply in (" write it", "write it", "a < b\n", "0123456789\n\n"):
        assert re.fullmatch(grammar, reply)
    for reply in ("", "\nwrite it", "  write it", "<think>\n", "ab", "01234567890", "write\nit"):
        assert not re.fullmatch(grammar, reply)


def test_a_paragraph_without_a_tag_begins_at_once_and_ends_before_a_blank_line() -> None:
    grammar = grammar_for(ReplyFormat("paragraph", max_chars=9))
    for reply in (" write it", "write\nit", "a\nb\nc\nd", "0123456789\n\n"):
        assert re.fullmatch(grammar, reply)
    for reply in ("", "\nwrite it", "<think>\n", "ab", "01234567890", "write\n\nit"):
        assert not re.fullmatch(grammar, reply)


def test_several_paragraphs_without_a_tag_are_free() -> None:
    assert grammar_for(ReplyFormat("whole")) == ""


def _sifted(text: str, reading: ReplyFormat = PARAGRAPH) -> tuple[str, str]:
    """Return what is accepted of a reply, or the reason for which nothing is."""
    proposal = filter_replies([_reply(text)], reading, FORBIDDEN, Memory([]))
    return "".join(proposal.accepted), "".join(each.reason for each in proposal.discarded)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Output: the plural of the noun.", ""),
        ("Given an input word, output: its antonym.", ""),
        ("Read the film review. Output: positive or negative.", ""),
        ("Write the opposite, such as input: big, output: small.", "copies an example"),
        ("Input: big\nOutput: small", "copies an example"),
        ("Write the opposite. Input: hot", "copies an example"),
        ("Write the opposite, as **Output:** cold. That is all.", "copies an example"),
    ],
)
def test_a_label_shows_an_example_only_with_the_other_one_or_with_its_text(text: str, reason: str) -> None:
    assert _sifted(text)[1] == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Turn 7 1 4\n9 2 3 upside down.", "copies an example"),
        ("Output: 38\n    done\nDo so always.", "copies an example"),
        ("Input:\n  Is it so?\n  A) yes\n  B) no", "copies an example"),
        ("38\ndone", "answer instead of an instruction"),
        ("Choose A) where it is so,\nB) where it is not.", ""),
        ("Output: 38\nor none.", ""),
    ],
)
def test_an_example_of_several_lines_is_known_however_they_are_broken(text: str, reason: str) -> None:
    examples = (
        Example("train:0", {"input": "7 1 4\n9 2 3"}, ("9 2 3\n7 1 4",)),
        Example("train:1", {"input": "Is it so?\nA) yes\nB) no"}, ("38\n    done",)),
    )
    assert objection(text, LeakCheck(examples)) == reason


@pytest.mark.parametrize(
    ("reply", "accepted"),
    [
        ("Write the opposite.\nScore: 90", "Write the opposite."),
        ("Write the opposite. Score: 90", "Write the opposite."),
        ("Write the opposite.\n**Score:** 90", "Write the opposite."),
        ("Write the opposite.\n  Input: big\n  Output: small", "Write the opposite."),
        ("Write the opposite.\nExample 1:\nBig and small.", "Write the opposite."),
        ("Write the opposite.\nUse one word.", "Write the opposite.\nUse one word."),
        ("Answer in this form:\nOutput: one word", "Answer in this form:\nOutput: one word"),
        ("Output: one word\nScore: 90", "Output: one word\nScore: 90"),
        ("Give the film a score: 1 or 2.", "Give the film a score: 1 or 2."),
    ],
)
def test_an_instruction_ends_before_the_next_record(reply: str, accepted: str) -> None:
    assert _sifted(reply) == (accepted, "")


@pytest.mark.parametrize(
    ("reply", "accepted"),
    [
        ("1. Read the word.\n2. Write its plural.", "1. Read the word.\n2. Write its plural."),
        ("- Read the word.\n- Write its plural.", "- Read the word.\n- Write its plural."),
        ("1. Write the plural.", "Write the plural."),
        ("- Write the plural\nof the word.", "Write the plural\nof the word."),
    ],
)
def test_a_bullet_is_taken_off_only_where_there_is_no_list(reply: str, accepted: str) -> None:
    assert _sifted(reply) == (accepted, "")


@pytest.mark.parametrize(
    "text", ["Write the", "Write it and", "Write the word and its.", "Say if it is, or", "Write a "]
)
def test_a_text_whose_last_word_wants_another_is_no_whole_one(text: str) -> None:
    assert _sifted(text)[1] == "truncated"


@pytest.mark.parametrize(
    "text", ["Name what it is made of.", 'Say "and" or "or".', "Answer with B or A.", "Say what it is made of!"]
)
def test_a_sentence_may_end_with_a_small_word(text: str) -> None:
    assert _sifted(text) == (text, "")


@pytest.mark.parametrize(
    ("reply", "finish_reason", "cut", "expected"),
    [
        ("Take two, e.g. a pair, and add", "length", "line", ("Take two, e.g. a pair, and add", True)),
        ("Take two (i.e. a pair). Then add", "length", "line", ("Take two (i.e. a pair).", False)),
        ("E.g. take two. Then add.", "stop", "sentence", ("E.g. take two.", False)),
        ("Take hot vs. cold and say which. Then add.", "stop", "sentence", ("Take hot vs. cold and say which.", False)),
        ("Cut fruit, meat, etc. and add. So.", "stop", "sentence", ("Cut fruit, meat, etc. and add.", False)),
        ("Cut fruit, meat, etc. Then add.", "stop", "sentence", ("Cut fruit, meat, etc.", False)),
        ("Write the date e.g.", "stop", "sentence", ("Write the date e.g.", True)),
    ],
)
def test_an_abbreviation_ends_no_sentence(
    reply: str, finish_reason: str, cut: Literal["line", "sentence"], expected: tuple[str, bool]
) -> None:
    assert parse_instruction(_reply(reply, finish_reason), ReplyFormat(cut)) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Judge the film. Options:\n\npositive\nnegative</rule>", "Judge the film. Options:\n\npositive\nnegative"),
        ("You are a critic.\n\nJudge the film.</rule>", "You are a critic.\n\nJudge the film."),
        ("Judge the film.\nAnswer: 'good' or 'bad'.</rule>", "Judge the film.\nAnswer: 'good' or 'bad'."),
        ("Judge the film.\nInput: I slept.\nOutput: bad</rule>", "Judge the film."),
        ("Judge the film.\n\nIt will help.", "Judge the film."),
    ],
)
def test_a_closing_tag_says_where_an_instruction_ends(reply: str, expected: str) -> None:
    assert parse_instruction(_reply(reply), ReplyFormat("paragraph", tag="rule")) == (expected, False)


@pytest.mark.parametrize(
    "reply",
    [
        "Better prompt: Judge it.",
        "A better instruction would be: Judge it.",
        "**Better Instruction:**\nJudge it.",
        "Wording B: Judge it.",
        "### Improved instruction\nJudge it.",
    ],
)
def test_what_announces_an_instruction_is_no_part_of_it(reply: str) -> None:
    assert parse_instruction(_reply(reply), PARAGRAPH) == ("Judge it.", False)


def test_the_number_of_an_item_ends_no_sentence() -> None:
    reply = _reply("Do this.\n1. Read\n2. Add an s to the end and th", "length")
    assert parse_instruction(reply, ReplyFormat("whole")) == ("Do this.", False)


@pytest.mark.parametrize(
    ("text", "is_whole"),
    [
        ("Name the country that the city is in", True),
        ("Identify what the noun is made of", True),
        ("Choose one of these options:", False),
    ],
)
def test_a_last_word_may_belong_to_one_before_it(text: str, is_whole: bool) -> None:
    assert bool(filter_replies([_reply(text)], LINE, FORBIDDEN, Memory([])).accepted) == is_whole


@pytest.mark.parametrize(
    ("text", "is_leak"),
    [
        ("Always answer positive.", True),
        ("Classify the review as positive.", True),
        ("The answer is always positive.", True),
        ("The review is positive because it praises the film.", True),
        ("Classify the review as positive or negative.", False),
        ("Say positive if it praises the film.", False),
        ("Write the word.", False),
    ],
)
def test_an_instruction_that_orders_one_label_gives_an_answer_away(text: str, is_leak: bool) -> None:
    found = filter_replies([_reply(text)], LINE, FORBIDDEN, Memory([])).discarded
    assert [each.reason for each in found] == (["gives an answer away"] if is_leak else [])


@pytest.mark.parametrize(
    ("reply", "reading", "expected"),
    [
        ("Choose the word.\nAnswer: the word alone.", PARAGRAPH, "Choose the word.\nAnswer: the word alone."),
        ("Choose the word.\nOutput: one word.\nInput: hot", PARAGRAPH, "Choose the word.\nOutput: one word."),
        ("Choose the word.\nExample 1: hot", PARAGRAPH, "Choose the word."),
        ("Choose it.\nAnswer: the word alone.", LINE, "Choose it."),
        ("One.\n\nTwo.\n\nThis is shorter.", ReplyFormat("whole", paragraphs=2), "One.\n\nTwo."),
        ("One.\n\nTwo.", ReplyFormat("whole", paragraphs=3), "One.\n\nTwo."),
        ("One.\n\nTwo.\n\nThree.</rule> So.", ReplyFormat("whole", paragraphs=2, tag="rule"), "One.\n\nTwo.\n\nThree."),
    ],
)
def test_the_form_of_the_answer_belongs_to_a_paragraph_and_remarks_after_it_do_not(
    reply: str, reading: ReplyFormat, expected: str
) -> None:
    assert parse_instruction(_reply(reply), reading) == (expected, False)


def test_a_cut_reply_is_whole_where_more_paragraphs_came_than_belong_to_it() -> None:
    reading = ReplyFormat("whole", paragraphs=1)
    assert parse_instruction(_reply("Say it\n\nand then", "length"), reading) == ("Say it", False)
    assert parse_instruction(_reply("Say it", "length"), reading) == ("Say it", True)


WORDS = tuple(
    Example(f"train:{n}", {"word": word, "language": language}, (target,))
    for n, (word, language, target) in enumerate(
        [("cat", "French", "chat"), ("dog", "French", "chien"), ("cat", "German", "Katze"), ("house", "German", "Haus")]
    )
)
DAYS = tuple(
    Example(f"train:{n}", {"sky": sky, "wind": wind}, (target,))
    for n, (sky, wind, target) in enumerate(
        [("sunny", "weak", "yes"), ("sunny", "strong", "no"), ("grey", "weak", "no"), ("grey", "strong", "no")]
    )
)

BRASS = Example("train:9", {"sky": "like brass", "wind": "weak"}, ("yes",))


@pytest.mark.parametrize(
    ("text", "examples", "reason"),
    [
        ("Translate cat to French: chat.", WORDS, "copies an example"),
        ("In French, cat is chat; translate like this.", WORDS, "copies an example"),
        ("Translate the word, such as cat, to French or German.", WORDS, ""),
        ("Say chat for cat and so on.", WORDS, ""),
        ("Say what the word is in French.", WORDS, ""),
        ("Answer yes if it is sunny and the wind weak, else no.", DAYS, ""),
        ("Say yes if the wind is weak and the sky like brass.", (*DAYS, BRASS), "copies an example"),
    ],
)
def test_an_example_of_several_inputs_is_copied_where_all_of_them_stand_beside_its_answer(
    text: str, examples: tuple[Example, ...], reason: str
) -> None:
    closed = ("yes", "no") if examples[0] in DAYS else ()
    assert objection(text, LeakCheck(examples, closed)) == reason


def test_an_instruction_may_name_a_long_label() -> None:
    labels = ("balance not updated after bank transfer", "card arrival")
    rows = tuple(Example(f"train:{n}", {"input": f"query {n}"}, (label,)) for n, label in enumerate(labels))
    text = "Classify the query as one of these: balance not updated after bank transfer, card arrival."
    assert objection(text, LeakCheck(rows, labels)) == ""
    assert objection(text, LeakCheck(rows)) == "copies an example"
    assert objection(f"Say {labels[0]}.", LeakCheck(rows, labels)) == "gives an answer away"


def test_short_inputs_and_what_all_inputs_say_are_no_copies() -> None:
    ask = "Is the sum of these numbers odd or even"
    rows = tuple(
        Example(f"train:{n}", {"input": f"{ask}: {n} and 7?"}, ("odd" if n % 2 else "even",)) for n in range(9)
    )
    letters = tuple(Example(f"train:{c}", {"input": c}, ("vowel" if c in "aei" else "consonant",)) for c in "abcdei")
    named = LeakCheck(letters, ("vowel", "consonant"))
    assert objection("Say whether a letter is a vowel or a consonant.", named) == ""
    assert objection("Say that a is a vowel in this case.", named) == "copies an example"
    assert objection(f"{ask}? Answer with that word.", LeakCheck(rows, ("odd", "even"))) == ""
    assert objection(f"{ask}: 3 and 7? Answer so.", LeakCheck(rows, ("odd", "even"))) == "copies an example"


@pytest.mark.parametrize(("labels", "reason"), [(("a", "an"), ""), ((), "truncated")])
def test_an_instruction_may_end_with_a_label_that_is_an_article(labels: tuple[str, ...], reason: str) -> None:
    forbidden = LeakCheck((Example("train:1", {"input": "apple tree"}, ("an",)),), labels)
    proposal = filter_replies(
        [_reply("Say whether the noun takes a or an.")], ReplyFormat("whole"), forbidden, Memory([])
    )
    assert "".join(each.reason for each in proposal.discarded) == reason
