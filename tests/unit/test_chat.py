"""Chat templates: hostile, broken and foreign ones."""

from __future__ import annotations

import re
import resource
import signal
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_chat import reference

from localprompt.engine import chat
from localprompt.engine.bounds import bounded
from localprompt.engine.chat import ChatTemplate
from localprompt.errors import ModelError
from localprompt.types import Message

CONTROL = re.compile(r"<\|im_start\|>|<\|im_end\|>")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def render(source: str, *messages: Message) -> tuple[str, list[str]]:
    text, spans = ChatTemplate(source, CONTROL, {"bos_token": "<s>"}).render(messages)
    return text, [text[start:end] for start, end in spans]


def test_only_what_the_template_writes_is_a_control_token() -> None:
    text, controls = render(CHATML, Message("user", "a<|im_end|>b"))
    assert text == "<|im_start|>user\na<|im_end|>b<|im_end|>\n<|im_start|>assistant\n"
    assert controls == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]
    _, spans = ChatTemplate(CHATML, CONTROL, {}).render([Message("user", "a<|im_end|>b")])
    assert spans[1][0] == text.rindex("<|im_end|>")


def test_a_template_that_refuses_a_system_turn_gets_it_with_the_first_user_turn() -> None:
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}"
    )
    assert render(source, Message("system", "Be brief."), Message("user", "Hi"))[0] == "Be brief.\n\nHi"
    assert render(source, Message("system", "Be brief."))[0] == "Be brief."


SYSTEM, USER, ANSWER = Message("system", "Be brief."), Message("user", " Hi "), Message("assistant", "Yo.")
TURNS = "{% for m in messages %}"


@pytest.mark.parametrize(
    "source",
    [
        TURNS
        + "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}|{% endfor %}",
        TURNS + "{{ m.content[0]['text'] }}|{% endfor %}",
        TURNS + "{{ m['content'][0].text | trim }}|{% endfor %}",
    ],
)
def test_a_template_that_wants_contents_as_parts_gets_them(source: str) -> None:
    for messages in ([USER], [SYSTEM, USER], [USER, ANSWER, USER]):
        text, _ = render(source, *messages)
        assert [said.strip() for said in text.split("|")[:-1]] == [message.content.strip() for message in messages]
    assert render(source, Message("user", "a<|im_end|>b")) == ("a<|im_end|>b|", [])


@pytest.mark.parametrize(
    "source",
    [
        TURNS + "{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}",
        "{{ messages[-1].content }}",
        "{{ messages[0].content }}",
        TURNS + "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}"
        "{% endif %}{{ m.content }}{% endfor %}",
    ],
)
def test_system_text_that_a_template_leaves_out_or_refuses_stands_in_the_users_turn(source: str) -> None:
    assert render(source, SYSTEM, USER)[0] == "Be brief.\n\n Hi "


def test_a_template_that_goes_through_tools_wherever_they_are_mentioned_is_told_nothing_of_them() -> None:
    source = "{% if tools is defined %}{% for tool in tools %}{{ tool.name }}{% endfor %}{% endif %}"
    assert render(source + TURNS + "{{ m.content }}|{% endfor %}", SYSTEM, USER)[0] == "Be brief.| Hi |"


def test_a_conversation_of_which_a_template_keeps_one_turn_becomes_one() -> None:
    assert render("{{ messages[-1].content }}", USER, ANSWER, USER)[0] == " Hi \n\nYo.\n\n Hi "


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("chatml", r"\('chatml'\) is a name or a plain text: it leaves out the messages"),
        ("   ", "is a name or a plain text"),
        ("{# nothing #}", "leaves out or changes the text of the messages"),
        (TURNS + "{% if m.role == 'human' %}{{ m.content }}{% endif %}{% endfor %}", "leaves out or changes"),
        (
            TURNS + "{{ m.content | upper }}{% endfor %}",
            r"\('{% for m in messages %}{{ m.content .*'\) leaves out or ch",
        ),
        (TURNS + "{{ m.content | lower }}{% endfor %}", "leaves out or changes"),
        (TURNS + "{{ m.content | e }}{% endfor %}", "leaves out or changes"),
        (TURNS + "{{ m.content[:200] }}{% endfor %}", "leaves out or changes"),
        (TURNS + "{{ m.content | truncate(500) }}{% endfor %}", "leaves out or changes"),
        ("{% if not tools %}{{ raise_exception('tools are required') }}{% endif %}", "refuses the messages: tools are"),
    ],
)
def test_a_template_that_loses_or_changes_what_is_said_is_refused_in_one_sentence(source: str, complaint: str) -> None:
    for messages in ([USER], [SYSTEM, USER], [USER, ANSWER, USER]):
        with pytest.raises(ModelError, match=complaint) as error:
            render(source, *messages)
        assert "use a raw layout" in error.value.hint


def test_blank_space_that_a_template_changes_inside_messages_is_noticed_and_allowed() -> None:
    source = TURNS + "{{ m.content.replace('\\n\\n', '\\n') }}|{% endfor %}"
    template = ChatTemplate(source, CONTROL, {})
    assert template.render([Message("user", "a\n\nb")])[0] == "a\nb|"
    assert not template.way([USER]).keeps_spaces
    assert ChatTemplate(TURNS + "{{ m.content | trim }}{% endfor %}", CONTROL, {}).way([USER]).keeps_spaces


def test_a_message_that_a_template_cuts_because_of_what_it_holds_is_named() -> None:
    source = TURNS + "{{ m.content.split('§')[-1] }}{% endfor %}"
    with pytest.raises(ModelError, match=r"a part of the user message 'Explain § to me\.'"):
        render(source, Message("user", "Explain § to me."))
    source = TURNS + "{{ m.content.split('</think>')[-1] }}{% endfor %}"
    assert render(source, Message("user", "Explain </think> to me."))[0] == "Explain </think> to me."
    for begin, end in (("<think>", "</think>"), ("[THINK]", "[/THINK]")):
        thoughts = Message("assistant", f"{begin}?{end}Yo.")
        assert render(source.replace("</think>", end), USER, thoughts)[0] == " Hi Yo.", "thoughts of before may go"


def test_blank_space_around_a_message_may_go_and_what_is_said_twice_is_not_lost() -> None:
    assert render(TURNS + "[{{ m.content | trim }}]{% endfor %}", SYSTEM, USER)[0] == "[Be brief.][Hi]"
    assert render(TURNS + "[{{ m.content }}{{ m.content }}]{% endfor %}", USER)[0] == "[ Hi  Hi ]"


def test_a_template_that_fails_in_any_way_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="refuses the messages"):
        render("{{ tools.first.name }}", Message("user", "Hi"))
    with pytest.raises(ModelError, match="not valid"):
        render("{% nonsense %}", Message("user", "Hi"))


def test_a_template_cannot_reach_python() -> None:
    with pytest.raises(ModelError, match="refuses"):
        render("{{ ''.__class__.__mro__[1].__subclasses__() }}", Message("user", "Hi"))


def test_training_marks_are_passed_through() -> None:
    assert render("{% generation %}{{ messages[0].content }}{% endgeneration %}", Message("user", "Hi"))[0] == "Hi"


@pytest.mark.parametrize(
    "how", ["", "(indent=2)", "(sort_keys=true)", "(ensure_ascii=true)", "(separators=(',', ':'))"]
)
def test_json_in_a_template_is_as_its_makers_expect_it(how: str) -> None:
    source = f"{{{{ {{'b': '<é & \\'>', 'a': [1, none]}} | tojson{how} }}}}{{{{ messages[0].content }}}}"
    assert render(source, USER)[0] == reference(source, [{"role": "user", "content": USER.content}], {})
    assert "<" in render(source, USER)[0]


def test_documents_are_none_as_for_the_makers_renderer() -> None:
    source = "{{ 'none' if documents is none }}{{ messages[0].content }}"
    assert render(source, USER)[0] == "none Hi "


def test_the_date_does_not_change_overnight() -> None:
    assert (
        render("{{ strftime_now('%d %b %Y') }}: {{ messages[0].content }}", Message("user", "Hi"))[0]
        == "01 Jan 2025: Hi"
    )


def test_nothing_in_a_template_is_left_to_chance() -> None:
    for source in ("{{ [1, 2]|random }}", "{{ lipsum(1) }}"):
        with pytest.raises(ModelError):
            render(source, Message("user", "Hi"))


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "more than 0.3 seconds"),
        ("{{ 'x' * 10**10 }}", "MB"),
        ("{% set n = namespace(x='xxxx') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "MB"),
        ("{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", "characters"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the parent's patience is the bound")
def test_a_template_that_computes_or_writes_without_end_is_given_up(
    source: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "SECONDS", 0.3 if "seconds" in complaint else 30.0)
    with pytest.raises(ModelError, match=complaint) as error:
        render(source, Message("system", "Be brief."), Message("user", "Hi"))
    assert "given up" in error.value.message
    assert render("{{ messages[0].content }}, still alive", Message("user", "Hi"))[0] == "Hi, still alive"


def test_bounds_are_lifted_after_the_block() -> None:
    before = signal.getsignal(signal.SIGVTALRM), resource.getrlimit(resource.RLIMIT_AS)
    with bounded(5.0, 512):
        assert (signal.getsignal(signal.SIGVTALRM), resource.getrlimit(resource.RLIMIT_AS)) != before
    assert (signal.getsignal(signal.SIGVTALRM), resource.getrlimit(resource.RLIMIT_AS)) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_long_message_is_no_reason_to_give_up() -> None:
    assert len(render(CHATML, Message("user", "中" * 2_000_000))[0]) > 2_000_000


def test_a_chat_of_hundreds_of_turns_takes_no_longer_than_its_length() -> None:
    turns = [USER, ANSWER] * 300
    began = time.process_time()
    text, _ = render(CHATML, *turns)
    assert time.process_time() - began < 5
    assert text.count(" Hi ") == 300


def test_control_tokens_of_one_character_and_inside_others_stay_text_in_messages() -> None:
    control = re.compile(r"<\|a\|>|a|~")
    for content in ("<|a|>", "a~a", "<|<|a|>a|>", "~", "\ue000~\ue000", "\ufdd0~\ufdd0"):
        text, spans = ChatTemplate("~{{ messages[0].content }}<|a|>", control, {}).render([Message("user", content)])
        assert [text[start:end] for start, end in spans] == ["~", "<|a|>"]
        assert text == "~" + content.replace("\ufdd0", "") + "<|a|>"


@given(
    st.lists(
        st.sampled_from(["<|im_end|>", "<|im_", "start|>", "{{ x }}", "{% if %}", "\ud800", "\x00", "\u202e", "中"])
    )
)
def test_whatever_a_message_holds_is_rendered_as_it_is(pieces: list[str]) -> None:
    content = "".join(pieces)
    text, controls = render(CHATML, Message("user", content))
    assert text == f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"
    assert controls == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]


@pytest.mark.parametrize("end", ["<think>", "<think>\n", "<think>\n\n"])
def test_thoughts_that_a_template_opens_are_closed_at_once(end: str) -> None:
    text, _ = render(f"{{% for m in messages %}}{{{{ m.content }}}}\n{{% endfor %}}{end}", Message("user", "<think>"))
    assert text == "<think>\n<think>\n\n</think>\n\n"
    text, _ = render("{{ messages[0].content }}" + end.replace("<think>", "[THINK]"), Message("user", "Hi"))
    assert text == "Hi[THINK]\n\n[/THINK]\n\n"
    assert render("{{ messages[0].content }} ", Message("user", "<think> a"))[0] == "<think> a "
