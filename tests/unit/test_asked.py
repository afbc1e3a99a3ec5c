"""Models of which only replies are seen: a function by name, and a server with OpenAI's interface by URL."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import toy
from click.testing import CliRunner
from openai_server import Answer, chat, plain, scoring, serving

import localprompt
from localprompt.cli.main import main
from localprompt.errors import ConfigError, ModelError
from localprompt.lm.asked import AskedModel, Question
from localprompt.lm.base import ModelFacts
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

def talk(messages, sampling, seed):
    return "word and " * 1000

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


def test_a_function_gets_turns_sampling_and_seed_and_its_text_is_cut_at_tokens_and_stop_strings(module: Path) -> None:
    with open_model("python:mine:talk") as lm:
        (long,) = lm.generate(["plain"], Sampling(4), [1])
        (stopped,) = lm.generate(["plain"], Sampling(4, stop=("d w",)), [1])
        assert (long.text, long.n_tokens, long.finish_reason) == ("word and word and", 4, "length")
        assert (stopped.text, stopped.finish_reason) == ("word an", "stop")
    with open_model("python:mine:shout", n_ctx=512) as lm:
        question = lm.chat([Message("system", "be kind"), Message("user", 'say "hi"')])
        opened = lm.chat([Message("user", "x")], "So:")
        texts = [each.text for each in lm.generate([question, opened, "plain"], Sampling(20, stop=("N:",)), [1, 2, 3])]
        assert texts == ['user:SAY "HI":20:1', "assistant:SO::20:2", "user:PLAI"]
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


def asked_at_once(reply: Callable[[Question], Generation], parallel: int) -> AskedModel:
    return AskedModel(ModelFacts("m", "f", 100, has_chat=False, identity={}), reply, parallel=parallel)


def test_the_first_error_is_raised_at_once_and_nothing_more_begins() -> None:
    begun, slow = [], Event()

    def reply(question: Question) -> Generation:
        begun.append(question.text)
        if question.text == "1":
            raise ModelError("the first error")
        slow.wait(60)
        return Generation("", 0, "stop")

    with pytest.raises(ModelError, match="the first error"):
        asked_at_once(reply, 2).generate([str(n) for n in range(30)], SAMPLING, [0] * 30)
    assert not slow.is_set()
    slow.set()
    time.sleep(0.1)
    assert sorted(begun) == ["0", "1"]


HANGING = """
import signal, threading, time
from localprompt.lm.asked import AskedModel
from localprompt.lm.base import ModelFacts
from localprompt.types import Sampling

signal.signal(signal.SIGINT, signal.default_int_handler)  # begun in the background a process ignores it

def reply(question):
    signal.raise_signal(signal.SIGINT)
    time.sleep(60)

model = AskedModel(ModelFacts("m", "f", 100, has_chat=False, identity={}), reply, parallel=8)
model.generate([""] * 3, Sampling(8), [0] * 3)
"""


def test_ctrl_c_waits_for_no_answer() -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, check=False, timeout=50)
    assert "KeyboardInterrupt" in done.stderr
    assert time.monotonic() - began < 40


def test_a_chat_survives_the_store_and_an_opening_is_not_said_twice() -> None:
    with serving(plain(lambda text: f"{text} yes")) as server, open_model(f"{server.url}#big") as lm:
        answers = MemoryAnswers()
        for _ in range(2):
            cached = CachedLM(lm, answers)
            question = cached.chat([Message("user", "well?")], "Answer:")
            assert cached.generate([question], SAMPLING, [0]) == [Generation(" yes", 3, "stop")]
        asked = [body["messages"] for path, body in server.seen if path == "chat/completions"]
        assert asked == [[{"role": "user", "content": "well?"}, {"role": "assistant", "content": "Answer:"}]]


def test_what_goes_on_with_an_opening_may_begin_with_the_same_letters() -> None:
    def answer(path: str, body: Mapping[str, Any]) -> Any:
        listed = {"data": [{"id": "m", "fingerprint": "f"}]}  # `localprompt serve`
        return listed if path == "models" else chat("11 it is") if path == "chat/completions" else 404

    with serving(answer) as server, open_model(server.url) as lm:
        for opening in ("1", "1 "):
            (found,) = lm.generate([lm.chat([Message("user", "well?")], opening)], SAMPLING, [0])
            assert found.text == "11 it is"
            assert server.seen[-1][1]["messages"][-1] == {"role": "assistant", "content": opening}


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
NO_LOGPROBS: list[Any] = [float("nan"), float("-inf"), 0.9, True, False, "", [], -(10**400)]


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
        *(({**WHOLE, "token_logprobs": [None, each]}, False) for each in NO_LOGPROBS),
        ({**WHOLE, "token_logprobs": [None, 1e-7]}, True),
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


def answering(found: Any, of_completions: Any = 404) -> Answer:
    def answer(path: str, body: Mapping[str, Any]) -> Any:
        return {"models": {"data": [{"id": "m"}]}, "completions": of_completions}.get(path, found)

    return answer


@pytest.mark.parametrize(
    ("status", "says"), [(401, "refuses with 401"), (429, "with 429"), (503, "with 503"), (502, "with 502")]
)
def test_a_server_that_is_busy_or_lets_nobody_in_is_not_said_to_lack_log_probabilities(
    status: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with serving(answering(0, status)) as server, pytest.raises(ModelError, match=says):
        open_model(server.url)


@pytest.mark.parametrize(
    "answer", [400, 404, 422, 500, {"error": "Unexpected endpoint"}, {}, b"HTTP/1.1 200 OK\r\n\r\n<html>"]
)
def test_a_server_that_refuses_the_first_question_in_its_own_way_scores_nothing(answer: Any) -> None:
    with serving(answering(0, answer)) as server, open_model(server.url) as lm:
        assert not lm.facts.can_score


@pytest.mark.parametrize("key", ["sk-secret\r", "sk-secret\n", "sécret", "secret☕"])
def test_a_key_that_no_header_can_hold_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALPROMPT_API_KEY", key)
    with serving(answering(0)) as server, pytest.raises(ConfigError, match="LOCALPROMPT_API_KEY has") as error:
        open_model(server.url)
    assert "cret" not in f"{error.value.message} {error.value.hint}"
    assert not server.seen


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (500, r"refuses with 500: not today"),
        (302, "refuses with 302"),
        ([], "answers what is no JSON object"),
        ({"choices": []}, "answers without a choice"),
        (chat(None), "returned none"),
        (chat("half", "content_filter"), "returned none"),
        ({**chat("half"), "error": {"message": "it died"}}, "refuses with 200: it died"),
        ({"choices": [{"message": {"content": "", "refusal": "No."}, "finish_reason": "stop"}]}, "returned none"),
        (
            {
                "choices": [
                    {"message": {"content": None, "refusal": "No.", "reasoning": "Hm."}, "finish_reason": "stop"}
                ]
            },
            "returned none",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 200_000, "answers what is no JSON object"),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"[" * 200_000, "refuses with 500"),
        (b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nabc", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nabc", "cannot be reached"),
    ],
    ids=lambda each: repr(each)[:60],
)
def test_what_is_no_completion_is_an_error_and_no_answer(answer: Any, says: str) -> None:
    with serving(answering(answer)) as server, open_model(server.url) as lm:
        with pytest.raises(ModelError, match=says):
            lm.generate([lm.chat([Message("user", "x")])], SAMPLING, [0])
        assert "elsewhere" not in [path for path, _ in server.seen]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_a_reply_that_was_a_thought_to_its_end_is_an_empty_one(name: str) -> None:
    said = chat(None, "length")
    said["choices"][0]["message"] |= {name: "First, I", "refusal": None}
    with serving(answering(said)) as server, open_model(server.url) as lm:
        found = lm.generate([lm.chat([Message("user", "x")])], SAMPLING, [0])
        assert found == [Generation("", 3, "length")]


@pytest.mark.parametrize("told", [-1000, True, "3", 10**30])
def test_a_count_of_tokens_that_cannot_be_is_not_believed(told: object) -> None:
    def reply(path: str, body: Mapping[str, Any]) -> Any:
        said = {**chat("one two"), "usage": {"completion_tokens": told}}
        return {"data": [{"id": "m"}]} if path == "models" else said

    with serving(reply) as server, open_model(server.url) as lm:
        (found,) = CachedLM(lm, MemoryAnswers()).generate([lm.chat([Message("user", "x")])], SAMPLING, [0])
    assert found == Generation("one two", 2, "stop")


@pytest.mark.parametrize("told", [True, 10**400, -1, 0, "9", 2**40])
def test_a_length_of_context_that_cannot_be_is_not_believed(told: object) -> None:
    def reply(path: str, body: Mapping[str, Any]) -> Any:
        return {"data": [{"id": "m", "max_model_len": told}]} if path == "models" else 404

    with serving(reply) as server, open_model(server.url) as lm:
        assert lm.facts.n_ctx == (told if told == 2**40 else 131_072)


def test_an_address_is_checked_and_a_key_never_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("http:x", "http://[::1/v1", "http://℀.example/v1"):
        with pytest.raises(ConfigError, match="no address"):
            open_model(wrong)
    with pytest.raises(ConfigError, match="must not hold a key"):
        open_model("http://user:secret@127.0.0.1/v1")
    for nowhere in ("http://127.0.0.1:9/v1", f"http://{'a' * 70}.example/v1", "http://a..b/v1"):
        with pytest.raises(ModelError, match="cannot be reached"):
            open_model(nowhere)
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
