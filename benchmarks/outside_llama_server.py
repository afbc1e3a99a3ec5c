"""llama.cpp's server as a contender: in an environment that has xllamacpp, nothing of localprompt is imported.

    python benchmarks/outside_llama_server.py --contender writing|scoring < JOB
    python benchmarks/outside_llama_server.py JOB       # only the server, at the port that the job names

`generation.py`, `peers.py` and `serve.py` run it and describe what it is given.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import xllamacpp
from apart import Job, be_contender
from stepwise import stepwise

WARM_UP = "Is the weather good or bad?\n\nIt has been raining for days.\nAnswer:"
Ask = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def server_of(job: Job) -> xllamacpp.Server:
    """Return a server that runs in this process."""
    params = xllamacpp.CommonParams()
    params.model.path = job["model"]
    params.n_ctx, params.n_parallel, params.kv_unified = job["n_ctx"], job["slots"], job["unified"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = job["threads"]
    params.port, params.verbosity = job.get("port", 0), -1
    return xllamacpp.Server(params)


def asking(job: Job) -> Ask:
    """Return what asks such a server."""
    server = server_of(job)

    def ask(body: Mapping[str, Any]) -> Mapping[str, Any]:
        url, headers = f"{server.listening_address}/completion", {"Content-Type": "application/json"}
        asked = {"temperature": 0, "cache_prompt": True, **body}
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(asked).encode(), headers)) as response:
            return dict(json.load(response))

    return ask


def writing(job: Job) -> dict[str, Any]:
    """Greedy completions of all prompts, given as tokens; as many at a time as there are slots."""
    ask = asking(job)
    ask({"prompt": WARM_UP, "n_predict": 2})
    began = time.perf_counter()
    with ThreadPoolExecutor(job["slots"]) as pool:
        answers = list(pool.map(lambda prompt: ask({"prompt": prompt, "n_predict": job["n_new"]}), job["prompts"]))
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "texts": [answer["content"] for answer in answers],
        "drawn": [answer["tokens_predicted"] for answer in answers],
        "computed": sum(answer["timings"]["prompt_n"] + answer["tokens_predicted"] for answer in answers),
        "build": xllamacpp.get_system_info(),
    }


def scoring(job: Job) -> dict[str, Any]:
    """Labels by the most probable next tokens; as many prompts at a time as there are slots."""
    ask, computed = asking(job), []

    def following(prompt: str) -> Mapping[str, float]:
        answer = ask({"prompt": prompt, "n_predict": 1, "n_probs": job["n_probs"]})
        computed.append(answer["timings"]["prompt_n"])
        return {each["token"]: each["logprob"] for each in answer["completion_probabilities"][0]["top_logprobs"]}

    following(WARM_UP)
    computed.clear()
    began = time.perf_counter()
    with ThreadPoolExecutor(job["slots"]) as pool:
        scores = list(pool.map(lambda prompt: stepwise(following, prompt, job["labels"]), job["prompts"]))
    seconds = time.perf_counter() - began
    build = xllamacpp.get_system_info()
    return {"seconds": seconds, "scores": scores, "computed": sum(computed), "build": build}


if __name__ == "__main__":
    if not be_contender({"writing": writing, "scoring": scoring}):
        there = server_of(json.loads(sys.argv[1]))
        threading.Event().wait()
