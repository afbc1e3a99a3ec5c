"""The best of given prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy

from localprompt.errors import ConfigError
from localprompt.optimizers import configure
from localprompt.optimizers.manual import prompts_in


def _file(folder: Path, text: str) -> Path:
    path = folder / "prompts.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_best_of_seeds_and_file_wins_without_a_word_of_the_proposer(tmp_path: Path) -> None:
    lines = [f"Say {n}." for n in range(20)]
    path = _file(tmp_path, "\n".join([*lines, toy.BEST, toy.BEST]))
    problem = toy.problem(toy.model(answer=toy.answer))
    configure("manual", {"prompts": str(path)}).run(problem)
    winner = problem.ranking.winner()
    assert (winner.candidate.prompt.instruction, winner.candidate.op) == (toy.BEST, "manual")
    assert [each.op for each in problem.ranking.candidates] == ["seed"] + 21 * ["manual"]
    assert winner.evaluation is not None
    assert len(winner.evaluation.outcomes) == 40
    assert problem.ranking.best_seed().evaluation is not None


def test_few_prompts_are_measured_on_all_of_dev_at_once(tmp_path: Path) -> None:
    lm = toy.model()
    problem = toy.problem(lm)
    configure("manual", {"prompts": str(_file(tmp_path, toy.BEST))}).run(problem)
    assert lm.n_generated == 2 * 40


def test_without_a_file_the_seeds_alone_are_compared() -> None:
    problem = toy.problem(toy.model())
    configure("manual", {}).run(problem)
    assert problem.ranking.winner().evaluation is not None


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("\ufeffone\r\ntwo", ["one", "two"]),
        ("one\nmore\n\ntwo\n \n\nthree\n", ["one\nmore", "two", "three"]),
        ("写反义词", ["写反义词"]),
        ("one\u2028and\x0cmore\ntwo", ["one\u2028and\x0cmore", "two"]),
    ],
)
def test_prompts_are_blocks_or_lines(tmp_path: Path, text: str, prompts: list[str]) -> None:
    assert prompts_in(_file(tmp_path, text)) == prompts


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no prompt"):
        prompts_in(_file(tmp_path, " \n\n"))
    with pytest.raises(ConfigError, match="cannot be read"):
        prompts_in(tmp_path / "none.txt")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        prompts_in(tmp_path / "bad.txt")


@pytest.mark.parametrize("settings", [{"stages": ""}, {"stages": "0"}, {"keep": 0}, {"finalists": 0}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        configure("manual", settings)


def test_a_file_of_prompts_that_cannot_be_read_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the file of prompts .*none\.txt cannot be read"):
        configure("manual", {"prompts": tmp_path / "none.txt"})
