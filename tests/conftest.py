"""Fixtures for all tests: tiny F32 models, written once a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy
from hypothesis import settings

from localprompt.lm.loading import scheme
from localprompt.lm.scripted import ScriptedLM

# A change is judged by the same examples each time; laptops look for new ones. No test is of how fast a machine is.
settings.register_profile("ci", derandomize=True, database=None, deadline=None)
settings.register_profile("laptop", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")


def _write(directory: Path, name: str) -> Path:
    import tiny  # noqa: PLC0415 - loads llama.cpp, which unit tests do without

    path = directory / f"tiny-{name}.gguf"
    if name == "llama":
        tiny.write_llama(path)
    else:
        tiny.write_qwen(path)
    return path


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama model with a SentencePiece vocabulary that adds BOS and a leading space; no chat template."""
    return _write(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A qwen2 model with a byte-level vocabulary without BOS; fill-in-the-middle tokens and a chat template."""
    return _write(tmp_path_factory.mktemp("qwen"), "qwen")


@pytest.fixture(scope="session", params=["llama", "qwen"])
def tiny_model(request: pytest.FixtureRequest) -> Path:
    """Each of the tiny models in turn."""
    path: Path = request.getfixturevalue(f"tiny_{request.param}")
    return path


@pytest.fixture
def named_model() -> Iterator[toy.NamedModel]:
    """Puts a model behind the name `toy:1`, in the place of the one before."""
    behind: list[ScriptedLM] = []
    with scheme(toy.NAMED.partition(":")[0], lambda text, **engine: behind[-1]):
        yield behind.append


@pytest.fixture(autouse=True)
def _store_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's runs and answers, or those of another test."""
    monkeypatch.setenv("LOCALPROMPT_STORE", str(tmp_path / "store.sqlite"))
