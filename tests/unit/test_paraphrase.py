from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import toy

from localprompt.errors import BudgetExhausted
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.tasks import Task
from localprompt.types import Prompt
from localprompt.variants.paraphrase import Paraphrase
from localprompt.variants.variant import Origin

TEXT = 'Say whether the number is odd or even, in 1 word, after "It is".'
GOOD = 'Answer in 1 word whether we have an odd or even number, after "It is".'


def knows(context: str, continuation: str) -> float:
    return -1.0 if "in other words:" in context else -9.0


def origin(
    answer: Callable[[str, int], str], text: str = TEXT, *, budget: Budget | None = None, labels: bool = True
) -> Origin:
    task: Task = replace(toy.task(labels=("odd", "even") if labels else ()), seeds=(Prompt(text),))
    return Origin(Prompt(text), task, toy.problem(ScriptedLM(answer=answer, logprob=knows), task, budget=budget))


def written(*texts: str, text: str = TEXT, most: int = 9) -> list[str]:
    given = origin(lambda prompt, seed: texts[seed % len(texts)], text)
    return [each.prompt.instruction for each in Paraphrase().variants(given, most)]


def reasons(reply: str, text: str = TEXT) -> set[str]:
    given = origin(lambda prompt, seed: reply, text)
    assert not Paraphrase().variants(given, 2)
    return set(given.problem.proposer.discards) - {"rejected before"}


def test_an_instruction_is_said_in_other_words() -> None:
    assert written(GOOD) == [GOOD]
    quoted = GOOD.replace("odd or even", "'odd' or “even”").replace('"It is"', "“It is,”")
    assert written(quoted) == [quoted]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("odd", "answer instead of an instruction"),
        (TEXT.upper(), "duplicate"),
        (GOOD.replace("odd", "uneven"), "lacks an output, number or quotation"),
        (GOOD.replace("odd", "oddish"), "lacks an output, number or quotation"),
        (GOOD.replace("1", "one"), "lacks an output, number or quotation"),
        (GOOD.replace("It is", "It was"), "lacks an output, number or quotation"),
        ('1 word, odd or even: "It is".', "not the length of the instruction"),
        (f"{GOOD} {'And be good about it. ' * 4}", "not the length of the instruction"),
        (GOOD.replace("1 word", "1 word of 11"), "adds a number or quotation"),
        (GOOD.replace("number", '"whole" number'), "adds a number or quotation"),
        (GOOD.replace("number", "<number>"), "placeholder"),
        (GOOD.replace("number", "number [here]"), "adds a number or quotation"),
        (GOOD.replace("number", "число"), "in another script"),
        ("Sorry, I cannot do that.", "speaks to the user"),
        (GOOD.replace("number", "alpha3, omega3 number"), "adds a number or quotation"),
    ],
)
def test_what_does_not_say_the_same_is_discarded_and_counted(reply: str, reason: str) -> None:
    assert reason in reasons(reply)


def test_an_output_that_the_instruction_does_not_name_is_not_added() -> None:
    assert reasons("Tell me whether this is even.", "Say of which parity this is.") == {"names another output"}


def test_an_output_that_prose_has_in_another_case_need_not_stay_there() -> None:
    text = "Say odd or even, if the number is one of the Odd numbers or not."
    assert written("Is the number odd or even? Tell me which of them it is.", text=text)


def test_a_question_is_not_told_and_what_is_told_is_no_question() -> None:
    asked, told = "What planet are they talking about?", "Tell us of which planet they talk."
    assert written(asked, told, text="Name the planet that is meant.") == [told]
    assert written(asked, told, text="Which planet is meant?") == [asked]
    assert reasons("教えてください、どの惑星のことか。", "どの惑星のことですか？") == {
        "tells where the instruction asks"
    }


def test_another_language_is_discarded() -> None:
    spanish = "Escribe una palabra corta que rime bien con la palabra dada."
    assert reasons("Write a short word which rhymes with the word given.", spanish) == {"in another language"}


def test_what_leaves_a_sentence_out_is_discarded() -> None:
    text = "Say what the text is about. Add nothing to that."
    whole, part = "Tell us the topic of the text and nothing else.", "Tell us the topic of the text, please do."

    def logprob(context: str, continuation: str) -> float:
        is_left_out = part in context and continuation.strip() == "Add nothing to that."
        return -8.3 if is_left_out else knows(context, continuation)

    lm = ScriptedLM(answer=lambda prompt, seed: (whole, part)[seed % 2], logprob=logprob)
    given = Origin(Prompt(text), toy.task(), toy.problem(lm))
    assert [each.prompt.instruction for each in Paraphrase().variants(given, 9)] == [whole]
    assert given.problem.proposer.discards["leaves a sentence out"] == 1
    assert f"An instruction: {part}\n\nThe same instruction in other words: {text}" in lm.seen


def test_what_the_instruction_does_not_account_for_is_something_else() -> None:
    text = "Say what the text is about."
    same, other = "Tell us the topic of the text.", "Tell us the length of the text."

    def logprob(context: str, continuation: str) -> float:
        nats = knows(context, continuation)
        return nats - 2.0 if "length" in continuation and nats == -1.0 else nats

    lm = ScriptedLM(answer=lambda prompt, seed: (same, other)[seed % 2], logprob=logprob)
    given = Origin(Prompt(text), toy.task(), toy.problem(lm))
    assert [each.prompt.instruction for each in Paraphrase().variants(given, 9)] == [same]
    assert given.problem.proposer.discards["says something else"] == 1


def test_each_wording_stands_there_once() -> None:
    other = 'We want 1 word after "It is": whether this number is odd or even.'
    assert sorted(written(GOOD, other, f"{GOOD} ")) == sorted([GOOD, other])


def test_the_number_of_requests_is_bounded() -> None:
    lm = ScriptedLM(answer=lambda prompt, seed: "")
    given = Origin(Prompt(TEXT), toy.task(), toy.problem(lm))
    assert not Paraphrase().variants(given, 100)
    assert lm.n_generated <= 48


def test_what_was_asked_before_changes_nothing() -> None:
    def answer(prompt: str, seed: int) -> str:
        return f'Give 1 word, odd or even, of number {"x" * random.Random(seed).randrange(30)}, after "It is".'

    given = origin(answer)
    first = Paraphrase().variants(given, 3)
    given.problem.proposer.complete(["something else"], toy.task().sampling)
    assert len(first) == 3
    assert Paraphrase().variants(given, 3) == first
    assert Paraphrase().variants(replace(given, seed=1), 3) != first


def test_an_empty_instruction_and_no_variants_ask_nothing() -> None:
    lm = ScriptedLM()
    problem = toy.problem(lm)
    assert not Paraphrase().variants(Origin(Prompt(" \n"), toy.task(), problem), 3)
    assert not Paraphrase().variants(Origin(Prompt(TEXT), toy.task(), problem), 0)
    assert not lm.n_generated


def test_an_instruction_without_room_in_the_context_has_none() -> None:
    assert not Paraphrase().variants(origin(lambda prompt, seed: GOOD, "word " * 5_000), 3)


def test_an_exhausted_budget_is_told() -> None:
    with pytest.raises(BudgetExhausted):
        Paraphrase().variants(origin(lambda prompt, seed: GOOD, budget=Budget(max_tokens=5)), 3)
