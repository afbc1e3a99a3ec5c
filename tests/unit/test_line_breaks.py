"""Line breaks and indentation of examples reach the proposer, whatever the method."""

from __future__ import annotations

import re
import string
from dataclasses import replace

import pytest
import toy

from localprompt.optimizers import configure
from localprompt.tasks import Layout, Task
from localprompt.types import Demo, Prompt

BODY = "\n    if it is:\n        say `omega`\n\n    else 0"
SAID = "I think:\n\t- omega\n\t- not omega"
FEW = {
    "ape": {"queries": "2", "per_query": "2", "resample_rounds": "1"},
    "opro": {"steps": "2", "score_examples": "4"},
    "pe2": {"steps": "2", "init": "induce", "init_prompts": "2", "backtrack": "false"},
    "protegi": {"rounds": "1", "init": "induce", "init_prompts": "2", "minibatch": "8"},
    "random": {"proposals": "8"},
}


def _task(*seeds: Prompt) -> Task:
    given = toy.task()
    train = tuple(
        replace(each, inputs={"input": each.inputs["input"] + BODY}, targets=(f"{each.targets[0]}\n    done",))
        for each in given.train
    )
    answer = replace(given, train=train, seeds=seeds or (Prompt("Say it."), Prompt("")), answer=lambda text: text)
    return replace(answer, sampling=replace(given.sampling, stop=()))


def _answer(prompt: str, seed: int) -> str:
    words = ("sing", "count", "draw", "whisper", "shout", "paint", "spell", "praise", "mend", "hum")
    written = f"{words[seed % 10]} and {words[seed // 10 % 10]} it {words[seed // 100 % 10]}ing."
    if prompt.endswith("Example 1:"):
        return " It should sing."
    return f"{written}</INS></instruction>" if toy.is_asked_to_write(prompt) else SAID


def _asked(
    method: str,
    preset: str = "local",
    given: Task | None = None,
    *,
    n_ctx: int = 20_000,
    has_chat: bool = True,
    **settings: str,
) -> list[str]:
    """Return every request to the proposer."""
    asked: list[str] = []

    def answer(prompt: str, seed: int) -> str:
        if toy.is_asked_to_write(prompt):
            asked.append(prompt)
        return _answer(prompt, seed)

    lm = toy.model(answer=answer, has_chat=has_chat)
    lm.n_ctx = n_ctx
    optimizer = configure(method, {**FEW[method], **settings}, preset if method != "random" else "local")
    optimizer.run(toy.problem(lm, given or _task()))
    return asked


@pytest.mark.parametrize("has_chat", [True, False])
@pytest.mark.parametrize("preset", ["local", "paper"])
@pytest.mark.parametrize("method", FEW)
def test_a_method_shows_the_lines_of_examples_and_answers_as_they_are(method: str, preset: str, has_chat: bool) -> None:
    asked = _asked(method, preset, has_chat=has_chat)
    showing = [text for text in asked if re.search(r"alpha\d+", text)]
    assert showing
    for text in showing:
        numbers = re.findall(r"alpha(\d+)", text)
        assert len(re.findall(r"alpha\d+" + re.escape(BODY), text)) == len(numbers)
        assert all(f"```\nomega{number}\n    done\n```" in text for number in numbers)
        assert text.count("I think:") == text.count(f"```\n{SAID}\n```")
    if method in ("pe2", "protegi"):
        assert any(SAID in text for text in asked)


@pytest.mark.parametrize(
    ("method", "n_ctx"), [("ape", 230), ("opro", 1270), ("pe2", 2000), ("protegi", 1270), ("random", 240)]
)
def test_lines_are_left_out_in_the_middle_where_the_context_is_small_and_the_frame_stays(
    method: str, n_ctx: int
) -> None:
    given = _task()
    long = "".join(f"\n    step {first}{second}" for first in "ABC" for second in string.ascii_uppercase)
    train = tuple(replace(each, inputs={"input": each.inputs["input"].replace(BODY, long)}) for each in given.train)
    asked = _asked(method, "paper", replace(given, train=train), n_ctx=n_ctx)
    step = r"(?:\n    step [A-Z]{2})*"
    cut = re.compile(rf"alpha\d+{step}\n\.\.\.{step}\n    step CZ\n")
    shortened = [text for text in asked if "\n...\n" in text]
    assert shortened
    for text in shortened:
        assert len(cut.findall(text)) == len(re.findall(r"alpha\d+\n", text))
        assert text.count("\n```") % 2 == 0


def test_exemplars_of_opro_stand_in_the_layout_as_the_model_sees_them() -> None:
    layout = Layout("{{instruction}}\n\n{{demos}}Code:\n{{input}}\n\nOutput:", "")
    asked = _asked("opro", "paper", replace(_task(), layout=layout))
    assert re.search(rf"\n\n<INS>\n\nCode:\nalpha\d+{re.escape(BODY)}\n\nOutput:\nRight answer:\n```\n", asked[0])


def test_worked_examples_of_a_prompt_are_shown_with_their_lines_and_the_layout_in_a_longer_fence() -> None:
    demos = (Demo({"input": f"alpha900{BODY}"}, "a\n```\nb"),)
    given = replace(_task(Prompt("Say it.", demos)), layout=toy.SHOWING)
    asked = _asked("pe2", given=given, init="seeds")
    shown = f"````\nSay it.\n\nInput: alpha900{BODY}\nOutput: a\n```\nb\n\nInput: <input>\nOutput:\n````\n"
    assert any(shown in text for text in asked)


def test_an_answer_right_in_part_and_several_right_ones_keep_their_lines() -> None:
    given = _task(Prompt("Say it."))
    train = tuple(replace(each, targets=("no", "omega\n  far", "yes")) for each in given.train)
    given = replace(given, train=train, metric=lambda found, targets: 0.5)
    asked = [text for text in _asked("pe2", given=given) if text.endswith("Example 1:")]
    assert (
        f"\nModel's answer: (right in part)\n```\n{SAID}\n```\nRight answer: no\nor\n```\nomega\n  far\n```\nor yes\n"
        in asked[0]
    )


def test_a_closed_set_of_outputs_with_lines_is_listed_in_one() -> None:
    given = _task()
    train = tuple(replace(each, targets=(("up\n  left", "down")[i % 2],)) for i, each in enumerate(given.train))
    for method in FEW:
        asked = _asked(method, given=replace(given, train=train))
        assert any('is one of these: down, "up\\n  left".\n' in text for text in asked) or any(
            'is always one of these: down, "up\\n  left".\n' in text for text in asked
        )


@pytest.mark.parametrize("has_chat", [True, False])
@pytest.mark.parametrize("method", ["ape", "random", "protegi"])
def test_an_instruction_with_lines_is_shown_with_them_and_may_become_one_with_lines(
    method: str, has_chat: bool
) -> None:
    old = "Answer with a letter:\n  A) for yes\n  B) for no"
    new = "Reply with one letter,\n  A) where it is so\n  B) where it is not"
    seen: list[str] = []
    given = replace(_task(Prompt(old)), metric=lambda found, targets: 0.5 * (found == "B"))

    def answer(prompt: str, seed: int) -> str:
        if prompt.endswith(
            ("In other words:", "Another wording:", "Second way:", "Wording B:", "The same in other words:")
        ):
            seen.append(prompt)
            return f" {new}\n\nAnd so on."
        if prompt.startswith(old):
            return "B"
        return _answer(prompt, seed)

    lm = toy.model(answer=answer, has_chat=has_chat)
    problem = toy.problem(lm, given)
    configure(method, FEW[method] | ({"init": "seeds"} if method == "protegi" else {})).run(problem)
    assert any(old in text for text in seen)
    assert Prompt(new) in [candidate.prompt for candidate in problem.ranking.candidates]
