"""What small models put around an instruction, and what only looks like that."""

from __future__ import annotations

import time

import pytest
import toy

from localprompt.proposals.parsing import ReplyFormat, parse_instruction, without_chatter
from localprompt.proposals.validation import LeakCheck, Memory, filter_replies, objection, restore_tag
from localprompt.search.proposer import Request
from localprompt.types import Example, Generation, Message, Prompt, Sampling

PARAGRAPH, TAGGED = ReplyFormat("paragraph"), ReplyFormat("paragraph", tag="INS")
NOTHING = LeakCheck(())


def _read(text: str, reading: ReplyFormat = PARAGRAPH, finish_reason: str = "stop") -> str:
    found, breaks_off = parse_instruction(Generation(text, 9, finish_reason), reading)  # type: ignore[arg-type]
    return "" if breaks_off else found


@pytest.mark.parametrize(
    "reply",
    [
        "Here you go:\n\nWrite it.",
        "**Revised Prompt**\n\nWrite it.",
        "New instruction\nWrite it.",
        "The instruction could be rephrased as:\n\"Write it.\"",
        "I have rewritten the instruction as follows:\nWrite it.",
        "I suggest this instruction:\nWrite it.",
        "Based on the examples, the instruction is: Write it.",
        "Of course! Sure! Here is it: Write it.",
        "Write it.</think>",
        "<|im_start|>assistant\nWrite it.<|im_end|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\nWrite it.",
        "<start_of_turn>model\nWrite it.<end_of_turn>",
        "<s>Write it.</s>",
        "\x1b[1mWrite\x1b[0m it.",
        "\x1b]0;title\x07Write it.",
        "Wri\u200bte \u202eit.",
        "\ufeffWrite it.",
        "Write it.\rInput: hot",
        "Write it.\u2028Input: hot",
        "Write it.\n\nWrite it.",
        "```text\r\nWrite it.\r\n```",
    ],
)  # fmt: skip
def test_what_stands_around_an_instruction_is_taken_off(reply: str) -> None:
    assert filter_replies([Generation(reply, 9, "stop")], PARAGRAPH, NOTHING, Memory([])).accepted == ("Write it.",)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [("「写出反义词。」", "写出反义词。"), ("「写出反义词」。", "写出反义词"), ("「是」或「不」", "「是」或「不」")],
)
def test_chinese_is_quoted_too(reply: str, expected: str) -> None:
    assert _read(reply) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Here is a film review.\nSay whether it is good.",
        "Follow this instruction:\n1. Read the word.\n2. Write it.",
        "The prompt has two numbers; answer with one of:\ngood\nbad",
        "Rewrite the prompt in this form:\nOne word",
        "Answer each instruction with one of:\ngood\nbad",
        "Task 1 is a question. Answer it.",
        '{"good", "bad"}: choose one of them.',
        '{"label": "good"} is the form of the answer.',
        '["yes"] or ["no"] is the answer.',
        "Say good.\nSay bad.\nSay good.",
        "Write x for X. Write X for x.",
        "Answer in this form:\n-\n-",
        "می\u200cخواهم را ترجمه کن.",
        "Write the word [MASK] stands for.",
        "按照提示：写出反义词。",
    ],
)
def test_what_only_looks_like_an_announcement_stays(text: str) -> None:
    assert _read(text) == text


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('"write the opposite." What was it?', "Write the opposite."),
        ('"Write the opposite". This is short.', "Write the opposite."),
        ("「写出反义词。」这样更短。", "写出反义词。"),
        ('"Yes" or "no" is the answer. Right?', '"Yes" or "no" is the answer.'),
    ],
)
def test_a_quotation_may_end_with_the_first_sentence(reply: str, expected: str) -> None:
    assert _read(reply, ReplyFormat("sentence")) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("<INS>Write it.</INS> I put it between <INS> and </INS>.", "Write it."),
        ("<INS>Write it.</INS> <INS></INS>", "Write it."),
        ("<INS>No, wait.</INS> <INS>Write it.</INS>", "Write it."),
        ("<INS>Summarise.</INS>", "Summarise."),
    ],
)
def test_a_pair_of_tags_holds_an_instruction_and_not_one_word(reply: str, expected: str) -> None:
    assert _read(reply, TAGGED) == expected


@pytest.mark.parametrize(
    "sentence", ["विलोम शब्द लिखो।", "اكتب عكس الكلمة؟", "اس کا الٹ لکھو۔", "Գրիր հակառակը։", "ဆန့်ကျင်ဘက်ရေးပါ။"]
)
def test_a_cut_reply_is_brought_back_to_its_last_sentence_in_other_scripts(sentence: str) -> None:
    assert _read(f"{sentence} {sentence[:5]}", finish_reason="length") == sentence


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("<think>a<think>b</think>c</think>Write it.", "Write it."),
        ("<think>a<think>b</think>c</think>", ""),
        ("Write it. <think>Is it", "Write it. "),
        ("a</thinking>b</think>Write it.", "Write it."),
        ("<THINK>a</think>Write <think>b</think>it.", "Write it."),
        ("<|im_start|>user\nhot", ""),
    ],
)
def test_thoughts_and_turns_are_told_from_what_is_said(reply: str, expected: str) -> None:
    assert without_chatter(reply) == expected


def test_many_open_thoughts_take_no_long_time() -> None:
    start = time.process_time()
    assert without_chatter("<think>" * 50_000) == ""
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Write the opposite of {input}.", "placeholder"),
        ("Compare {animal1} to it.", "placeholder"),
        ("Put the answer into \\boxed{answer}.", ""),
        ('Answer with {"label": 1} or {a, b}.', ""),
        ("Write the missing word (your answer is one word).", ""),
        ("Write the word [MASK] stands for.", ""),
        ("I cannot fulfil this request.", "speaks to the user"),
        ("I can’t comply with that.", "speaks to the user"),
        ("Sorry, I can't do that.", "speaks to the user"),
        ("Thank you for providing the information. Find the mood.", "speaks to the user"),
        ("Certain. I’ll write a new instruction that gets a higher score.", "speaks to the user"),
        ("I apologize, but I cannot fulfil this request.", "speaks to the user"),
        ("Unfortunately, I can't help with that.", "speaks to the user"),
        ("I don't have enough information to write it.", "speaks to the user"),
        ("As a large language model, I judge no films.", "speaks to the user"),
        ("Hello! I am here to help you.", "speaks to the user"),
        ("Hi there!", "speaks to the user"),
        ("Understood. I will say it better.", "speaks to the user"),
        ("Thank you! Judge the film.", "speaks to the user"),
        ("Judge the film. I hope this helps!", "speaks to the user"),
        ("Here is the better instruction", "speaks to the user"),
        ("I'm ready to help: give me the text.", "speaks to the user"),
        ("Please provide the prompt you want me to rewrite.", "speaks to the user"),
        ("As a language model, judge the film.", ""),
        ("Hello and goodbye are greetings; say which it is.", ""),
        ("Here is a film review. Say whether it is good.", ""),
        ("Apologise to the customer. I hope for a polite text.", ""),
        ("Please provide the text's mood.", ""),
        ("I will give you a word; write its opposite.", ""),
        ("Answer 'Thank you for sharing' to praise.", ""),
        ("Answer 'I cannot tell' if the text does not say.", ""),
        ("Say 'Sorry, I cannot do that' politely.", ""),
        ("Score 90 words.", ""),
        ("Rating: 1 to 5, by how good the film is.", ""),
        ("Score: 90", "echoes the meta-prompt"),
        ("**Score:** 100.", "echoes the meta-prompt"),
    ],
)
def test_placeholders_refusals_and_scores_are_no_instructions(text: str, reason: str) -> None:
    assert objection(text, NOTHING) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Reduce the text to a single question.", ""),
        ("Reduce it without any capital letters.", ""),
        ("Write capitale for capital.", "copies an example"),
        ("判断这部电影的情感是正面还是负面。", ""),
        ("请写：这部电影的情节真的很无聊也很长", "copies an example"),
        ("Say that the mixed 电影情节 is long.", ""),
    ],
)
def test_an_ordinary_word_or_a_short_run_of_characters_is_no_copy(text: str, reason: str) -> None:
    rows = {"question": "question", "capital": "capitale", "这部电影的情节真的很无聊": "负面"}
    examples = [Example(f"train:{i}", {"input": row}, (row, target)) for i, (row, target) in enumerate(rows.items())]
    assert objection(text, LeakCheck(tuple(examples))) == reason


@pytest.mark.parametrize(
    ("stop", "finish_reason", "is_whole"),
    [
        (("</INS>",), "stop", True),
        (("</INS>",), "length", False),
        (("\n\n", "</INS>"), "stop", False),
        ((), "stop", False),
    ],
)
def test_a_closing_tag_that_stopped_the_reply_is_put_back(
    stop: tuple[str, ...], finish_reason: str, is_whole: bool
) -> None:
    reply = Generation("You are a critic.\n\nJudge the film.", 9, finish_reason)  # type: ignore[arg-type]
    (found,) = restore_tag([reply], TAGGED, Sampling(9, stop=stop))
    assert parse_instruction(found, TAGGED)[0] == (
        "You are a critic.\n\nJudge the film." if is_whole else "You are a critic."
    )
    assert restore_tag([Generation(" ", 1, "stop")], TAGGED, Sampling(9, stop=("</INS>",)))[0].text == " "
    assert restore_tag([reply], PARAGRAPH, Sampling(9, stop=("</INS>",))) == [reply]


@pytest.mark.parametrize("supports_grammar", [True, False])
def test_a_proposal_with_paragraphs_is_read_up_to_its_tag(*, supports_grammar: bool) -> None:
    text = "You are a critic.\n\nJudge the film."
    lm = toy.model(answer=lambda prompt, seed: f"{text}</INS>", supports_grammar=supports_grammar)
    problem = toy.problem(lm)
    asked = problem.proposer.chat([Message("user", "Write.")], "<INS>")
    (proposal,) = problem.proposer.propose([Request(asked, TAGGED, Prompt(""))], Sampling(99, temperature=1.0), "")
    assert proposal.accepted == (text,)
