"""A method that another package brings by an entry point runs, is compared, resumed and listed as the shipped ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner

import localprompt
from localprompt.cli.main import main
from localprompt.errors import ConfigError
from localprompt.optimizers import registry

METHOD = '''
"""Echo: asks for one instruction. Level 5."""
from dataclasses import dataclass

from localprompt.proposals.metaprompts import load
from localprompt.optimizers import optimizer
from localprompt.proposals.parsing import ReplyFormat
from localprompt.search.proposer import Request
from localprompt.types import Candidate, Prompt, Sampling

TEMPLATES = {"write": ("outputs",)}


@optimizer("echo", TEMPLATES)
@dataclass(frozen=True, slots=True)
class Echo:
    """Hyperparameters."""

    times: int = 2
    """How often it asks."""

    def run(self, problem):
        meta = load("echo", TEMPLATES, None)
        problem.evaluate(problem.seeds)
        for _ in range(self.times):
            request = meta["write"].fill(outputs=", ".join(problem.outputs))
            found = ask(problem, [Request(request, ReplyFormat("line"), Prompt(""))], Sampling(40, temperature=1.0), "")
            prompts = [Prompt(text) for proposal in found for text in proposal.accepted]
            problem.record([Candidate(prompt, "echo") for prompt in prompts])
            if prompts:
                problem.evaluate(prompts)


def ask(problem, *request):
    return problem.proposer.propose(*request)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an installed distribution `echoes`, on the path; what it registers goes with the test."""
    (tmp_path / "echoes" / "templates" / "echo").mkdir(parents=True)
    (tmp_path / "echoes" / "__init__.py").touch()
    (tmp_path / "echoes" / "method.py").write_text(METHOD, encoding="utf-8")
    (tmp_path / "echoes" / "templates" / "echo" / "write.txt").write_text("Write it. {{outputs}}", encoding="utf-8")
    (tmp_path / "echoes-1.0.dist-info").mkdir()
    (tmp_path / "echoes-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: echoes\nVersion: 1.0\n")
    points = "[localprompt.optimizers]\necho = echoes.method\n"
    (tmp_path / "echoes-1.0.dist-info" / "entry_points.txt").write_text(points, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    registry.forget("echo")
    for name in ("echoes", "echoes.method"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("package")
def test_it_runs_and_is_compared_resumed_and_listed() -> None:
    lm = toy.model(answer=lambda p, s: f" {toy.BEST}" if p.startswith("Write it.") else toy.answer(p, s))
    result = localprompt.optimize(toy.task(), lm, method="echo", settings={"times": "1"}, max_calls=500)
    assert result.best.instruction == toy.BEST
    assert result.method == "echo"
    again = localprompt.resume(result.run_id, model=lm, max_calls=600)
    assert again.best == result.best
    assert localprompt.replay(result.run_id).best == result.best
    table = localprompt.compare([toy.task()], lm, methods=["echo"], n_seeds=1, max_tokens=20_000)
    assert [row.method for row in table.rows] == ["echo"]
    assert "echo" in registry.compared()
    assert "echo" in CliRunner().invoke(main, ["methods"]).output
    assert "How often it asks." in CliRunner().invoke(main, ["methods", "echo"]).output


def test_one_that_cannot_be_loaded_is_named_with_its_package(package: Path) -> None:
    (package / "echoes" / "method.py").write_text("import nothing_of_this_name\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the method 'echo' of the package echoes cannot be loaded \(ModuleNotFound"):
        registry.names()
    assert (
        localprompt.optimize(toy.task(), toy.model(), max_calls=60, method="ape").method == "ape"
    )  # the others are not affected


def test_a_module_that_registers_nothing_of_that_name_is_named(package: Path) -> None:
    (package / "echoes" / "method.py").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the module echoes\.method registers no method 'echo'"):
        registry.configure("echo", {})
