"""The benchmark of rules for the winner: what each rule returns, and how gains and losses are reckoned."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from localprompt.search.ranking import Standing, choose_winner
from localprompt.types import Candidate, Evaluation, Outcome, Prompt

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("winner_rules")


def _rows(*texts: str) -> Any:
    return np.array([[float(digit) for digit in text] for text in texts])


def _evidence(rules: ModuleType, *texts: str, floor: float = 0.0, sizes: tuple[int, ...] = (), more: Any = None) -> Any:
    lengths = np.array([sizes or tuple(range(9, 9 + len(texts)))], dtype=float)
    return rules.Evidence(_rows(*texts)[None], np.array([floor]), lengths, (0.0, 0.1), more)


def test_rules_take_a_gain_keep_the_seed_and_break_ties_by_length(rules: ModuleType) -> None:
    seed, one_more, two_more = "1111110000", "1111111000", "1111111100"
    best = rules.ahead(1)
    assert best(_evidence(rules, seed, one_more, two_more)) == [2]
    assert best(_evidence(rules, seed, one_more)) == [0], "1 of 10 is as much as its error"
    assert rules.most(_evidence(rules, seed, one_more)) == [1]
    assert rules.most(_evidence(rules, seed, seed)) == [0]
    assert best(_evidence(rules, seed, two_more, two_more, sizes=(1, 9, 5))) == [2]
    cautious = rules.ahead(1, None, floor=True)
    assert cautious(_evidence(rules, seed, two_more, floor=0.2)) == [0]
    assert cautious(_evidence(rules, seed, "1111111111", two_more, floor=0.1)) == [1]
    assert cautious(_evidence(rules, seed, "1111111111", "1111111110", floor=0.1, sizes=(1, 9, 5))) == [2]


def test_the_rule_of_the_benchmark_is_the_rule_of_a_run(rules: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        texts = ["".join(map(str, rng.integers(2, size=12))) for _ in range(4)]
        found = choose_winner(
            [
                Standing(
                    Candidate(Prompt("x" * (9 + i)), "any" if i else "seed"),
                    Evaluation(
                        Prompt("x" * (9 + i)), tuple(Outcome(f"dev:{n}", None, float(d)) for n, d in enumerate(text))
                    ),
                )
                for i, text in enumerate(texts)
            ]
        )
        assert len(found.candidate.prompt.instruction) == 9 + rules.ahead(1)(_evidence(rules, *texts))[0]


def test_more_rows_overrule_dev_for_those_who_are_not_far_behind(rules: ModuleType) -> None:
    more = _rows("0" * 20, "0" * 20, "1" * 20)[None]
    evidence = _evidence(rules, "1111110000", "1111111100", "1111000000", more=more)
    assert rules.with_more(rules.ahead(1), 20)(evidence) == [2]
    assert rules.with_more(rules.ahead(1), 0)(evidence) == [1]
    assert rules.with_more(rules.ahead(1), 20, 1)(evidence) == [1], "two behind is more than an error"


def test_a_posterior_shrinks_and_refuses_risk(rules: ModuleType) -> None:
    evidence = _evidence(rules, "1111110000", "1111111000")
    assert rules.posterior(0.5)(evidence) == [1]
    assert rules.posterior(0.01)(evidence) == [0]
    mean, spread = rules.posterior_of(_rows("0" * 100, "1" * 50 + "0" * 50), (0.0, 0.05))
    noise = 0.25 / 99
    share = 0.05**2 / (0.05**2 + noise)
    assert mean == pytest.approx([0, 0.5 * share])
    assert spread == pytest.approx([0, math.sqrt(share * noise)])
    assert rules.lost(np.array([-0.02, 0.0, 1.0]), np.array([0.1, 0.0, 0.1])) == pytest.approx(
        [0.5, 0.0, 0.0], abs=1e-9
    )


def test_normal_quantiles_and_shares_agree(rules: ModuleType) -> None:
    shares = np.array([0.025, 0.5, 0.8])
    assert rules.normal_cdf(rules._quantile(shares)) == pytest.approx(shares)


def _table(rng: Any, *rights: float) -> dict[str, Any]:
    texts = [
        ["".join(str(int(place < right * n)) for place in rng.permutation(n)) for n in (60, 400)] for right in rights
    ]
    prompts = [
        {"id": str(i), "op": "any" if i else "seed", "text": "x", "dev": dev} for i, (dev, _) in enumerate(texts)
    ]
    return {
        "test": {"toy": {"scores": {str(i): test for i, (_, test) in enumerate(texts)}}},
        "searches": {"toy ape 0": {"noise": 0.02, "prompts": prompts}, "toy ape 1": {"prompts": prompts[:1]}},
    }


def test_simulated_prompts_have_the_gains_and_the_overlap_of_the_tables(rules: ModuleType) -> None:
    rng = np.random.default_rng(0)
    found = rules.searches_of(_table(rng, 0.5, 0.5, 0.7, 0.6), "file")
    assert [each.name for each in found] == ["file toy ape 0"], "where only the seed was measured there is no choice"
    prior = rules.prior_of(found)
    assert prior == pytest.approx((0.1, 0.1), abs=0.01)
    difficulty = rules.shared_difficulty(found)
    assert difficulty < 0.05, "these rows are independent"
    evidence, gains = rules.World(found, prior, 0.8).search(300, 2, 200, rng)
    assert evidence.scores.shape == (200, 3, 300)
    assert gains[:, 1:].mean() == pytest.approx(0.1, abs=0.03)
    assert evidence.gains[:, 1:].mean() == pytest.approx(gains[:, 1:].mean(), abs=0.02)
    tallies = rules.simulated(rules.World(found, prior, 0.8), 60, 30, rng)
    rows = {name: tally.row() for name, tally in tallies.items()}
    assert all(row["gain"] <= rows["the truly best"]["gain"] for row in rows.values())
    assert rows["highest on dev"]["searches"] == 30
    for tallies in (rules.stored(found, prior), rules.resampled(found, prior, 20, 3, rng)):
        assert tallies["highest on dev"].row()["gain"] > 0
