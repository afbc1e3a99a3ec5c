"""The server under many clients at once, some of them slow, gone or deadly: nothing is lost, mixed up or kept."""

from __future__ import annotations

import http.client
import json
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
import serving
from naive import TOLERANCE

from localprompt.engine.worker import ModelServer
from localprompt.lm.local import LocalModel
from localprompt.types import Sampling

N_CLIENTS, N_REQUESTS = 64, 256
WORDS = ["the answer", "the ticket", "the review", "a refund", "the order", "the film"]
PROMPTS = [f"{first} is about {second} and" for first in WORDS for second in WORDS]
CHOICES = [" positive", " negative"]


@dataclass
class Known:
    """What the model says by itself."""

    texts: dict[str, str] = field(default_factory=dict)
    nats: dict[str, float] = field(default_factory=dict)
    choices: dict[str, list[float]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def mortal(tiny_qwen: Path) -> Iterator[serving.Mortal]:
    # Without streams, which take their memory when chance first brings enough long completions together.
    with serving.Mortal(tiny_qwen, replace(serving.SETTINGS, stream_ctx=0), "tiny") as model:
        yield model


@pytest.fixture(scope="module")
def known(mortal: LocalModel) -> Known:
    texts = mortal.generate(PROMPTS, Sampling(max_tokens=16), [0] * len(PROMPTS))
    nats = mortal.loglikelihood([(prompt[:1], prompt[1:]) for prompt in PROMPTS])
    pairs = mortal.loglikelihood([(prompt, each) for prompt in PROMPTS for each in CHOICES])
    return Known(
        {prompt: each.text for prompt, each in zip(PROMPTS, texts, strict=True)},
        {prompt: each.logprob for prompt, each in zip(PROMPTS, nats, strict=True)},
        {prompt: [each.logprob for each in pairs[2 * i : 2 * i + 2]] for i, prompt in enumerate(PROMPTS)},
    )


class Crowd:
    """Clients that ask and judge what they are told."""

    def __init__(self, url: str, known: Known) -> None:
        self.address = url.removeprefix("http://")
        self.known = known
        self.api = serving.client(url)
        self.done: Counter[str] = Counter()

    def ask(self, number: int) -> None:
        prompt = PROMPTS[number % len(PROMPTS)]
        kinds = [self.echo, self.write, self.choose, self.stream, self.echo, self.slow, self.leave, self.write]
        kind = kinds[number % len(kinds)]
        kind(prompt)
        self.done[kind.__name__] += 1

    def echo(self, prompt: str) -> None:
        answer = self.api.completions.create(
            model="tiny", prompt=prompt, echo=True, logprobs=1, max_tokens=1, temperature=0
        )
        records: Any = answer.choices[0].logprobs
        nats = math.fsum(records.token_logprobs[1:-1])
        assert nats == pytest.approx(self.known.nats[prompt], abs=TOLERANCE)

    def write(self, prompt: str) -> None:
        answer = self.api.completions.create(model="tiny", prompt=prompt, max_tokens=16, temperature=0)
        assert answer.choices[0].text == self.known.texts[prompt]

    def choose(self, prompt: str) -> None:
        connection = self._post("/v1/choose", {"contexts": [prompt], "choices": CHOICES})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["data"][0]["logprobs"] == pytest.approx(self.known.choices[prompt], abs=TOLERANCE)

    def stream(self, prompt: str) -> None:
        chunks = self.api.completions.create(model="tiny", prompt=prompt, max_tokens=16, temperature=0, stream=True)
        assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == self.known.texts[prompt]

    def slow(self, prompt: str) -> None:
        """Read a byte, sleep, read on."""
        connection = self._post(
            "/v1/completions", {"prompt": prompt, "max_tokens": 16, "temperature": 0, "stream": True}
        )
        answer = connection.getresponse()
        data = answer.read(1)
        time.sleep(0.3)
        data += answer.read()
        connection.close()
        events = [line.removeprefix("data: ") for line in data.decode().splitlines() if line]
        assert events.pop() == "[DONE]"
        assert "".join(json.loads(each)["choices"][0]["text"] for each in events) == self.known.texts[prompt]

    def leave(self, prompt: str) -> None:
        """Ask for much and be gone."""
        connection = self._post("/v1/completions", {"prompt": [prompt] * 3, "max_tokens": 400, "stream": True})
        time.sleep(0.02)
        connection.close()

    def _post(self, path: str, body: object) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.request("POST", path, json.dumps(body).encode())
        return connection

    def run(self, numbers: range) -> None:
        with ThreadPoolExecutor(N_CLIENTS) as pool:
            for result in [pool.submit(self.ask, number) for number in numbers]:
                result.result()


def memory(model: LocalModel) -> int:
    return psutil.Process(model.engine.pid).memory_info().rss + psutil.Process().memory_info().rss


def at_rest(url: str) -> dict[str, str]:
    """The metrics once nothing waits or is written any more."""
    import urllib.request  # noqa: PLC0415

    for _ in range(1000):
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            found = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
        if found["localprompt_waiting"] == found["localprompt_completions_underway"] == "0":
            return found
        time.sleep(0.01)
    raise AssertionError("the server has not come to rest")


def test_under_load_every_client_has_its_own_answer_and_memory_stays_flat(mortal: serving.Mortal, known: Known) -> None:
    with serving.served(mortal) as url:
        crowd = Crowd(url, known)
        crowd.run(range(N_REQUESTS))
        metrics = at_rest(url)
        assert sum(crowd.done.values()) == N_REQUESTS
        assert int(metrics["localprompt_completions_cancelled_total"]) > 0
        assert int(metrics["localprompt_waves_total"]) < int(metrics["localprompt_wave_items_total"]) / 2
        before = memory(mortal)
        crowd.run(range(N_REQUESTS))
        at_rest(url)
        assert memory(mortal) - before < 8e6
        crowd.api.close()


def test_a_killed_engine_costs_nobody_an_answer(mortal: serving.Mortal, known: Known) -> None:
    with serving.served(mortal) as url:
        crowd = Crowd(url, known)
        over = threading.Event()

        def kill() -> None:
            for _ in range(2):
                over.wait(0.5)
                os.kill(mortal.engine.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        crowd.run(range(N_REQUESTS // 2))
        killer.join()
        assert sum(crowd.done.values()) == N_REQUESTS // 2
        crowd.api.close()


@pytest.mark.parametrize("kind", ["echo", "write", "stream"])
def test_a_request_that_kills_the_engine_is_named_and_the_others_are_answered(
    mortal: serving.Mortal, known: Known, kind: str
) -> None:
    with serving.served(mortal) as url:
        crowd = Crowd(url, known)
        with ThreadPoolExecutor(8) as pool:
            others = [pool.submit(getattr(crowd, kind), prompt) for prompt in PROMPTS[:6]]
            # A client with retries: it is told not to ask again.
            with (
                serving.client(url, max_retries=2) as api,
                pytest.raises(openai.InternalServerError, match=r"request cmpl-\d+ kills the engine") as error,
            ):
                getattr(Deadly(api), kind)()
            assert error.value.status_code == 500
            for other in others:
                other.result()
        crowd.write(PROMPTS[0])
        crowd.api.close()


class Deadly:
    """Asks what kills every engine."""

    def __init__(self, api: openai.OpenAI) -> None:
        self._ask = api.completions.create

    def echo(self) -> None:
        self._ask(model="tiny", prompt=serving.DEADLY, echo=True, logprobs=1, max_tokens=0)

    def write(self) -> None:
        self._ask(model="tiny", prompt=serving.DEADLY, max_tokens=4)

    def stream(self) -> None:
        list(self._ask(model="tiny", prompt=serving.DEADLY, max_tokens=4, stream=True))


def test_the_mortal_engine_is_the_engine() -> None:
    assert {"tokenwise", "score", "step", "complete"} <= set(dir(ModelServer))


def test_a_prompt_that_kills_the_engine_beside_a_completion_is_named_and_the_stream_goes_on(
    mortal: serving.Mortal,
) -> None:
    """What was written before it is not taken back, and a prompt is scored long before the stream ends."""
    (alone,) = mortal.generate([PROMPTS[0]], Sampling(400), [0])
    with serving.served(mortal) as url, serving.client(url) as api:
        stream = api.completions.create(model="tiny", prompt=PROMPTS[0], max_tokens=400, temperature=0, stream=True)
        pieces = iter([choice.text for choice in chunk.choices] for chunk in stream)
        told = next(pieces)
        answer = api.completions.create(model="tiny", prompt=PROMPTS[1], echo=True, logprobs=1, max_tokens=1)
        assert len(answer.choices) == 1
        with pytest.raises(openai.InternalServerError, match=r"request cmpl-\d+ kills the engine"):
            Deadly(api).echo()
        text = "".join([*told, *(each for piece in pieces for each in piece)])
    assert text == alone.text
