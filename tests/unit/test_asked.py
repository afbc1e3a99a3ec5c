"""Models of which only replies are seen: a function by name, and a server with OpenAI's interface by URL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import toy
from click.testing import CliRunner
from openai_server import chat, plain, scoring, serving

import localprompt
from localprompt.cli.main import main
from localprompt.errors import ConfigError, ModelError
from localprompt.lm.cached import CachedLM, MemoryAnswers
from localprompt.lm.loading import is_trusted, open_model
from localprompt.store import Store
from localprompt.types import Generation, Message, Sampling

SAMPLING = Sampling(max_tokens=8, temperature=0.5, stop=("\n",))
MODULE = """
def shout(messages, sampling, seed):
    return f"{messages[-1].role}:{messages[-1].content.upper()}:{sampling.max_tokens}:{seed}"

def propose(messages, sampling, seed):
    return "Turn every alpha into the omega that has its number."

def fail(messages, sampling, seed):
    raise KeyError("no key")

def nothing(messages, sampling, seed):
    return None
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODULE, encoding="utf-8")
    return tmp_path / "mine.py"


def test_a_function_gets_turns_sampling_and_seed_and_its_text_is_cut_at_stop_strings(module: Path) -> None:
    with open_model("python:mine:shout", n_ctx=512) as lm:
        question = lm.chat([Message("system", "be kind"), Message("user", 'say "hi"')])
        opened = lm.chat([Message("user", "x")], "So:")
        texts = [each.text for each in lm.generate([question, opened, "plain"], Sampling(9, stop=("N:",)), [1, 2, 3])]
        assert texts == ['user:SAY "HI":9:1', "assistant:SO::9:2", "user:PLAI"]
        assert (lm.facts.has_chat, lm.facts.can_score, lm.facts.supports_grammar) == (True, False, False)
        with pytest.raises(ModelError, match="gives no log-probabilities of a prompt"):
            lm.loglikelihood([("a", "b")])


def test_a_changed_file_is_another_model(module: Path) -> None:
    with open_model("python:mine:shout") as lm:
        before = lm.facts.fingerprint
    module.write_text(MODULE + "\n", encoding="utf-8")
    with open_model("python:mine:shout") as lm:
        assert lm.facts.fingerprint != before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine:fail", r"failed \(KeyError: 'no key'\)"),
        ("mine:nothing", "returned None, not text"),
        ("mine:absent", "the model 'mine:absent' cannot be imported"),
        ("absent_module:f", "the model 'absent_module:f' cannot be imported"),
    ],
)
def test_a_function_that_does_not_answer_is_an_error_and_no_answer(module: Path, name: str, says: str) -> None:
    with pytest.raises(ModelError, match=says), open_model(f"python:{name}") as lm:
        lm.generate(["x"], SAMPLING, [0])


def test_a_function_proposes_for_a_task_and_resuming_wants_it_named_again(module: Path) -> None:
    cut = localprompt.optimize(toy.task(), toy.model(name="toy"), proposer="python:mine:propose", max_calls=60)
    with Store() as opened:
        assert opened.runs.get(cut.run_id).configuration["sources"]["proposer"] == "python:mine:propose"
    with pytest.raises(ConfigError, match="proposer is python:mine:propose, and a run's record may come from anywhere"):
        localprompt.resume(cut.run_id, model=toy.model(name="toy"), max_calls=5000)
    run = localprompt.resume(cut.run_id, model=toy.model(name="toy"), proposer="python:mine:propose", max_calls=5000)
    assert run.best.instruction == toy.BEST


def test_exporting_opens_no_server_and_no_code_that_only_a_record_names(module: Path) -> None:
    run = localprompt.optimize(toy.task(), "python:mine:shout", method="manual")
    with pytest.raises(ConfigError, match="a run's record may come from anywhere"):
        localprompt.export(run.run_id, "text")


def test_labels_are_refused_before_a_function_is_asked_to_compare_them(module: Path) -> None:
    with pytest.raises(ConfigError, match="the task has labels, and python:mine:shout gives no log-probabilities"):
        localprompt.optimize(toy.task(labels=("yes", "no")), "python:mine:shout", max_calls=60)


def test_only_what_runs_no_code_and_contacts_nobody_is_opened_from_a_record() -> None:
    names = ("http://a/v1", "https://a/v1#m", "python:a:b", "scripted:x", "ollama:x", "card", "./my.gguf")
    assert [is_trusted(name) for name in names] == [False, False, False, True, True, True, True]


def test_a_server_with_one_model_is_asked_in_chats_in_order_and_with_the_whole_sampling() -> None:
    with serving(plain(str.upper)) as server, open_model(server.url) as lm:
        assert (lm.facts.name, lm.facts.can_score) == (f"{server.url}#big", False)
        asked = [lm.chat([Message("user", f"number {n}")]) for n in range(40)]
        assert [each.text for each in lm.generate(asked, SAMPLING, range(40))] == [f"NUMBER {n}" for n in range(40)]
        bodies = [body for path, body in server.seen if path == "chat/completions"]
        assert sorted(body["seed"] for body in bodies) == list(range(40))
        assert {key: bodies[0][key] for key in ("model", "max_tokens", "temperature", "stop")} == {
            "model": "big", "max_tokens": 8, "temperature": 0.5, "stop": ["\n"],
        }  # fmt: skip
        assert not {"top_k", "min_p", "top_p"} & bodies[0].keys()


def test_a_chat_survives_the_store_and_an_opening_is_not_said_twice() -> None:
    with serving(plain(lambda text: f"{text} yes")) as server, open_model(f"{server.url}#big") as lm:
        answers = MemoryAnswers()
        for _ in range(2):
            cached = CachedLM(lm, answers)
            question = cached.chat([Message("user", "well?")], "Answer:")
            assert cached.generate([question], SAMPLING, [0]) == [Generation(" yes", 3, "stop")]
        asked = [body["messages"] for path, body in server.seen if path == "chat/completions"]
        assert asked == [[{"role": "user", "content": "well?"}, {"role": "assistant", "content": "Answer:"}]]


def test_a_server_that_gives_log_probabilities_of_the_prompt_scores_plain_text_as_it_says() -> None:
    with serving(scoring(lambda word: -float(len(word)))) as server, open_model(server.url) as lm:
        assert (lm.facts.can_score, lm.facts.n_ctx) == (True, 2048)
        (found,) = lm.loglikelihood([("The capital is", " Paris indeed")])
        assert (found.logprob, found.n_tokens, found.greedy) == (-13.0, 2, True)
        with pytest.raises(ModelError, match="scores plain text"):
            lm.loglikelihood([(lm.chat([Message("user", "x")]), " y")])
        asked = [body for path, body in server.seen if path == "completions"][-1]
        assert (asked["prompt"], asked["echo"]) == ("The capital is Paris indeed", True)


def test_a_server_whose_log_probabilities_have_holes_is_no_scorer() -> None:
    with serving(scoring(lambda word: None)) as server, open_model(server.url) as lm:
        assert not lm.facts.can_score


WHOLE: dict[str, list[Any]] = {
    "tokens": ["One two", " three"],
    "token_logprobs": [None, -1.0],
    "top_logprobs": [None, {" three": -1.0}],
    "text_offset": [0, 7],
}
"""What a server says of the prompt that it is tried with."""


@pytest.mark.parametrize(
    ("told", "scores"),
    [
        (WHOLE, True),
        ({"tokens": [" three"], "token_logprobs": [None], "top_logprobs": [None], "text_offset": [0]}, False),
        ({"content": [{"id": 29, "token": "-", "logprob": -0.06}]}, False),  # a llama.cpp server
        ({name: [] for name in WHOLE}, False),
        (None, False),
        *(({**WHOLE, name: None}, False) for name in WHOLE),
        *(({**WHOLE, name: WHOLE[name][:1]}, False) for name in WHOLE),
        *(({**WHOLE, name: [WHOLE[name][0], [0]]}, False) for name in WHOLE),
        ({**WHOLE, "token_logprobs": [None, float("nan")]}, False),
        ({**WHOLE, "top_logprobs": [None, {" three": None}]}, False),
    ],
)
def test_a_server_scores_if_it_says_what_it_should_of_each_token_of_a_prompt(told: Any, scores: bool) -> None:
    def answer(path: str, body: Mapping[str, Any]) -> Any:
        if path == "models":
            return {"data": [{"id": "m"}]}
        return {"choices": [{"text": "", "finish_reason": "length", "logprobs": told}]}

    with serving(answer) as server, open_model(server.url) as lm:
        assert lm.facts.can_score is scores


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (500, r"refuses with 500: not today"),
        (302, "refuses with 302"),
        ([], "answers what is no object"),
        ({"choices": []}, "answers without a choice"),
        (chat(None), "returned none"),
        (chat("half", "content_filter"), "returned none"),
    ],
    ids=repr,
)
def test_what_is_no_completion_is_an_error_and_no_answer(answer: Any, says: str) -> None:
    def reply(path: str, body: Mapping[str, Any]) -> Any:
        return {"data": [{"id": "m"}]} if path == "models" else answer

    with serving(reply) as server, open_model(server.url) as lm:
        with pytest.raises(ModelError, match=says):
            lm.generate([lm.chat([Message("user", "x")])], SAMPLING, [0])
        assert "elsewhere" not in [path for path, _ in server.seen]


@pytest.mark.parametrize("told", [-1000, True, "3", 10**30])
def test_a_count_of_tokens_that_cannot_be_is_not_believed(told: object) -> None:
    def reply(path: str, body: Mapping[str, Any]) -> Any:
        said = {**chat("one two"), "usage": {"completion_tokens": told}}
        return {"data": [{"id": "m"}]} if path == "models" else said

    with serving(reply) as server, open_model(server.url) as lm:
        (found,) = CachedLM(lm, MemoryAnswers()).generate([lm.chat([Message("user", "x")])], SAMPLING, [0])
    assert found == Generation("one two", 2, "stop")


def test_an_address_is_checked_and_a_key_never_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no address"):
        open_model("http:x")
    with pytest.raises(ConfigError, match="must not hold a key"):
        open_model("http://user:secret@127.0.0.1/v1")
    with pytest.raises(ModelError, match="cannot be reached"):
        open_model("http://127.0.0.1:9/v1")
    monkeypatch.setenv("LOCALPROMPT_API_KEY", "secret")
    with serving(plain(str.upper, models=("small", "large"))) as server:
        with pytest.raises(ConfigError, match="has 2 models") as several:
            open_model(server.url)
        assert several.value.hint == f"name one, as in {server.url}#small"
        with pytest.raises(ConfigError, match="has no model 'lage'") as unknown:
            open_model(f"{server.url}#lage")
        assert unknown.value.hint == "did you mean 'large'?"
        with open_model(f"{server.url}#large") as lm:
            assert "secret" not in json.dumps([lm.facts.name, lm.facts.fingerprint, dict(lm.facts.identity)])
        assert set(server.keys) == {"Bearer secret"}


def test_a_big_model_behind_a_url_writes_and_the_small_one_answers(named_model: toy.NamedModel, tmp_path: Path) -> None:
    named_model(toy.model())
    file = toy.write_task(tmp_path, 20, 40, 40)
    with serving(plain(lambda text: toy.BEST)) as server:
        command = ["optimize", file, "--model", toy.NAMED, "--proposer", server.url, "--json", "--max-calls", "4000"]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        assert toy.BEST in json.dumps(json.loads(result.stdout)["best"])
