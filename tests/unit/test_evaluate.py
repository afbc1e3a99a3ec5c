"""Prompts on examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import toy

from localprompt.errors import BudgetExhausted, ContextOverflow
from localprompt.lm.budget import Budget
from localprompt.lm.scripted import ScriptedLM
from localprompt.search.evaluator import CONTENT_FREE, Evaluator
from localprompt.tasks import Task
from localprompt.types import Demo, Example, Loglikelihood, Outcome, Prompt

BEST, EMPTY = Prompt(toy.BEST), Prompt("")


def _labelled(label_score: str, labels: tuple[str, ...], lm: ScriptedLM, *examples: Example) -> tuple[Outcome, ...]:
    given = toy.task(labels=labels, label_score=label_score)
    (evaluation,) = Evaluator(lm, given, Budget()).evaluate([EMPTY], examples)
    return evaluation.outcomes


def test_generated_answers_are_judged_by_the_metric_in_the_order_of_prompts_and_examples() -> None:
    given = toy.task()
    examples = given.dev[:3]
    lm = toy.model()
    best, empty = Evaluator(lm, given, Budget()).evaluate([BEST, EMPTY], examples)
    assert (best.prompt, empty.prompt) == (BEST, EMPTY)
    assert best.scores == (1.0, 1.0, 1.0)
    assert empty.scores == (0.0, 0.0, 0.0)
    assert [outcome.example_id for outcome in best.outcomes] == [example.id for example in examples]
    assert best.outcomes[0].prediction == examples[0].targets[0]
    assert lm.stats.decode_calls == 1


def test_a_short_label_of_many_tokens_that_does_not_fit_is_a_failure_and_ends_nothing() -> None:
    class Strict(ScriptedLM):
        def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
            assert max(self.count_tokens([context + label for context, label in pairs])) <= self.n_ctx
            return super().loglikelihood(pairs)

    given = toy.task(labels=("incomprehensible", "a b c d"))
    lm = Strict()
    context = given.layout.render(EMPTY, given.dev[0].inputs).text
    lm.n_ctx = lm.count_tokens([context])[0] + 3
    evaluator = Evaluator(lm, given, Budget())
    (evaluation,) = evaluator.evaluate([EMPTY], given.dev[:1])
    assert evaluation.outcomes[0].failed
    assert evaluator.overflowed(evaluation)
    lm.n_ctx += 1
    assert not Evaluator(lm, given, Budget()).evaluate([EMPTY], given.dev[:1])[0].outcomes[0].failed


def test_nothing_is_evaluated_twice() -> None:
    given = toy.task()
    lm = toy.model()
    evaluator = Evaluator(lm, given, Budget(max_calls=8))
    first = evaluator.evaluate([BEST, EMPTY, BEST], given.dev[:3])
    again = evaluator.evaluate([EMPTY, BEST], given.dev[:4])
    assert lm.n_generated == 8
    assert again[1].outcomes[:3] == first[0].outcomes == first[2].outcomes


@pytest.mark.parametrize("label_score", ["sum", "contextual"])
def test_the_work_of_labels_is_what_is_charged_and_takes_a_text_for_each_context(label_score: str) -> None:
    class Counting(ScriptedLM):
        def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
            counts.append(len(texts))
            return super().tokenize(texts)

    counts, budget = list[int](), Budget()
    labels = ("even", "odd", "evenly", "neither", "even or odd")
    task = toy.task(dev=10, labels=labels, label_score=label_score)
    evaluator = Evaluator(Counting(answer=toy.answer, logprob=lambda *_: -1.0), task, budget)
    prompts = [Prompt("Even or odd?"), Prompt("Which?")]
    work = evaluator.work(prompts, task.dev)
    assert sum(counts) <= len(prompts) * (len(task.dev) + len(CONTENT_FREE)) + len(labels) + 1
    evaluator.evaluate(prompts, task.dev)
    assert (work.read, work.n) == (budget.spend.tokens_computed, 0)


def test_an_exhausted_budget_refuses_before_anything_is_computed() -> None:
    given = toy.task()
    lm = toy.model()
    evaluator = Evaluator(lm, given, Budget(max_calls=5))
    with pytest.raises(BudgetExhausted):
        evaluator.evaluate([BEST, EMPTY], given.dev[:3])
    assert lm.seen == []


def test_no_prompts_give_no_evaluations_and_no_examples_are_refused() -> None:
    given = toy.task()
    evaluator = Evaluator(toy.model(), given, Budget())
    assert evaluator.evaluate([], given.dev) == []
    with pytest.raises(ValueError, match="at least one example"):
        evaluator.evaluate([BEST], [])


def test_an_example_that_does_not_fit_is_named_and_nothing_is_charged() -> None:
    given = toy.task()
    lm = toy.model()
    budget = Budget()
    evaluator = Evaluator(lm, given, budget)
    n_prompt = len(lm.tokenize([given.layout.render(BEST, given.dev[0].inputs).text])[0])
    lm.n_ctx = n_prompt + given.sampling.max_tokens
    evaluator.check_fit(BEST, given.dev)
    with pytest.raises(
        ContextOverflow, match=rf"dev:20 has {n_prompt} tokens .* 8 to generate, and 1 are reserved"
    ) as error:
        evaluator.check_fit(BEST, given.dev, room=1)
    assert "--engine n_ctx=" in error.value.hint
    long = replace(given.dev[1], inputs={"input": "alpha one"})
    with pytest.raises(ContextOverflow, match=f"{long.id} has {n_prompt + 1} tokens"):
        evaluator.check_fit(BEST, [given.dev[0], long])
    assert (budget.spend.calls, lm.seen) == (0, [])


def test_an_example_must_fit_with_the_longest_label() -> None:
    given = toy.task(labels=("no", "yes it is"))
    lm = toy.model()
    lm.n_ctx = len(lm.tokenize([given.layout.render(BEST, given.dev[0].inputs).text])[0]) + 3
    Evaluator(lm, given, Budget()).check_fit(BEST, given.dev)
    lm.n_ctx -= 1
    with pytest.raises(ContextOverflow, match="with its longest label, but the context has"):
        Evaluator(lm, given, Budget()).check_fit(BEST, given.dev)


def test_an_answer_that_cannot_be_parsed_is_data() -> None:
    given = replace(toy.task(), answer=lambda text: None)
    (evaluation,) = Evaluator(toy.model(), given, Budget()).evaluate([BEST], given.dev[:2])
    assert [(outcome.prediction, outcome.score) for outcome in evaluation.outcomes] == [(None, 0.0)] * 2


@pytest.mark.parametrize(
    ("label_score", "chosen"), [("sum", "no"), ("token", "yes it is"), ("byte", "yes it is"), ("prefix", "yes it is")]
)
def test_labels_compete_by_their_normalised_likelihood(label_score: str, chosen: str) -> None:
    logprobs = {" no": -2.0, " yes it is": -3.0, " yes": -1.5}
    lm = ScriptedLM(logprob=lambda context, continuation: logprobs[continuation])
    (outcome,) = _labelled(label_score, ("no", "yes it is"), lm, Example("dev:0", {"input": "x"}, ("no",)))
    assert outcome.prediction == chosen
    assert outcome.score == float(chosen == "no")


def test_the_margin_is_nats_between_the_best_right_and_the_best_wrong_label() -> None:
    logprobs = {" a": -1.0, " b": -2.5, " c": -4.0}
    lm = ScriptedLM(logprob=lambda context, continuation: logprobs[continuation])
    right, both, wrong = _labelled(
        "sum",
        ("a", "b", "c"),
        lm,
        Example("dev:0", {"input": "x"}, ("a",)),
        Example("dev:1", {"input": "x"}, ("c", "b")),
        Example("dev:2", {"input": "x"}, ("c",)),
    )
    assert [right.margin, both.margin, wrong.margin] == [1.5, -1.5, -3.0]


def test_calibration_takes_away_what_a_label_gets_for_nothing() -> None:
    def biased(context: str, continuation: str) -> float:
        evidence = 0.7 if "alpha9" in context and continuation == " no" else 0.5
        return math.log(evidence * (0.8 if continuation == " yes" else 0.2))

    example = Example("dev:0", {"input": "alpha9"}, ("no",))
    (plain,) = _labelled("sum", ("yes", "no"), ScriptedLM(logprob=biased), example)
    lm = ScriptedLM(logprob=biased)
    (calibrated,) = _labelled("calibrated", ("yes", "no"), lm, example)
    assert (plain.prediction, calibrated.prediction) == ("yes", "no")
    assert calibrated.margin == pytest.approx(math.log(0.7 / 0.5))
    assert lm.n_scored == 2 * (3 + 1)


def test_calibration_is_measured_once_a_prompt() -> None:
    given = toy.task(labels=("yes", "no"), label_score="calibrated")
    lm = ScriptedLM()
    evaluator = Evaluator(lm, given, Budget())
    evaluator.evaluate([EMPTY], given.dev[:2])
    evaluator.evaluate([EMPTY, BEST], given.dev[:3])
    assert lm.n_scored == 2 * (2 * 3 + 2 * 3)


def test_calibrated_labels_that_do_not_fit_the_budget_have_no_prior_measured() -> None:
    given = toy.task(labels=("yes", "no"), label_score="calibrated")
    lm, budget = ScriptedLM(), Budget(max_calls=3 + 1)
    evaluator = Evaluator(lm, given, budget)
    with pytest.raises(BudgetExhausted):
        evaluator.evaluate([EMPTY], given.dev[:2])
    assert (lm.seen, budget.spend.calls) == ([], 0)
    evaluator.evaluate([EMPTY], given.dev[:1])
    assert budget.spend.calls == 4


def _biased(context: str, continuation: str) -> float:
    """Says yes to everything, a little less to the odd; to what says nothing it says no."""
    if "alpha" not in context:
        return math.log(0.9 if continuation == " no" else 0.1)
    is_odd = int(context.rpartition("alpha")[2].split()[0]) % 2
    return math.log({" yes": 0.8, " no": 0.2}[continuation] * (1.5 if is_odd == (continuation == " no") else 1.0))


def test_batch_calibration_takes_away_what_a_label_gets_on_real_rows() -> None:
    given = toy.task(train=20, labels=("yes", "no"), label_score="batch")  # even, odd
    lm = ScriptedLM(logprob=_biased)
    (evaluation,) = Evaluator(lm, given, Budget()).evaluate([EMPTY], given.dev)
    assert evaluation.mean == 1.0
    assert Evaluator(lm, replace(given, label_score="sum"), Budget()).evaluate([EMPTY], given.dev)[0].mean == 0.5
    # Of each label 8 rows: normalised, yes has 0.8 on even ones and 0.8 / 1.1 on odd ones.
    prior = {"yes": (1.2 / 1.4 + 0.8 / 1.1) / 2, "no": (0.2 / 1.4 + 0.3 / 1.1) / 2}
    assert evaluation.outcomes[0].margin == pytest.approx(math.log(1.2 / 0.2) - math.log(prior["yes"] / prior["no"]))


def test_the_rows_of_batch_calibration_are_fixed_and_do_not_stand_in_the_prompt() -> None:
    given = replace(toy.task(train=40, labels=("yes", "no"), label_score="batch"), layout=toy.SHOWING)
    lm = toy.Watched(logprob=_biased)
    evaluator = Evaluator(lm, given, Budget())
    shown = Prompt("", tuple(Demo(row.inputs, row.targets[0]) for row in given.train[:3]))
    asked = []
    for prompt in (EMPTY, shown):
        evaluator.evaluate([prompt], given.dev[:1])
        asked.append([context.rpartition("alpha")[2].split()[0] for context, _ in lm.scored[-1][: 2 * 16 : 2]])
    assert asked == [[str(n) for n in range(16)], [str(n) for n in range(3, 19)]]
    before = lm.n_scored
    evaluator.evaluate([EMPTY, shown], given.dev[1:3])
    assert lm.n_scored == before + 2 * 2 * 2  # no prior is measured again


def test_batch_calibration_takes_dev_after_train_and_at_last_what_says_nothing() -> None:
    def asked(given: Task) -> list[str]:
        lm = toy.Watched(logprob=lambda context, continuation: -1.0)
        Evaluator(lm, given, Budget()).evaluate([EMPTY], given.test[:1])
        return list(dict.fromkeys(context for context, _ in lm.scored[0][: -len(given.labels)]))

    given = toy.task(train=4, dev=4, labels=("yes", "no"), label_score="batch")
    assert len(asked(given)) == 8
    assert len(asked(replace(given, train=(), dev=()))) == len(CONTENT_FREE)
    many = toy.task(train=40, labels=tuple(f"label{n}" for n in range(30)), label_score="batch")
    assert len(asked(many)) == 30
    for targets in ((), ("",)):  # of a task in Python, and of a file whose answers are not read
        unlabelled = replace(given, train=tuple(replace(row, targets=targets) for row in toy.task(train=40).train))
        assert len(asked(unlabelled)) == 16


@pytest.mark.parametrize(("norm", "expected"), [("token", -2.0), ("sequence", -6.0)])
def test_the_likelihood_is_that_of_the_preferred_target(norm: str, expected: float) -> None:
    given = toy.task()
    lm = ScriptedLM(logprob=lambda context, continuation: -6.0 if continuation == " one two three" else -0.1)
    example = Example("dev:0", {"input": "x"}, ("one two three", "other"))
    (evaluation,) = Evaluator(lm, given, Budget()).likelihood([EMPTY], [example], norm=norm)  # type: ignore[arg-type]
    assert evaluation.mean == expected
    assert evaluation.outcomes[0].prediction is None


def test_a_likelihood_is_not_taken_for_a_score() -> None:
    given = toy.task()
    evaluator = Evaluator(toy.model(), given, Budget())
    evaluator.likelihood([BEST], given.dev[:2], norm="token")
    (evaluation,) = evaluator.evaluate([BEST], given.dev[:2])
    assert evaluation.mean == 1.0


def test_a_chat_layout_goes_through_the_chat_template() -> None:
    given: Task = toy.task()
    given = replace(given, layout=replace(given.layout, mode="chat", opening="The answer is"))
    lm = toy.model(answer=lambda prompt, seed: "x")
    Evaluator(lm, given, Budget()).evaluate([BEST], given.dev[:1])
    assert lm.seen[0].startswith("[user] Turn every alpha")
    assert lm.seen[0].endswith("[assistant] The answer is")


@pytest.mark.parametrize("labels", [(), ("yes", "no")])
def test_an_example_that_a_prompt_leaves_no_room_for_fails_alone(labels: tuple[str, ...]) -> None:
    given = toy.task(labels=labels)
    long = replace(given.dev[1], inputs={"input": "alpha21 " * 60})
    lm = toy.model()
    lm.n_ctx = 100
    evaluator = Evaluator(lm, given, Budget())
    wordy = Prompt(f"{toy.BEST} Please. {'Word. ' * 50}")
    short, longer = evaluator.evaluate([BEST, wordy], [given.dev[0], long])
    assert [outcome.failed for outcome in (*short.outcomes, *longer.outcomes)] == [False, False, False, True]
    assert (longer.outcomes[1].prediction, longer.outcomes[1].score) == (None, 0.0)
    assert (evaluator.overflowed(short), evaluator.overflowed(longer)) == (False, True)
    assert (evaluator.fits(wordy, given.dev[0]), evaluator.fits(wordy, long)) == (True, False)
    assert all(lm.count_tokens([text])[0] <= 100 for text in lm.seen)
    (likely, unlikely) = evaluator.likelihood([wordy], [given.dev[0], long], norm="token")[0].outcomes
    assert likely.score > unlikely.score
    assert unlikely.failed


def test_what_has_few_enough_bytes_is_not_counted() -> None:
    class Uncounting(ScriptedLM):
        def count_tokens(self, texts: Sequence[str]) -> list[int]:
            raise AssertionError("counted")

    given = toy.task()
    Evaluator(Uncounting(answer=toy.answer), given, Budget()).evaluate([BEST], given.dev)


def test_an_outcome_keeps_what_the_model_wrote_beside_the_answer_taken_out_of_it() -> None:
    given = replace(toy.task(), answer=lambda text: text.split()[-1] if "so" in text else None)
    lm = toy.model(answer=lambda prompt, seed: " a reason, so omega1" if "1" in prompt else " nothing ")
    (evaluation,) = Evaluator(lm, given, Budget()).evaluate([Prompt("x")], given.dev)
    answered = [outcome for outcome in evaluation.outcomes if outcome.prediction == "omega1"]
    assert {outcome.written for outcome in answered} == {"a reason, so omega1"}
    others = [outcome for outcome in evaluation.outcomes if outcome.prediction is None]
    assert {outcome.written for outcome in others} == {"nothing"}
