"""The LM evaluation harness as a contender of `peers.py` and `lm_eval_time.py`, in an environment that has it.

    python benchmarks/outside_lm_eval.py --contender gguf|localprompt < JOB

gguf           its model `gguf`, which asks llama-cpp-python's server (started here with `logits_all`, from the
               environment of localprompt, so of the same build) for the log-probabilities of a text that is echoed: a
               request a label, one after the other
localprompt    its model `localprompt`, the adapter of this project: all requests in one call

A job has prompts and labels, or the folder of a task of the harness's and how many of its rows are asked.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lm_eval
from apart import Job, as_llama_cpp_python, be_contender, free_port, running
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager


def scored(model: Any, job: Job) -> dict[str, Any]:
    """Return how long the harness's model takes for all labels of all prompts, and the log-probabilities."""
    model.loglikelihood(asked([("It has been raining for days.", " positive")]), disable_tqdm=True)
    if "task" in job:
        return evaluated(model, job)
    pairs = [(prompt, label) for prompt in job["prompts"] for label in job["labels"]]
    began = time.perf_counter()
    answers = model.loglikelihood(asked(pairs), disable_tqdm=True)
    seconds = time.perf_counter() - began
    scores = list(zip(*[(float(logprob) for logprob, _ in answers)] * len(job["labels"]), strict=True))
    return {"seconds": seconds, "scores": scores, "computed": None}


def asked(pairs: list[tuple[str, str]]) -> list[Any]:
    """Return pairs of context and continuation as the harness asks them."""
    return [Instance("loglikelihood", {}, pair, k) for k, pair in enumerate(pairs)]


def evaluated(model: Any, job: Job) -> dict[str, Any]:
    """Return the same of a task, as the harness runs it, with the accuracy that it finds."""
    tasks = TaskManager(include_path=job["folder"], include_defaults=False)
    name = job["task"]
    began = time.perf_counter()
    found = lm_eval.simple_evaluate(
        model=model, tasks=[name], task_manager=tasks, limit=job["rows"], bootstrap_iters=0, log_samples=True
    )
    seconds = time.perf_counter() - began
    samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
    scores = [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples]
    accuracy = found["results"][name]["acc,none"]
    return {"seconds": seconds, "scores": scores, "computed": None, "accuracy": accuracy}


@contextmanager
def server(job: Job) -> Iterator[str]:
    """Yield the address of llama-cpp-python's server that answers."""
    port = free_port()
    how = {"model": job["model"], "port": port, "n_threads": job["threads"], "n_ctx": 512, "logits_all": "true"}
    with running(as_llama_cpp_python(job["inside"], **how), f"http://127.0.0.1:{port}/v1/models"):
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
        before = lm.stats
        found = scored(LocalPromptLM(lm), job)
        computed, requested = (
            getattr(lm.stats, name) - getattr(before, name) for name in ("tokens_decoded", "tokens_requested")
        )
        return {**found, "computed": computed, "requested": requested}


if __name__ == "__main__":
    be_contender({"gguf": gguf, "localprompt": localprompt})
