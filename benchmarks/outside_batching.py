"""llama-cpp-python's batching server as a contender: `examples/server/server.py` of its source distribution.

    python benchmarks/outside_batching.py --contender writing|scoring < JOB

It is in no wheel: `pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36` brings it. Its
packages come from the environment that runs this, llama-cpp-python itself from the environment of localprompt.
`generation.py` and `peers.py` say what it is given. Without echo it tells the most probable next tokens, as llama.cpp's
server does; with echo it tells nothing of what an earlier request has left in its cache.
"""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apart import Job, be_contender, free_port, running
from stepwise import stepwise

WARM_UP = "Is the weather good or bad?\n\nIt has been raining for days.\nAnswer:"


@contextmanager
def server(job: Job, n_sequences: int) -> Iterator[str]:
    """Yield the address for completions of a server that answers."""
    port = free_port()
    threads = {"threads": job["threads"], "threads_batch": job["threads"]}
    model = {"path": job["model"], "n_ctx": job["n_ctx"], "n_seq_max": n_sequences, "kv_unified": True, **threads}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"server": {"port": port}, "model": model}), encoding="utf-8")
        run = f"runpy.run_path({job['batching_server']!r}, run_name='__main__')"
        begin = f"import runpy, sys; sys.path += {job['inside']!r}; {run}"
        with running(["-c", begin, "-C", str(config)], f"http://127.0.0.1:{port}/healthz"):
            yield f"http://127.0.0.1:{port}/v1/completions"


def asked(url: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the answer to a request."""
    data, headers = json.dumps({"temperature": 0, **body}).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as response:
        return dict(json.load(response))


def writing(job: Job) -> dict[str, Any]:
    """Greedy completions of all prompts, all asked at once."""
    n = len(job["prompts"])
    with server(job, n) as url:
        asked(url, {"prompt": WARM_UP, "max_tokens": 2})
        began = time.perf_counter()
        with ThreadPoolExecutor(n) as pool:
            bodies = [{"prompt": prompt, "max_tokens": job["n_new"]} for prompt in job["prompts"]]
            answers = list(pool.map(lambda body: asked(url, body), bodies))
        seconds = time.perf_counter() - began
    texts = [answer["choices"][0]["text"] for answer in answers]
    return {"seconds": seconds, "texts": texts, "drawn": [each["usage"]["completion_tokens"] for each in answers]}


def scoring(job: Job) -> dict[str, Any]:
    """Labels by the most probable next tokens, as many prompts at a time as there are slots."""
    with server(job, job["slots"]) as url:

        def following(prompt: str) -> Mapping[str, float]:
            answer = asked(url, {"prompt": prompt, "max_tokens": 1, "logprobs": job["n_probs"]})
            (top,) = answer["choices"][0]["logprobs"]["top_logprobs"] or [{}]  # none where the text ends at once
            return {token: float(logprob) for token, logprob in top.items()}

        following(WARM_UP)
        began = time.perf_counter()
        with ThreadPoolExecutor(job["slots"]) as pool:
            scores = list(pool.map(lambda prompt: stepwise(following, prompt, job["labels"]), job["prompts"]))
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "scores": scores, "computed": None}


if __name__ == "__main__":
    be_contender({"writing": writing, "scoring": scoring})
