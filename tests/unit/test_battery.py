"""Sensitivity on scripted models whose answers are known: what they depend on is what is found."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.battery.results import Sensitivity
from localprompt.errors import ConfigError, ModelError, TaskError
from localprompt.lm.asked import AskedModel
from localprompt.lm.base import ModelFacts
from localprompt.lm.scripted import ScriptedLM
from localprompt.stats.ranks import kendall_tau
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.types import Demo, Example, Generation, Loglikelihood, Prompt
from localprompt.variants.variant import Origin, Variant

LABELS = ("even", "odd")
MODEL_FREE = ("surface", "format", "spelling", "deletion")
PROMPT = "Say whether the number is even or odd, please."


def _task(prompt: str = PROMPT, test: int = 40) -> Task:
    task = toy.task(labels=LABELS, test=test)
    return replace(task, seeds=(Prompt(prompt),), layout=toy.SHOWING)


def _number(context: str) -> int:
    """Return the number of the last `alpha` of a text, in whatever case; 0 without one."""
    return int((re.findall(r"lpha(\d+)", context, re.IGNORECASE) or ["0"])[-1])


def _right(context: str) -> str:
    return LABELS[_number(context) % 2]


def _blind(context: str, continuation: str) -> float:
    """Knows the answer to two rows of three, whatever the prompt says."""
    knows = _number(context) % 3 > 0 and continuation.strip().lower() == _right(context)
    return -0.2 if knows else -1.0 - 0.001 * len(continuation)


def _needs_a_word(context: str, continuation: str) -> float:
    """Knows the answer only where the prompt says `number`."""
    instruction = context.lower().rpartition("lpha")[0]
    knows = "number" in instruction and continuation.strip().lower() == _right(context)
    return -0.2 if knows else -1.0 - 0.001 * len(continuation)


def _sensitivity(lm: ScriptedLM, task: Task | None = None, **options: object) -> Sensitivity:
    options = {"size": "quick", "families": MODEL_FREE, **options}
    return localprompt.sensitivity(task or _task(), [lm], **options)  # type: ignore[arg-type]


def test_a_model_that_ignores_wording_has_nothing_in_any_measure() -> None:
    found = _sensitivity(ScriptedLM(logprob=_blind, name="blind"))
    for measures in (*found.models[0].scorers[0].families, found.models[0].overall):
        assert measures.spread is not None
        assert measures.spread.value == measures.spread.by_chance.quantile == 0
        assert measures.flip_rate is not None
        assert measures.flip_rate.mean == 0
        assert measures.consistency is not None
        assert measures.consistency.mean == 1
        assert measures.prompt_sensi_score is not None
        assert measures.prompt_sensi_score.mean == 0
        assert measures.performance_drop is not None
        assert measures.performance_drop.value == 0
        assert measures.posix is not None
        assert measures.posix.value == 0
    assert all(each.flips is not None and each.flips.mean == 0 for each in found.models[0].words)
    assert all(each.label_shift == 0 for each in found.models[0].own.variants)
    assert found.models[0].noise is not None
    assert found.models[0].noise.band == found.models[0].noise.changed == 0
    assert found.verdict.startswith("The wording moves the score by nothing")
    assert "No word of the prompt matters" in found.verdict


def test_the_word_that_a_model_depends_on_is_on_top() -> None:
    found = _sensitivity(ScriptedLM(logprob=_needs_a_word, name="needs"), size="standard", scorers=())
    model = found.models[0]
    most = max(model.words, key=lambda each: each.flips.mean if each.flips else 0.0)
    assert "number" in most.text
    assert most.nats is not None
    assert most.nats.high is not None
    assert most.nats.high < 0
    others = [each for each in model.words if "number" not in each.text]
    assert others
    assert all(each.flips is not None and each.flips.mean == 0 for each in others)
    assert "number' matters most" in found.verdict
    assert model.overall.spread is not None
    assert model.overall.spread.by_chance.p < 0.05


def test_a_label_prior_is_named_and_what_calibration_takes_away_is_said() -> None:
    def logprob(context: str, continuation: str) -> float:
        """Without a full stop at its end the prompt makes one label more probable, and nothing else."""
        prior = 3.0 if "please.\n" not in context and continuation.strip() == "odd" else 0.0
        is_right = "lpha" in context and continuation.strip() == _right(context)
        return prior + (-0.5 if is_right else -2.0)

    found = _sensitivity(ScriptedLM(logprob=logprob, name="prior"), families=("surface",), scorers=("calibrated",))
    assert "the model answers 'odd' for 100 % of the rows, as it is for 50 %" in found.verdict
    assert "Calibration removes 100 % of it" in found.verdict


def test_scores_and_answers_are_those_of_the_variants_in_the_order_of_the_rows() -> None:
    found = _sensitivity(ScriptedLM(logprob=_needs_a_word, name="needs"))
    own = found.models[0].own
    assert [each.variant for each in own.variants] == list(range(len(found.variants)))
    assert {len(scores) for scores in own.scores} == {len(found.rows)} == {40}
    for text, scores, variant in zip(found.variants, own.scores, own.variants, strict=True):
        assert variant.score is not None
        assert math.isclose(variant.score.mean, sum(scores) / 40)
        assert (variant.score.mean == 1) == ("number" in text.shown.lower().partition("alpha")[0].partition("<")[0])


def test_called_again_nothing_is_asked_again_and_all_is_the_same(tmp_path: Path) -> None:
    asked = []

    def logprob(context: str, continuation: str) -> float:
        asked.append(context)
        return _needs_a_word(context, continuation)

    lm = ScriptedLM(logprob=logprob, name="needs")
    store = tmp_path / "s.sqlite"
    first = _sensitivity(lm, store=store)
    n = len(asked)
    second = _sensitivity(lm, store=store)
    assert len(asked) == n
    assert replace(second.models[0], spend=first.models[0].spend) == first.models[0]
    assert (second.id, second.verdict, second.variants) == (first.id, first.verdict, first.variants)
    with Store(store) as opened:
        (study,) = opened.studies.all("sensitivity")
        assert study.status == "finished"
        assert study.result is not None
        assert Sensitivity.read(json.loads(json.dumps(study.result))) == second


@pytest.mark.parametrize("dies_after", [1, 200, 900, 1100])
def test_killed_at_any_moment_and_called_again_it_ends_as_undisturbed(tmp_path: Path, dies_after: int) -> None:
    undisturbed = _sensitivity(ScriptedLM(logprob=_needs_a_word, name="needs"), store=tmp_path / "a.sqlite")
    asked = dict.fromkeys(("n", "after"), 0)

    def logprob(context: str, continuation: str) -> float:
        asked["n"] += 1
        if asked["n"] == dies_after:
            raise KeyboardInterrupt
        return _needs_a_word(context, continuation)

    lm, store = ScriptedLM(logprob=logprob, name="needs"), tmp_path / "b.sqlite"
    with pytest.raises(KeyboardInterrupt):
        _sensitivity(lm, store=store)
    with Store(store) as opened:
        assert [study.status for study in opened.studies.all("sensitivity")] == ["paused"]
    found = _sensitivity(lm, store=store)
    assert replace(found.models[0], spend=undisturbed.models[0].spend) == undisturbed.models[0]


def test_several_models_are_asked_the_same_variants() -> None:
    lms = [ScriptedLM(logprob=f, name=name) for f, name in ((_blind, "blind"), (_needs_a_word, "needs"))]
    found = localprompt.sensitivity(_task(), lms, size="quick", families=MODEL_FREE)
    assert [model.fingerprint for model in found.models] == ["scripted-blind", "scripted-needs"]
    assert [each.variant for each in found.models[0].own.variants] == [
        each.variant for each in found.models[1].own.variants
    ]
    assert found.variance is not None
    assert found.rank_agreement[0].tau is None  # one model has no ranks


def test_without_right_answers_there_are_flips_and_no_scores() -> None:
    found = _sensitivity(ScriptedLM(logprob=_needs_a_word, name="needs"), unlabelled=True)
    overall = found.models[0].overall
    assert overall.spread is None
    assert overall.flip_rate is not None
    assert overall.flip_rate.mean > 0
    assert overall.entropy is not None
    assert overall.posix is not None
    assert found.models[0].own.scores == ()
    assert "changes" in found.verdict


def test_rows_without_answers_are_read_where_none_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"input": f"alpha{n}"}) for n in range(20)))
    keys = "labels: [even, odd]\nprompts: [Even or odd please]\n"
    (tmp_path / "task.yaml").write_text(f"data: {{file: rows.jsonl}}\n{keys}")
    lm = ScriptedLM(logprob=_needs_a_word, name="needs")
    with pytest.raises(TaskError, match="target"):
        localprompt.sensitivity(tmp_path / "task.yaml", [lm], size="quick")
    found = localprompt.sensitivity(tmp_path / "task.yaml", [lm], size="quick", unlabelled=True)
    assert found.models[0].overall.flip_rate is not None


def test_answers_that_are_written_have_the_probability_of_the_target_beside() -> None:
    task = replace(toy.task(test=20), seeds=(Prompt("Turn alpha into omega, please."),))
    found = _sensitivity(toy.model(), task, families=("deletion", "surface"))
    model = found.models[0]
    assert [each.scorer for each in model.scorers] == ["answers", "target"]
    top = max(model.words, key=lambda each: each.flips.mean if each.flips else 0.0)
    assert "omega" in top.text
    assert top.nats is not None
    assert top.nats.value < 0


def test_each_pair_of_scorers_is_compared_on_what_both_measured() -> None:
    def answer(prompt: str, seed: int) -> str:
        return f" {_right(prompt)}" if "number" in prompt else " odd"

    lm = ScriptedLM(answer=answer, logprob=_needs_a_word, name="m")
    found = _sensitivity(lm, size="standard", families=("deletion",))
    (model,) = found.models

    pairs = {(each.first, each.second): each.tau for each in model.scorer_agreement}

    scorers = [each.scorer for each in model.scorers]
    assert scorers == ["likelihood", "calibrated", "batch", "constrained", "free"]
    assert list(pairs) == list(itertools.combinations(scorers, 2))
    assert [pairs["likelihood", each.scorer] for each in model.scorers[1:]] == [
        each.agreement for each in model.scorers[1:]
    ]
    assert pairs["constrained", "free"] == pytest.approx(1.0)
    assert _sensitivity(lm, unlabelled=True).models[0].scorer_agreement == ()


def test_written_replies_are_scored_after_each_others_prompts() -> None:
    def answer(prompt: str, seed: int) -> str:
        return " yes" if prompt.startswith("Say it.") else " no"

    def logprob(context: str, continuation: str) -> float:
        return {("Say", "yes"): -0.1, ("Say", "no"): -2.0, ("Tell", "no"): -0.5, ("Tell", "yes"): -1.6}[
            context.partition(" ")[0], continuation.strip()
        ]

    lm = ScriptedLM(answer=answer, logprob=logprob, name="two")
    task = replace(toy.task(test=20), seeds=(Prompt("Say it."),))
    options: dict[str, Any] = {"prompts": ("Say it.", "Tell it."), "families": (), "scorers": (), "unlabelled": True}
    overall = _sensitivity(lm, task, **options).models[0].overall
    assert overall.posix is not None
    assert overall.posix.value == pytest.approx(((2.0 - 0.5) + (1.6 - 0.1)) / 2)
    assert overall.entropy is not None
    assert overall.entropy.mean == pytest.approx(1.0)  # each wording has an answer of its own


def test_a_model_that_only_replies_is_measured_by_its_replies() -> None:
    class Replying(ScriptedLM):
        @property
        def facts(self) -> ModelFacts:
            return replace(super().facts, can_score=False)

        def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
            raise ModelError("it only replies")

    lm = Replying(answer=toy.answer, name="replying")
    task = replace(toy.task(test=20), seeds=(Prompt("Turn every alpha into its omega, please."),))
    diary = toy.Diary()
    (model,) = _sensitivity(lm, task, families=("paraphrase", "synonym", "surface"), observer=diary).models
    assert [each.scorer for each in model.scorers] == ["answers"]
    assert model.overall.flip_rate is not None
    assert model.overall.posix is None
    assert any("only replies" in note for note in diary.notes)


def test_chats_are_left_out_where_a_server_scores_plain_text_alone() -> None:
    def score(context: str, continuation: str) -> Loglikelihood:
        return Loglikelihood(_blind(context, continuation), 1, greedy=False)

    facts = ModelFacts("server", "server", 4096, has_chat=True, can_score_chats=False)
    server = AskedModel(facts, lambda _: Generation(" even", 1, "stop"), score)
    found = localprompt.sensitivity(_task(), [server], size="quick", families=("chat", "surface"), use_cache=False)
    (model,) = found.models
    assert {found.variants[place].family for place in model.too_long} == {"chat"}
    assert {found.variants[each.variant].family for each in model.own.variants} == {"original", "surface"}
    written = replace(toy.task(test=20), seeds=(Prompt("Say it."),))
    (model,) = localprompt.sensitivity(written, [server], size="quick", families=("chat",), use_cache=False).models
    assert [len(each.variants) for each in model.scorers] == [5, 1]
    assert model.too_long == ()


def test_chats_are_left_out_where_a_model_has_no_chat_template() -> None:
    base = ScriptedLM(logprob=_blind, has_chat=False, name="base")
    found = _sensitivity(base, families=("chat", "surface"))
    assert {found.variants[place].family for place in found.models[0].too_long} == {"chat"}
    assert {found.variants[each.variant].family for each in found.models[0].own.variants} == {"original", "surface"}


def test_a_letter_is_no_reply_to_options_in_another_order() -> None:
    def right(context: str) -> str:
        return str(re.findall(r"([ABC])\) cow", context)[-1])

    def row(row: Example) -> Example:
        turn = _number(row.inputs["input"]) % 3
        options = ("cat", "dog", "cow", "cat", "dog")[turn : turn + 3]
        lines = [f"{letter}) {option}" for letter, option in zip("ABC", options, strict=True)]
        shown = "\n".join([row.inputs["input"], *lines])
        return replace(row, inputs={"input": shown}, targets=(right(shown),))

    task = replace(toy.task(test=20), seeds=(Prompt("Which one says moo?"),), layout=toy.SHOWING)
    task = replace(task, test=tuple(map(row, task.test)), train=tuple(map(row, task.train)))
    lm = ScriptedLM(
        answer=lambda prompt, seed: f" {right(prompt)}",
        logprob=lambda context, reply: -0.1 if reply.strip() == right(context) else -6.0,
        name="knows",
    )
    alone = _sensitivity(lm, task, families=("order",), scorers=()).models[0].overall
    assert alone.variants > 1
    assert alone.flip_rate is not None
    assert (alone.flip_rate.mean, alone.posix) == (0, None)
    worded = _sensitivity(lm, task, families=("order", "surface"), scorers=()).models[0].overall
    assert worded.posix is not None
    assert worded.posix.value == pytest.approx(0)


def test_where_some_wrote_nothing_there_is_nothing_to_compare() -> None:
    lm = ScriptedLM(answer=lambda prompt, seed: "" if prompt.startswith("Tell") else " yes", name="mute")
    task = replace(toy.task(test=20), seeds=(Prompt("Say it."),))
    options: dict[str, Any] = {"prompts": ("Say it.", "Tell it."), "families": (), "scorers": ()}
    assert _sensitivity(lm, task, **options).models[0].overall.posix is None


def test_a_family_of_ones_own_is_any_object_with_a_name_and_variants() -> None:
    class Shouting:
        name = "shouting"

        def variants(self, origin: Origin, most: int) -> list[Variant]:
            return [Variant(self.name, "with !!!", Prompt(origin.prompt.instruction + "!!!"), origin.task)][:most]

    found = _sensitivity(ScriptedLM(logprob=_blind, name="blind"), families=[Shouting()])
    assert [each.family for each in found.variants] == ["original", "shouting"]


def test_other_given_prompts_are_variants_of_the_first() -> None:
    prompts = ("Even or odd?", "Is the number even or odd?")
    found = _sensitivity(ScriptedLM(logprob=_needs_a_word, name="needs"), prompts=prompts, families=())
    assert [each.prompt.instruction for each in found.variants] == list(prompts)
    assert found.models[0].overall.best == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "quik"}, "quick"),
        ({"families": ["surfase"]}, "surface"),
        ({"scorers": ["calibratd"]}, "calibrated"),
        ({"split": "dev", "seed": -1}, "seed"),
    ],
)
def test_a_name_that_is_none_is_met_by_the_nearest_before_anything_is_asked(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, TaskError)) as error:
        _sensitivity(ScriptedLM(name="never"), **options)
    assert message in f"{error.value} {error.value.hint}"


@pytest.mark.parametrize(
    "prompt",
    [
        "even",
        "",
        "Sort!",
        "判断这个数字是偶数还是奇数。",
        "קבע אם המספר זוגי או אי-זוגי",
        "word " * 5000,
        "odd",
        "🙂",
        "{{input}}",
    ],
    ids=["label", "empty", "one word", "chinese", "hebrew", "5000 words", "other label", "emoji", "slot"],
)
@pytest.mark.parametrize("test", [1, 3])
def test_odd_prompts_and_few_rows_have_a_result_or_one_sentence(prompt: str, test: int) -> None:
    lm = ScriptedLM(logprob=_blind, name="blind")
    lm.n_ctx = 100_000
    found = _sensitivity(lm, _task(prompt, test))
    assert found.verdict
    json.dumps(found.to_json(), allow_nan=False)
    assert list(found.to_csv())


def test_all_given_prompts_are_measured_beside_what_the_size_allows() -> None:
    prompts = (PROMPT, *(f"Even or odd, number {n}?" for n in range(20)))
    found = _sensitivity(ScriptedLM(logprob=_blind, name="blind"), prompts=prompts)
    assert [each.family for each in found.variants].count("given") == 20
    assert len(found.variants) > 1 + 20 + 8


def test_a_given_prompt_has_the_place_at_which_it_was_given() -> None:
    prompts = (PROMPT, PROMPT, "Even or odd?")
    found = _sensitivity(ScriptedLM(logprob=_blind, name="blind"), prompts=prompts, families=("surface",))
    assert [(each.change, each.prompt.instruction) for each in found.variants if each.family == "given"] == [
        ("prompt 3", "Even or odd?")
    ]


def test_a_prompt_that_is_answered_by_one_label_is_said_to_be_with_how_often_it_is_right() -> None:
    lm = ScriptedLM(logprob=lambda context, continuation: 0.0 if continuation.strip() == "odd" else -1.0, name="odd")
    assert "answers 'odd' for 100 % of the rows, though it is right for 50 %" in _sensitivity(lm).verdict


def test_answers_drawn_again_are_no_effect_of_wording() -> None:
    def answer(prompt: str, seed: int) -> str:
        return f" omega{_number(prompt)}" if seed == 0 else " nothing"

    lm = ScriptedLM(answer=answer, logprob=lambda context, continuation: -1.0, name="drawn")
    task = replace(toy.task(test=20), seeds=(Prompt("Turn alpha into omega."),))
    found = _sensitivity(lm, task, families=("surface", "sampling"))
    families = {each.family: each for each in found.models[0].own.families}
    assert families["sampling"].spread is not None
    assert families["sampling"].spread.value == 1
    assert families["all"].spread is not None
    assert families["all"].spread.value == 0


def test_answers_drawn_again_are_no_ranks_of_wordings() -> None:
    def answer(prompt: str, seed: int) -> str:
        return f" omega{_number(prompt)}" if "please" in prompt.lower() or seed % 3 else " nothing"

    task = replace(toy.task(test=20), seeds=(Prompt("Turn alpha into omega."),), layout=toy.SHOWING)
    models = [ScriptedLM(answer=answer, logprob=lambda *_: -1.0, name=f"drawn {n}") for n in (1, 2)]
    found = localprompt.sensitivity(task, models, size="quick", families=("surface", "sampling"), use_cache=False)
    places = [i for i, each in enumerate(found.variants) if each.family != "sampling"]
    own = [[each.score.mean for each in model.own.variants if each.score] for model in found.models]
    assert found.rank_agreement[0].tau == kendall_tau(*([scores[i] for i in places] for scores in own))
    assert found.rank_agreement[0].tau != kendall_tau(*own)


def test_an_answer_that_only_drawing_favours_is_not_in_the_verdict() -> None:
    def answer(prompt: str, seed: int) -> str:
        return " nothing" if seed else f" omega{_number(prompt)}"

    lm = ScriptedLM(answer=answer, logprob=lambda context, continuation: -1.0, name="drawn")
    task = replace(toy.task(test=20), seeds=(Prompt("Turn alpha into omega."),))
    assert "nothing'" not in _sensitivity(lm, task, families=("surface", "sampling")).verdict


def test_what_it_takes_at_most_is_said_before_anything_is_asked() -> None:
    diary = toy.Diary()
    _sensitivity(ScriptedLM(logprob=_blind, name="blind"), observer=diary)
    assert re.fullmatch(r"at most about [\d,]+ tokens with blind; what is known costs nothing", diary.lines[0])


@pytest.mark.parametrize(("one", "other"), [("5.5", "5.7"), ("5", "-5"), ("5", ".5")])
def test_written_answers_that_differ_in_a_digit_or_sign_are_different_ones(one: str, other: str) -> None:
    def answer(prompt: str, seed: int) -> str:
        return f" {one}" if prompt.startswith("Say it.") else f" {other}"

    lm = ScriptedLM(answer=answer, name="digits")
    task = replace(toy.task(test=10), seeds=(Prompt("Say it."),))
    found = _sensitivity(lm, task, families=("surface",))
    assert found.models[0].overall.flip_rate is not None
    assert found.models[0].overall.flip_rate.mean > 0


def test_free_answers_that_cannot_be_read_remove_no_spread() -> None:
    lm = ScriptedLM(logprob=_needs_a_word, answer=lambda prompt, seed: " who knows", name="mute")
    found = _sensitivity(lm, scorers=("free",))
    free = found.models[0].scorers[1]
    assert sum(each.unreadable for each in free.variants) == len(free.variants) * free.rows
    assert "freely" not in found.verdict


def test_rows_that_stand_in_the_prompt_are_not_measured() -> None:
    task = _task(test=20)
    demos = tuple(Demo(row.inputs, row.targets[0]) for row in task.test[:3])
    found = _sensitivity(ScriptedLM(logprob=_blind, name="blind"), task, prompts=(Prompt(PROMPT, demos),))
    assert len(found.rows) == 17


def test_a_variant_that_does_not_fit_with_some_row_is_left_out() -> None:
    lm = ScriptedLM(logprob=_blind, name="blind")
    lm.n_ctx = 32
    task = _task(PROMPT, 12)
    found = _sensitivity(lm, task, families=("examples", "surface"), scorers=())
    texts = {found.variants[place].family for place in found.models[0].too_long}
    assert texts <= {"examples"}
    assert all(each.failed == 0 for each in found.models[0].own.variants)


def test_batch_calibration_is_measured_on_dev_where_the_rows_are_those_of_train() -> None:
    given = replace(_task(), label_score="batch")
    lm = toy.Watched(logprob=_blind, name="watched")
    found = _sensitivity(lm, replace(given, dev=given.test), split="train", families=("surface",))
    assert [each.scorer for each in found.models[0].scorers][:3] == ["likelihood", "plain", "calibrated"]
    own = next(asked for asked in lm.scored if len(asked) > 2)
    assert all("[MASK]" not in context for context, _ in own)
