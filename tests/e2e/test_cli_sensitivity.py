"""`localprompt sensitivity` from the command line, with a scripted model behind a name."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner, Result

import localprompt
from localprompt.cli.main import main
from localprompt.lm.scripted import ScriptedLM

PROMPT = "Turn every alpha into the omega that has its number."


@pytest.fixture
def task(tmp_path: Path) -> str:
    return toy.write_task(tmp_path, 20, 12, 24, keys=f"prompts: [{json.dumps(PROMPT)}]\n")


def _run(task: str, *arguments: str) -> Result:
    options = ("--model", toy.NAMED, "--quick", "--families", "surface,deletion")
    return CliRunner().invoke(main, ["sensitivity", task, *options, *arguments])


@pytest.fixture
def lm(named_model: toy.NamedModel) -> ScriptedLM:
    made = toy.model()
    named_model(made)
    return made


@pytest.mark.usefixtures("lm")
def test_a_person_reads_a_verdict_first_and_sees_the_word_that_matters(task: str) -> None:
    result = _run(task)
    assert result.exit_code == 0, result.output
    first, *_ = result.stdout.splitlines()
    assert first.startswith("The wording moves the score by 1.00 (from 0.00 to 1.00)")
    assert "omega' matters most" in first
    for part in ("all together", "deletion", "Worst, ", "Best, ", "localprompt report ", "reliably", "other batches"):
        assert part in result.stdout
    for measure in ("standard deviation", "PromptSensiScore", "consistency", "Cochran's Q"):
        assert measure in result.stdout
    assert "at most about" in result.stderr


@pytest.mark.usefixtures("lm")
def test_long_pieces_of_a_prompt_leave_the_numbers_beside_them_whole_on_80_columns(task: str) -> None:
    result = _run(
        task, "--prompt", f"{PROMPT} " + 6 * "Consider the number and the letters of the word that is shown. "
    )
    heads, *words = result.stdout.partition("\nwithout ")[2].partition("\n\n")[0].splitlines()
    assert heads.split() == ["changed", "log-probability", "95", "%", "interval", "score"]
    assert any(line.endswith(" 33 %       -1.17 nats  -1.75 to -0.58  -0.33") for line in words)
    assert max(map(len, words)) <= 80


@pytest.mark.usefixtures("lm")
def test_json_is_one_object_and_csv_has_a_row_a_score(task: str, tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    result = _run(task, "--json", "--csv", str(file))
    found = json.loads(result.stdout)
    assert found["variants"][0]["family"] == "original"
    (model,) = found["models"]
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == len(found["variants"]) * 24
    assert rows[0].keys() == {"prompt", "item", "score", "model", "run", "family"}
    mean = sum(float(row["score"]) for row in rows[:24]) / 24
    assert mean == pytest.approx(model["scorers"][0]["variants"][0]["score"]["mean"])


@pytest.mark.usefixtures("lm")
@pytest.mark.parametrize(("limit", "code"), [("0.05", 3), ("1", 0)])
def test_a_pipeline_fails_where_a_measure_is_above_its_limit(task: str, limit: str, code: int) -> None:
    result = _run(task, "--fail-above", f"spread={limit}", "--fail-above", "flip_rate=1")
    assert result.exit_code == code
    assert ("spread of scripted is 1.000, above" in result.stderr) == (code == 3)
    assert "The wording moves" in result.stdout


@pytest.mark.usefixtures("lm")
@pytest.mark.parametrize("measure", ["spread", "entropy", "flip_rate"])
def test_a_pipeline_fails_where_no_other_wording_was_measured(task: str, measure: str) -> None:
    result = _run(task, "--families", "sampling", "--fail-above", f"{measure}=1")
    assert result.exit_code == 3
    assert f"{measure} of scripted is not known here" in result.stderr
    assert result.stdout.startswith("No other wording was measured.\n")
    assert "All together" not in result.stdout


@pytest.mark.parametrize("limit", ["sprea=1", "spread=much", "spread=-1", "spread=nan"])
def test_a_limit_that_is_none_is_refused_before_a_model_is_asked(task: str, limit: str) -> None:
    result = _run(task, "--fail-above", limit)
    assert result.exit_code == 2
    assert "--fail-above" in result.stderr


@pytest.mark.usefixtures("lm")
def test_what_it_will_cost_is_said_and_nothing_is_measured(task: str, lm: ScriptedLM) -> None:
    result = _run(task, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "scripted" in result.stdout
    assert lm.stats.tokens_decoded == 0
    (cost,) = json.loads(_run(task, "--dry-run", "--json").stdout)
    assert cost["n_prompts"] == 13
    assert cost["tokens_computed"] > 0


@pytest.mark.usefixtures("lm")
def test_a_run_lends_the_prompt_that_it_found(tmp_path: Path) -> None:
    searched = toy.write_task(tmp_path, 20, 12, 24)
    run = localprompt.optimize(searched, toy.NAMED, method="random", settings={"proposals": 14})
    result = _run(searched, "--prompt", run.run_id[:8], "--json")
    assert json.loads(result.stdout)["variants"][0]["prompt"]["instruction"] == run.best.instruction


@pytest.mark.usefixtures("lm")
def test_a_prompt_may_be_a_file_and_further_ones_are_variants(task: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"{PROMPT}\n")
    found = json.loads(_run(task, "--prompt", f"@{tmp_path}/p.txt", "--prompt", "Say omega.", "--json").stdout)
    assert [each["family"] for each in found["variants"][:2]] == ["original", "given"]
    missing = _run(task, "--prompt", "@nowhere.txt")
    assert missing.exit_code == 2
    assert "nowhere.txt" in missing.stderr


@pytest.mark.usefixtures("lm")
def test_without_right_answers_there_is_no_score_to_be_seen(task: str) -> None:
    result = _run(task, "--unlabelled")
    assert result.exit_code == 0, result.output
    assert "consistency" in result.stdout
    for option in (("--csv", "scores.csv"), ("--fail-above", "spread=0.1")):
        refused = _run(task, "--unlabelled", *option)
        assert refused.exit_code == 2
        assert option[0] in refused.stderr
    assert "worst" not in result.stdout
    assert "chance" not in result.stdout


@pytest.mark.usefixtures("lm")
def test_scorers_are_said_to_have_as_many_wordings_and_rows_as_their_means(task: str) -> None:
    told = _run(task, "--families", "surface,sampling", "--json").stdout
    families = {each["family"]: each["variants"] for each in json.loads(told)["models"][0]["scorers"][0]["families"]}
    assert families["sampling"] > 0
    lines = [line.split() for line in _run(task, "--families", "surface,sampling").stdout.splitlines()]
    assert ["answers", str(families["all"]), "24"] in [line[:3] for line in lines]


@pytest.mark.usefixtures("lm")
def test_written_answers_have_an_entropy_and_what_is_not_known_is_no_empty_column(task: str) -> None:
    said = _run(task, "--unlabelled", "--families", "sampling").stdout
    assert "entropy" in said
    assert "POSIX" not in said  # no wording changes, so no reply is scored after another


@pytest.mark.usefixtures("lm")
def test_a_row_is_said_to_show_nothing(tmp_path: Path) -> None:
    few = toy.write_task(tmp_path, 4, 4, 1, keys=f"prompts: [{json.dumps(PROMPT)}]\n")
    assert "note: 1 row can show no difference between two prompts: measure more" in _run(few).stdout


@pytest.mark.parametrize(("option", "is_kept"), [((), True), (("--no-cache",), False)])
def test_who_breaks_it_off_is_told_what_goes_on(
    task: str, named_model: toy.NamedModel, option: tuple[str, ...], is_kept: bool
) -> None:
    named_model(toy.model(answer=toy.failing(KeyboardInterrupt(), 30)))
    stopped = _run(task, *option)
    assert stopped.exit_code == 130
    assert ("the same command goes on from there" in stopped.stderr) == is_kept


@pytest.mark.usefixtures("lm")
def test_the_same_model_twice_is_one_sentence(task: str) -> None:
    result = _run(task, "--model", toy.NAMED)
    assert result.exit_code == 2
    assert "named twice" in result.stderr
