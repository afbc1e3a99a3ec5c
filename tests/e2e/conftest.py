"""A task file and a model by name, for commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy

from localprompt.lm.scripted import ScriptedLM


@pytest.fixture
def task(tmp_path: Path) -> str:
    return toy.write_task(tmp_path, 8, 16, 16, template=toy.SHOWING.template)


@pytest.fixture
def lm(named_model: toy.NamedModel) -> ScriptedLM:
    """The model behind the name `toy:1`."""
    model = toy.model()
    named_model(model)
    return model
