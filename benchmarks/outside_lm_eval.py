"""The LM evaluation harness as a contender of `peers.py`, in an environment that has it.

    python benchmarks/outside_lm_eval.py --contender gguf|localprompt < JOB

gguf           its model `gguf`, which asks llama-cpp-python's server (started here with `logits_all`, from the
               environment of localprompt, so of the same build) for the log-probabilities of a text that is echoed: a
               request a label, one after the other
localprompt    its model `localprompt`, the adapter of this project: all requests in one call
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from apart import Job, be_contender, free_port, running
from lm_eval.api.instance import Instance


def scored(model: Any, job: Job) -> dict[str, Any]:
    """Return how long the harness's model takes for all labels of all prompts, and the log-probabilities."""
    pairs = [(prompt, label) for prompt in job["prompts"] for label in job["labels"]]

    def asked(pairs: list[tuple[str, str]]) -> list[Any]:
        return [Instance("loglikelihood", {}, pair, k) for k, pair in enumerate(pairs)]

    model.loglikelihood(asked([("It has been raining for days.", label) for label in job["labels"]]), disable_tqdm=True)
    began = time.perf_counter()
    answers = model.loglikelihood(asked(pairs), disable_tqdm=True)
    seconds = time.perf_counter() - began
    scores = list(zip(*[(float(logprob) for logprob, _ in answers)] * len(job["labels"]), strict=True))
    return {"seconds": seconds, "scores": scores, "computed": None}


@contextmanager
def server(job: Job) -> Iterator[str]:
    """Yield the address of llama-cpp-python's server that answers."""
    port = free_port()
    options = {"model": job["model"], "port": port, "n_threads": job["threads"], "n_ctx": 512, "logits_all": "true"}
    named = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    run = "runpy.run_module('llama_cpp.server', None, '__main__', True)"
    begin = f"import runpy, sys; sys.path += {job['inside']!r}; {run}"
    with running(["-c", begin, *named], f"http://127.0.0.1:{port}/v1/models"):
        yield f"http://127.0.0.1:{port}"


def gguf(job: Job) -> dict[str, Any]:
    """Through the harness's own model of llama-cpp-python's server."""
    from lm_eval.models.gguf import GGUFLM  # noqa: PLC0415

    with server(job) as url:
        return scored(GGUFLM(base_url=url), job)


def localprompt(job: Job) -> dict[str, Any]:
    """Through the adapter of this project, which is imported from the environment that the job names."""
    sys.path += job["inside"]
    os.environ["PYTHONPATH"] = os.pathsep.join(job["inside"])  # for the engine's own process
    from localprompt.adapters.lm_eval import LocalPromptLM  # noqa: PLC0415
    from localprompt.lm.local import load_model  # noqa: PLC0415

    with load_model(job["model"], n_threads=job["threads"], n_ctx=job["n_ctx"]) as lm:
        before = lm.stats.tokens_decoded
        found = scored(LocalPromptLM(lm), job)
        return {**found, "computed": lm.stats.tokens_decoded - before}


if __name__ == "__main__":
    be_contender({"gguf": gguf, "localprompt": localprompt})
