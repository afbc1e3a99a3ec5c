"""Our own server as a model by its URL: what it answers is what the model answers in this process."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import serving
import toy
from click.testing import CliRunner
from naive import TOLERANCE

from localprompt.cli.main import main
from localprompt.errors import ModelError
from localprompt.lm.loading import open_model
from localprompt.lm.local import LocalModel
from localprompt.types import Message, Sampling

ENGINE = ["--engine", "n_ubatch=128", "--engine", "n_threads=1", "--engine", "n_ctx=2048"]
TEXTS = ["the answer is positive", "the ticket is about", "☕ é and", "x"]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[LocalModel]:
    with LocalModel(tiny_model, serving.SETTINGS, "tiny") as model:
        yield model


@contextmanager
def command(model: Path, *more: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the process of `localprompt serve` and its URL."""
    line = [sys.executable, "-m", "localprompt", "serve", "--model", str(model), "--port", str(port), *ENGINE, *more]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        try:
            yield process, found[0]
        finally:
            process.kill()


@pytest.mark.parametrize("sampling", [Sampling(12), Sampling(12, temperature=0.9, top_p=0.9, stop=("the",))])
def test_it_goes_on_with_texts_and_chats_as_in_this_process(model: LocalModel, sampling: Sampling) -> None:
    turns = [Message("system", "be brief"), Message("user", TEXTS[0])]
    with serving.served(model) as url, open_model(f"{url}/v1#tiny") as lm:
        prompts = [*TEXTS, lm.chat(turns), lm.chat(turns, "so it is"), lm.chat(turns, "so ")]
        found = lm.generate(prompts, sampling, range(len(prompts)))
        nats = lm.loglikelihood([(TEXTS[1], " a refund"), (TEXTS[2], " the end")])
    native = [*TEXTS, model.chat(turns), model.chat(turns, "so it is"), model.chat(turns, "so ")]
    wanted = model.generate(native, sampling, range(len(native)))
    assert [each.text for each in found] == [each.text for each in wanted]
    assert [each.finish_reason for each in found] == [each.finish_reason for each in wanted]
    known = model.loglikelihood([(TEXTS[1], " a refund"), (TEXTS[2], " the end")])
    assert [each.logprob for each in nats] == pytest.approx([each.logprob for each in known], abs=TOLERANCE)
    assert [(each.n_tokens, each.greedy) for each in nats] == [(each.n_tokens, each.greedy) for each in known]


def test_whoever_still_waits_when_the_server_ends_is_told_so(tiny_qwen: Path) -> None:
    asked = {"max_tokens": 400, "n": 100, "temperature": 0}
    with ExitStack() as stack:
        process, url = stack.enter_context(command(tiny_qwen, "--engine", "lanes=4"))
        streaming, waiting, sending = (http.client.HTTPConnection(urlsplit(url).netloc, timeout=60) for _ in range(3))
        for connection in (streaming, waiting, sending):
            stack.callback(connection.close)
        streaming.request("POST", "/v1/completions", json.dumps({**asked, "prompt": "x", "stream": True}))
        stream = streaming.getresponse()
        waiting.request("POST", "/v1/completions", json.dumps({**asked, "prompt": ["x"] * 30}))
        sending.putrequest("POST", "/v1/completions")
        sending.putheader("Content-Length", "100")
        sending.endheaders(b"{")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        said = [stream.read(), *(each.getresponse().read() for each in (waiting, sending))]
        assert process.wait(30) == 0
    assert all(b"the server ends" in data[-200:] for data in said)


def test_labels_are_scored_by_a_served_model_as_by_one_in_this_process(tiny_qwen: Path, tmp_path: Path) -> None:
    keys = "labels: [omega1, omega2, omega3]\n"
    rows = [{"input": f"alpha{n}", "target": f"omega{n % 3 + 1}"} for n in range(40)]
    task = toy.write_task(tmp_path, 8, 16, 16, keys=keys)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "replies.json").write_text(json.dumps({"replies": {"": ["Say it.", "Say that.", "Name it."]}}))
    options = ["--proposer", f"scripted:{tmp_path / 'replies.json'}", "--method", "random", "--max-calls", "400"]
    with command(tiny_qwen) as (_, url):
        served = run("optimize", task, "--model", url, *options)
    here = run("optimize", task, "--model", str(tiny_qwen), *options, *ENGINE)
    for name in ("best", "seed_prompt", "test", "verdict"):
        assert served[name] == here[name], name


def run(*arguments: str, fails: bool = False) -> Any:
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert bool(result.exit_code) == fails, result.output
    return result.output if fails else json.loads(result.stdout)


def test_a_served_model_writes_prompts_and_needs_its_key(
    tiny_qwen: Path, named_model: toy.NamedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named_model(toy.model())
    task = toy.write_task(tmp_path, 20, 40, 40)
    with command(tiny_qwen, "--api-key", "secret", "--name", "big") as (_, url):
        search = ["optimize", task, "--model", toy.NAMED, "--proposer", f"{url}#big", "--max-calls", "200"]
        monkeypatch.setenv("LOCALPROMPT_API_KEY", "wrong")
        refused = run(*search, fails=True)
        assert "refuses with 401: the API key is missing or wrong" in refused
        assert "$LOCALPROMPT_API_KEY" in refused
        monkeypatch.setenv("LOCALPROMPT_API_KEY", "secret")
        found = run(*search)
    assert found["proposer"] == f"{url}#big"
    assert "secret" not in json.dumps(found)


def test_a_server_that_dies_ends_the_search_with_a_sentence_and_resume_goes_on(
    tiny_qwen: Path, named_model: toy.NamedModel, tmp_path: Path
) -> None:
    dying: list[subprocess.Popen[str]] = []

    def answer(prompt: str, seed: int) -> str:
        if dying and not prompt.startswith("Input:"):  # the first prompt that the server wrote
            dying.pop().kill()
        return toy.answer(prompt, seed)

    named_model(toy.model(answer=answer))
    task = toy.write_task(tmp_path, 20, 40, 40)
    # What the server computes together depends on when it is asked, and a cell's 16 bits may turn a draw.
    with command(tiny_qwen, "--exact") as (process, url):
        search = ["optimize", task, "--model", toy.NAMED, "--proposer", url, "--method", "opro"]
        sizes = ("steps=3", "per_step=8", "exemplars=1", "history=1", "max_tokens=20", "score_examples=8")
        search += [word for size in sizes for word in ("--set", size)]
        whole = run(*search, "--store", str(tmp_path / "whole.db"))
        dying.append(process)
        cut = run(*search, fails=True)
    assert f"{url} cannot be reached" in cut
    assert "localprompt resume" in cut
    (record,) = run("runs", "list")
    with command(tiny_qwen, "--exact", port=int(url.split(":")[2].removesuffix("/v1"))):
        resumed = run("resume", record["run_id"], "--model", toy.NAMED, "--proposer", url)
    assert whole["stopped"] == ""
    for name in ("best", "test", "discards", "verdict", "trajectory"):
        assert resumed[name] == whole[name], name


def test_what_does_not_fit_the_servers_context_ends_a_search_that_has_found_something(
    tiny_qwen: Path, named_model: toy.NamedModel, tmp_path: Path
) -> None:
    named_model(toy.model())
    task = toy.write_task(tmp_path, 20, 40, 40)
    with command(tiny_qwen) as (_, url):
        search = ["optimize", task, "--model", toy.NAMED, "--proposer", url, "--method", "opro"]
        search += ["--set", "init_prompts=12", "--set", "steps=3"]
        found = run(*search)  # the context has 512 tokens, which is more than are estimated
    assert "refuses with 400" in found["stopped"]
    assert "the context has 512" in found["stopped"]


def test_a_server_with_another_model_of_the_same_name_is_noticed(tiny_qwen: Path, tiny_llama: Path) -> None:
    marks = []
    for path in (tiny_qwen, tiny_llama):
        with LocalModel(path, serving.SETTINGS, "tiny") as model, serving.served(model) as url:
            with open_model(f"{url}/v1") as lm:
                marks.append(lm.facts.identity["fingerprint"])
                assert lm.facts.identity["fingerprint"] == model.fingerprint
            with pytest.raises(ModelError, match="cannot be reached"):
                open_model("http://127.0.0.1:9/v1")
    assert len({*marks}) == 2
