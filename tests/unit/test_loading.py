"""Models by name: cards, paths, and schemes."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy

import localprompt
from localprompt.errors import ConfigError, ModelError
from localprompt.hub.files import card_named
from localprompt.lm.loading import open_model, place_of, register_scheme, scheme, source_of
from localprompt.lm.scripted import ScriptedLM
from localprompt.store import Store


def _never(text: str, **engine: object) -> ScriptedLM:
    raise AssertionError(text)


def test_a_registered_scheme_opens_its_models_with_what_stands_behind_the_colon() -> None:
    given: list[tuple[str, dict[str, object]]] = []

    def load(text: str, **engine: object) -> ScriptedLM:
        given.append((text, engine))
        return toy.model(name=text)

    with scheme("mine", load), open_model("mine:a:b/c", n_ctx=512) as lm:
        assert lm.facts.name == "a:b/c"
    assert given == [("a:b/c", {"n_ctx": 512})]
    with pytest.raises(ConfigError, match="nor a scheme 'mine'"):
        open_model("mine:a:b/c")


def test_a_run_keeps_the_name_and_is_resumed_by_it() -> None:
    with scheme("mine", lambda text, **_: toy.model()):
        assert source_of("mine:it") == "mine:it"
        cut = localprompt.optimize(toy.task(), "mine:it", max_calls=60)
        with Store() as store:
            assert store.runs.get(cut.run_id).configuration["sources"] == {"model": "mine:it", "proposer": None}
        assert localprompt.resume(cut.run_id, max_calls=5000).stopped == ""


def test_a_name_is_taken_once_and_is_no_drive_letter() -> None:
    with scheme("mine", _never):
        for name in ("mine", "scripted"):
            with pytest.raises(ValueError, match="already registered"):
                register_scheme(name, _never)
    for name in ("C", "c", "", "a b", "Mine", "a:b"):
        with pytest.raises(ValueError, match="not a valid scheme name"):
            register_scheme(name, _never)
    for name in ("scripted", "ollama"):
        with pytest.raises(ValueError, match="already registered"):
            register_scheme(name, _never)


@pytest.mark.parametrize("name", ["C:\\my.gguf", "c:my.gguf", "./mine:my.gguf", "/mine:1/my.gguf", "~/a:b.gguf"])
def test_a_path_may_hold_a_colon(name: str) -> None:
    with scheme("mine", _never), pytest.raises(ModelError, match="there is no file"):
        open_model(name)
    assert source_of(name) == name


def test_a_file_whose_name_looks_like_a_scheme_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foo:bar").write_bytes(b"GGUF")
    assert source_of("foo:bar") == str(tmp_path / "foo:bar")
    for path in ("foo:bar", Path("foo:bar")):
        with pytest.raises(ModelError, match="foo:bar"):
            open_model(path)
    with scheme("foo", _never), pytest.raises(ModelError, match="foo:bar"):
        open_model(Path("foo:bar"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("script:a.json", "mean 'scripted'?"),
        ("zz:a/b", "known: docker, gpt4all, hf, http, https, jan, llamacpp, lmstudio, ollama, python, scripted"),
    ],
)
def test_an_unknown_scheme_is_a_sentence_with_the_known_ones(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"neither a file '{name}' nor a scheme") as error:
        open_model(name)
    assert hint in error.value.hint


def test_two_names_of_one_file_are_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALPROMPT_MODELS", str(tmp_path))
    card = card_named("smollm2-135m-instruct")
    file = tmp_path / card.name / card.files[0].name
    assert place_of(card.name) == card.name  # not there yet
    file.parent.mkdir()
    file.write_bytes(b"GGUF")
    (tmp_path / "link.gguf").symlink_to(file)
    monkeypatch.chdir(tmp_path)
    assert place_of(card.name) == place_of(file) == place_of("link.gguf") == str(file.resolve())
    for name in ("no-such-model", "no-such.gguf", "no-such:model"):
        with pytest.raises((ConfigError, ModelError), match="there is n"):
            place_of(name)
