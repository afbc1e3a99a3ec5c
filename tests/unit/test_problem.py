"""What an optimiser may touch."""

from __future__ import annotations

import gc

import toy

from localprompt.budget import Budget
from localprompt.proposing import Forbidden, Reading, accept
from localprompt.types import Candidate, Example, Generation, Prompt, Sampling

HALF, BEST = Prompt("Say something about the alpha."), Prompt(toy.BEST)


def test_the_winner_is_the_best_of_those_scored_on_most_of_dev() -> None:
    problem = toy.problem(toy.model())
    problem.evaluate([BEST, HALF], problem.dev[:4])
    assert problem.winner().candidate.prompt == BEST
    problem.evaluate([HALF, Prompt("")])
    winner = problem.winner()
    assert winner.candidate.prompt == HALF
    assert winner.evaluation is not None
    assert len(winner.evaluation.outcomes) == len(problem.dev)


def test_of_equal_prompts_the_shorter_wins_then_the_earlier() -> None:
    problem = toy.problem(toy.model())
    problem.evaluate([BEST, Prompt("omega one"), Prompt("omega two")])
    assert problem.winner().candidate.prompt == Prompt("omega one")


def test_without_a_score_the_first_seed_stands() -> None:
    standing = toy.problem(toy.model()).winner()
    assert standing.candidate == Candidate(Prompt(""), "seed")
    assert standing.evaluation is None


def test_scores_on_train_decide_nothing() -> None:
    problem = toy.problem(toy.model())
    problem.evaluate([BEST], problem.train)
    assert problem.winner().evaluation is None


def test_nothing_reachable_from_a_problem_is_a_test_example() -> None:
    problem = toy.problem(toy.model())
    todo, seen, found = [problem], {id(problem)}, set()
    while todo:
        thing = todo.pop()
        if isinstance(thing, Example):
            found.add(thing.id.partition(":")[0])
        # Modules and their globals lead everywhere, so the walk stays with objects' own contents.
        parts = [part for part in gc.get_referents(thing) if type(part).__name__ not in ("module", "type", "function")]
        for part in parts:
            if id(part) not in seen:
                seen.add(id(part))
                todo.append(part)
    assert found == {"train", "dev"}


def test_each_completion_has_a_seed_of_its_own_from_the_generator() -> None:
    lm = toy.model(answer=lambda prompt, seed: f"{prompt} {seed}")
    groups = toy.problem(lm, seed=1).complete(["a", "b"], Sampling(max_tokens=9), n=3)
    texts = [[reply.text for reply in group] for group in groups]
    assert [[text[0] for text in group] for group in texts] == [["a"] * 3, ["b"] * 3]
    assert len({text[2:] for group in texts for text in group}) == 6
    again = toy.problem(lm, seed=1).complete(["a", "b"], Sampling(max_tokens=9), n=3)
    other = toy.problem(lm, seed=2).complete(["a", "b"], Sampling(max_tokens=9), n=3)
    assert again == groups != other


def test_a_minibatch_has_different_examples_and_at_most_all() -> None:
    problem = toy.problem(toy.model(), toy.task(train=5))
    assert len({example.id for example in problem.minibatch(3)}) == 3
    assert sorted(example.id for example in problem.minibatch(9)) == [f"train:{n}" for n in range(5)]


def test_discards_are_counted_by_reason() -> None:
    problem = toy.problem(toy.model())
    replies = [Generation(text, 1, "stop") for text in ("", " ", "word", "Do what I say.")]
    problem.discard(accept(replies, Reading("line"), Forbidden(problem.train)))
    assert problem.discards == {"empty": 2, "too short": 1}


def test_proposals_and_answers_share_one_budget() -> None:
    budget = Budget()
    problem = toy.problem(toy.model(), budget=budget)
    problem.complete(["write"], Sampling(max_tokens=9), n=2)
    problem.evaluate([BEST], problem.dev[:3])
    problem.likelihood([BEST], problem.dev[:4])
    assert budget.spend.calls == 2 + 3 + 4


def test_the_first_origin_of_a_prompt_stays() -> None:
    problem = toy.problem(toy.model())
    problem.record([Candidate(BEST, "forward"), Candidate(BEST, "resample", ("x",))])
    assert [candidate.op for candidate in problem.candidates] == ["seed", "forward"]
