"""One thing has one name in every `--json`, docs/json.md says which, and exit codes are what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy
from click.testing import CliRunner

import localprompt
from localprompt.cli.main import main
from localprompt.errors import ModelError
from localprompt.lm.loading import scheme

TABLE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8").partition("## Exit codes")[0]
NAMES = {
    name
    for line in TABLE.splitlines()
    if line.startswith("| `")
    for name in re.findall(r"[`\"]([a-z_0-9]+)[`\"]", line)
}
pytestmark = pytest.mark.usefixtures("lm")
BY_NAME = {
    "configuration",
    "result",
    "settings",
    "engine",
    "changed",
    "discards",
    "labels",
    "presets",
    "methods",
    "inputs",
    "variance",
}
"""What has keys that are no names of ours."""


def call(*arguments: str) -> Any:
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def printed(tiny_qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every command prints with `--json`."""
    folder, lm = tmp_path_factory.mktemp("printed"), toy.model()
    with pytest.MonkeyPatch.context() as environment, scheme("toy", lambda text, **engine: lm):
        environment.setenv("LOCALPROMPT_STORE", str(folder / "store.sqlite"))
        return _printed(toy.write_task(folder, 8, 16, 16, template=toy.SHOWING.template), folder, tiny_qwen)


def _printed(task: str, tmp_path: Path, tiny_qwen: Path) -> dict[str, Any]:
    of_model, file = ("--model", "toy:1"), str(tmp_path / "it.run")
    compared = ("compare", task, *of_model, "--methods", "manual,random", "--max-tokens", "900", "--seeds", "2")
    settings = ("n_ctx=512", "n_ubatch=128", "n_threads=1", "use_extra_bufts=no", "lanes=4")
    of_engine = [part for setting in settings for part in ("--engine", setting)]
    (tmp_path / "other.json").write_text('{"replies": {"": "nothing"}}', encoding="utf-8")
    moved = ("transfer", task, "--models", f"toy:1,scripted:{tmp_path}/other.json", "--prompts", toy.BEST)
    found = call("optimize", task, *of_model)
    run_id = found["run_id"]
    script = tmp_path / "new.json"
    script.write_text(json.dumps({"replies": {"": "omega1"}}), encoding="utf-8")
    return {
        "optimize": found,
        "optimize --dry-run": call("optimize", task, *of_model, "--dry-run"),
        "resume": call("resume", run_id),
        "replay": call("replay", run_id),
        "export": call("export", run_id, "--to", "text", "--out", str(tmp_path / "exported")),
        "port": call("port", run_id, "--model", f"scripted:{script}"),
        "evaluate": call("evaluate", task, *of_model, "--prompt", toy.BEST),
        "compare": (other := call(*compared)),
        "compare --dry-run": call(*compared, "--dry-run"),
        "sensitivity": call("sensitivity", task, *of_model, "--quick"),
        "sensitivity --dry-run": call("sensitivity", task, *of_model, "--quick", "--dry-run"),
        "transfer": call(*moved),
        "leaderboard": call("leaderboard", task, "--quick", "--models", "toy:1"),
        "transfer --dry-run": call(*moved, "--dry-run"),
        "runs list": call("runs", "list"),
        "runs show": call("runs", "show", run_id),
        "runs diff": call("runs", "diff", run_id, other["runs"][0]["run_id"]),
        "runs check": call("runs", "check"),
        "runs export": call("runs", "export", run_id, file),
        "runs delete": call("runs", "delete", run_id, "--yes"),
        "runs import": call("runs", "import", file),
        "runs vacuum": call("runs", "vacuum"),
        "methods": call("methods"),
        "methods ape": call("methods", "ape"),
        "models list": call("models", "list"),
        "models list --local": call("models", "list", "--local"),
        "models bench": call("models", "bench", str(tiny_qwen), "--repetitions", "1", *of_engine),
        "models check": call("models", "check", str(tiny_qwen), "--engine", "n_ctx=512"),
        "models info": call("models", "info", str(tiny_qwen)),
        "models quantize": call("models", "quantize", str(tiny_qwen), "--to", "Q8_0", "--out", str(tmp_path)),
        "tasks check": call("tasks", "check", task),
        "tasks check --model": call("tasks", "check", task, *of_model),
        "tasks tune": call("tasks", "tune", task, *of_model),
    }


def named(plain: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every name of ours with what stands under it, at any depth."""
    if isinstance(plain, list):
        for each in plain:
            yield from named(each, name)
    elif isinstance(plain, dict):
        for key, value in plain.items():
            if name not in BY_NAME:
                yield key, value
            if key not in {"configuration", "result"}:
                yield from named(value, key if name not in BY_NAME else "")


def test_every_name_is_in_the_table_and_every_name_of_it_is_printed(printed: dict[str, Any]) -> None:
    found = {name: command for command, plain in printed.items() for name, _ in named(plain)}
    assert {name: found[name] for name in set(found) - NAMES} == {}
    first = {name for line in TABLE.splitlines() if line.startswith("| `") for name in _quoted(line.split("|")[1])}
    assert sorted(first - set(found) - {"from_random", "error", "hint", "role", "content"}) == []


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([a-z_0-9]+)`", cell)


def test_what_stands_under_a_name_has_one_form(printed: dict[str, Any]) -> None:
    spends = ("spend", "proof")
    for command, plain in printed.items():
        for name, value in named(plain):
            where = (command, name, value)
            if name == "run_id":
                assert re.fullmatch("[0-9a-f]{12}", value), where
            elif name == "prompt_id":
                assert re.fullmatch("[0-9a-f]{16}", value), where
            elif name in ("prompt", "seed_prompt"):
                assert set(value) == {"instruction", "demos"}, where
            elif name in spends:
                assert set(value) == set(printed["evaluate"]["spend"]), where
            elif name == "test" and command.startswith("runs"):
                assert value.keys() == {"seed", "best"}, where
                assert all(set(score) == {"mean"} for score in value.values()), where
            elif name in ("task", "model", "proposer", "method", "status", "verdict", "stopped"):
                assert value is None or isinstance(value, str), where
            assert name not in ("id", "run", "runs_id") or command == "models info", where  # there it is a token's


def test_runs_are_the_same_in_every_command(printed: dict[str, Any]) -> None:
    found, shown = printed["optimize"], printed["runs show"]
    listed = next(row for row in printed["runs list"] if row["run_id"] == found["run_id"])
    for name in set(found) & set(listed) - {"test"}:
        assert found[name] == listed[name] == shown[name], name
    for which in ("seed", "best"):
        assert listed["test"][which]["mean"] == found["test"][which]["mean"]
    assert set(printed["resume"]) == set(printed["replay"]) == set(found)
    assert set(found) < set(printed["compare"]["runs"][0])
    assert set(printed["runs import"]) == set(listed) < set(shown)


def code(*arguments: str) -> int:
    return CliRunner().invoke(main, list(arguments), input="n\n").exit_code


def test_exit_codes_are_what_the_table_says(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = ("optimize", task, "--model", "toy:1")
    assert code(*search) == 0
    assert code(*search, "--max-calls", "40") == 0  # ended by its limit
    assert code(*search, "--pause-after", "1e-9") == 0  # paused
    run_id = json.loads(CliRunner().invoke(main, ["runs", "list", "--json"]).stdout)[0]["run_id"]
    for failing in (
        ("optimize", str(tmp_path), "--model", "toy:1"),
        ("runs", "show", "xyz"),
        ("resume", "xyz"),
        ("runs", "delete", run_id),
        ("models", "info", str(tmp_path / "gone.gguf")),
        ("compare", task, "--model", "toy:1", "--max-tokens", "900", "--csv", "/dev/full", "--methods", "manual"),
    ):
        if "/dev/full" in failing and not Path("/dev/full").exists():
            continue
        assert code(*failing) == 1, failing
    for wrong in (
        ("optimise",),
        (*search, "--sets", "a=b"),
        (*search, "--set", "queries=many"),
        (*search, "--set", "queries"),
        (*search, "--set", "querys=8"),
        (*search, "--engine", "n_ctx=big"),
        (*search, "--engine", "n_ctx=0"),
        (*search, "--method", "apes"),
        (*search, "--preset", "papers"),
        (*search, "--seed", "-1"),
        (*search, "--seed", "1.5"),
        (*search, "--max-minutes", "nan"),
        (*search, "--templates", str(tmp_path / "gone")),
        ("evaluate", task, "--model", "toy:1", "--prompt", f"@{tmp_path / 'gone'}"),
        ("compare", task, "--model", "toy:1", "--max-tokens", "900", "--set", "ape.queries=many"),
        ("compare", task, "--model", "toy:1", "--max-tokens", "900", "--set", "queries=8"),
        ("compare", task, "--model", "toy:1", "--max-tokens", "900", "--methods", "apes"),
        ("methods", "apes"),
        ("models", "path", "nothing-like-it"),
    ):
        assert code(*wrong) == 2, wrong


def test_an_interrupted_search_and_one_that_failed_differ(task: str, named_model: toy.NamedModel) -> None:
    for error, expected in ((KeyboardInterrupt(), 130), (ModelError("it is too hot"), 1)):
        named_model(toy.model(answer=toy.failing(error)))
        assert code("optimize", task, "--model", "toy:1") == expected
        assert code("compare", task, "--model", "toy:1", "--max-tokens", "900", "--methods", "manual") == expected


def test_damage_that_check_finds_is_a_failure(task: str) -> None:
    with localprompt.Store() as store:
        store.answers.put([(b"key", "score", b"\xc1")])
    assert code("runs", "check") == 1
