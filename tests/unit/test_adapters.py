"""Adapters without the packages that they are made for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import toy

import localprompt
from localprompt.adapters.prompt_tokens import token_logprobs
from localprompt.errors import ConfigError, ContextOverflow
from localprompt.lm.scripted import ScriptedLM
from localprompt.types import Demo, Loglikelihood, Prompt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("adapter", "package", "extra"),
    [
        ("dspy", "dspy", "dspy"),
        ("dspy_optimizer", "dspy", "dspy"),
        ("inspect", "inspect_ai", "inspect"),
        ("langchain", "langchain_core", "langchain"),
        ("lm_eval", "lm_eval", "lm-eval"),
        ("mlflow", "mlflow", "mlflow"),
    ],
)
def test_a_missing_package_is_a_sentence_with_the_command_that_installs_it(
    adapter: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails, installed or not
    monkeypatch.delitem(sys.modules, f"localprompt.adapters.{adapter}", raising=False)
    with pytest.raises(ConfigError, match=f"{package} cannot be imported") as error:
        importlib.import_module(f"localprompt.adapters.{adapter}")
    assert error.value.hint == f"install it with: pip install 'localprompt[{extra}]'"


def test_each_adapter_is_an_extra_and_inspect_finds_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"dspy", "inspect", "langchain", "lm-eval"} <= project["optional-dependencies"].keys()
    (module,) = project["entry-points"]["inspect_ai"].values()
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file()


class Unasked(ScriptedLM):
    """Must not be asked how probable a text is."""

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        raise AssertionError(f"asked for {len(pairs)} cuts")


def test_a_text_that_does_not_fit_is_refused_before_it_is_cut() -> None:
    with pytest.raises(ContextOverflow, match="a text has 5001 tokens, the context has 4096"):
        token_logprobs(Unasked(), "word " * 5000)


def test_a_model_that_is_elsewhere_tells_nothing_of_a_prompts_tokens() -> None:
    with pytest.raises(ConfigError, match="scripted gives no log-probabilities of prompts"):
        token_logprobs(Unasked(), "a word")


def test_mlflow_gets_prompts_with_their_worked_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow, adapter = MagicMock(), "localprompt.adapters.mlflow"
    genai, exceptions = SimpleNamespace(register_prompt=MagicMock()), SimpleNamespace(MlflowException=RuntimeError)
    fakes = {"mlflow": mlflow, "mlflow.genai": genai, "mlflow.exceptions": exceptions, adapter: None}
    for name, fake in fakes.items():
        monkeypatch.setitem(sys.modules, name, fake)
    del sys.modules[adapter]
    found = localprompt.optimize(toy.task(dev=8, test=8), toy.model(), method="manual")
    best = Prompt("", (Demo({"input": "go"}, "went"), Demo({"input": "be"}, "was")))
    importlib.import_module(adapter).log_run(replace(found, best=best, seed_prompt=Prompt("Say it.", best.demos[:1])))
    texts = {call.args[1]: call.args[0] for call in mlflow.log_text.call_args_list}
    assert texts["best_prompt.txt"] == "input: go\n=> went\n\ninput: be\n=> was"
    assert texts["seed_prompt.txt"] == "Say it.\n\ninput: go\n=> went"
