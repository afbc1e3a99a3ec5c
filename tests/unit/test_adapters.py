"""Adapters without the packages that they are made for."""

from __future__ import annotations

import importlib
import sys

import pytest

from localprompt.errors import ConfigError


@pytest.mark.parametrize(("adapter", "package", "extra"), [("dspy", "dspy", "dspy"), ("lm_eval", "lm_eval", "lm-eval")])
def test_a_missing_package_is_a_sentence_with_the_command_that_installs_it(
    adapter: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails, installed or not
    monkeypatch.delitem(sys.modules, f"localprompt.adapters.{adapter}", raising=False)
    with pytest.raises(ConfigError, match=f"{package} cannot be imported") as error:
        importlib.import_module(f"localprompt.adapters.{adapter}")
    assert error.value.hint == f"install it with: pip install 'localprompt[{extra}]'"
