"""Prompts scored and tokens written per second through HTTP: `localprompt serve` beside two servers of the same GGUF.

    bash scripts/setup.sh --outside
    python benchmarks/serve.py [--model qwen2.5-coder-0.5b-instruct] [--clients 1,8,64] [--requests 64] [--tokens 32]

Scoring: each request is a text with `echo`, `logprobs` 1 and `max_tokens` 1, as lm-evaluation-harness sends them (an
instruction, a review, a label; prompts come in the order of a task). Beside it llama-cpp-python's server (with
`logits_all`), the one that gives log-probabilities of prompts. It answers one request at a time and sorts the whole
vocabulary for each token of it, so it is asked a few only (--subset), and its rate is that of these.

Writing: each request is a review to go on with for --tokens tokens, greedy. Beside it llama.cpp's server (xllamacpp),
8 slots. The server is another build of llama.cpp: on Linux its wheel leaves out AVX-512.

Same file, threads and passive waiting of threads, 4096 KV cells (llama-cpp-python's: 512, it keeps logits for each); a
process for each server, the contenders in turn; loading and a warm-up request are not timed. "tokens/s" are
log-probabilities of prompt tokens that came back, or tokens written, as each server counts them in `usage`. Each client
has one connection and sends its next request when the last one is answered; clients are threads of this process, and
take their share of the machine from all servers alike.

With the defaults a repeat scores 768 prompts and writes 192 texts here, writes 192 there, and scores 24 in
llama-cpp-python's server. How long each part takes is printed as it goes on; nobody has timed the whole at rest.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apart import INSIDE, OUTSIDE, as_llama_cpp_python, free_port, has, packages

from localprompt.engine.settings import default_threads
from localprompt.hub.files import resolve

N_CTX = 4096
SLOTS = 8
INSTRUCTIONS = [
    "Decide whether the review of a film is positive or negative. Answer with one word and nothing else.",
    "Read what somebody wrote about a film. Say whether they liked it: positive or negative, in one word.",
]
SUBJECTS = [
    "The story",
    "The music",
    "The end",
    "The lead actor",
    "The camera",
    "The dialogue",
    "The first hour",
    "The plot",
]
VERDICTS = ["moved me to tears", "bored me", "was a pleasant surprise", "made no sense", "was better than the book"]
LABELS = [" positive", " negative"]


def texts() -> list[str]:
    """Return prompts that end with a label, in the order of a task."""
    reviews = [f"{subject} {verdict}." for subject in SUBJECTS for verdict in VERDICTS]
    return [
        f"{do}\n\nReview: {review}\nAnswer:{label}" for do in INSTRUCTIONS for review in reviews for label in LABELS
    ]


@dataclass(frozen=True)
class Work:
    """What is asked of a server."""

    name: str
    bodies: Sequence[dict[str, Any]]


def scoring(n: int) -> Work:
    """Return texts to score."""
    prompts = [text for _, text in zip(range(n), texts() * (1 + n // len(texts())), strict=False)]
    asked = {"echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    return Work("scoring", [{"prompt": prompt, **asked} for prompt in prompts])


def writing(n: int, n_tokens: int) -> Work:
    """Return texts to go on with."""
    reviews = [f"{subject} {verdict}, and" for subject in SUBJECTS for verdict in VERDICTS]
    prompts = [f"{INSTRUCTIONS[0]}\n\nReview {i}: {reviews[i % len(reviews)]}" for i in range(n)]
    return Work("writing", [{"prompt": prompt, "max_tokens": n_tokens, "temperature": 0} for prompt in prompts])


def n_tokens(work: Work, answer: dict[str, Any]) -> int:
    """Return how many log-probabilities of prompt tokens, or tokens written, an answer brings.

    Raises:
        ValueError: for an answer that is an error.
    """
    if "choices" not in answer:
        raise ValueError(f"a server answered {json.dumps(answer)[:300]}")
    if work.name == "writing":
        return int(answer["usage"]["completion_tokens"])
    return sum(each is not None for each in answer["choices"][0]["logprobs"]["token_logprobs"]) - 1


def measure(port: int, work: Work, n_clients: int) -> tuple[float, float]:
    """Return requests and tokens per second."""
    left, counted, failures = list(reversed(work.bodies)), [], []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while left:
            with contextlib.suppress(IndexError):
                body = left.pop()
                try:
                    counted.append(n_tokens(work, _post(connection, body)))
                except (OSError, ValueError) as error:
                    failures.append(error)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(n_clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        raise failures[0]
    return len(counted) / seconds, sum(counted) / seconds


def _post(connection: http.client.HTTPConnection, body: dict[str, Any]) -> Any:
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())


# ---- servers


def with_localprompt(model: str, port: int, threads: int) -> list[str]:
    """Return the command of ours."""
    engine = ["--engine", f"n_threads={threads}", "--engine", f"n_ctx={N_CTX}"]
    return [str(INSIDE), "-m", "localprompt", "serve", "--model", model, "--port", str(port), *engine]


def with_llama_cpp_python(model: str, port: int, threads: int) -> list[str]:
    """Return the command of llama-cpp-python's."""
    how = {"model": model, "port": port, "n_threads": threads, "n_ctx": 512, "logits_all": "true"}
    return [str(OUTSIDE), *as_llama_cpp_python(packages(), **how)]


def with_llama_cpp(model: str, port: int, threads: int) -> list[str]:
    """Return the command of llama.cpp's."""
    job = {"model": model, "port": port, "threads": threads, "n_ctx": N_CTX, "slots": SLOTS, "unified": True}
    return [str(OUTSIDE), str(Path(__file__).with_name("outside_llama_server.py")), json.dumps(job)]


Command = Callable[[str, int, int], list[str]]
SERVERS: dict[str, tuple[Command, str, str]] = {
    "localprompt": (with_localprompt, "", ""),
    "llama-cpp-python": (with_llama_cpp_python, "sse_starlette", "scoring"),
    "llama.cpp, 8 slots": (with_llama_cpp, "xllamacpp", "writing"),
}
"""Name to command, a package that `.venv-outside` must have for it, and the only work that it is given."""


@contextlib.contextmanager
def started(command: Command, model: str, threads: int) -> Iterator[int]:
    """Yield the port of a server once it answers."""
    port = free_port()
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command(model, port, threads), stdout=quiet, stderr=quiet, env=environment)
    try:
        for _ in range(1200):
            time.sleep(0.1)
            if process.poll() is not None:
                raise RuntimeError(
                    f"a server ended with {process.returncode}: {' '.join(command(model, port, threads))}"
                )
            with contextlib.suppress(OSError, ValueError):  # not there yet, or still loading
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
                n_tokens(writing(1, 2), _post(connection, writing(1, 2).bodies[0]))
                connection.close()
                break
        yield port
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--clients", default="1,8,64")
    parser.add_argument(
        "--requests", type=int, default=64, help="for each number of clients, four times as many to score"
    )
    parser.add_argument("--subset", type=int, default=8, help="requests for llama-cpp-python's server")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args()
    model = str(resolve(args.model))
    there = {name: each for name, each in SERVERS.items() if not each[1] or has(OUTSIDE, each[1])}
    for name in SERVERS.keys() - there.keys():
        print(f"{name} is left out: `bash scripts/setup.sh --outside` brings {SERVERS[name][1]}")
    found: dict[str, list[tuple[float, float]]] = {}
    began = time.monotonic()
    for _ in range(args.repeats):
        for name, (command, _, only) in there.items():
            n_scored = args.subset if only == "scoring" else 4 * args.requests
            with started(command, model, args.threads) as port:
                for work in (scoring(n_scored), writing(args.requests, args.tokens)):
                    if only in ("", work.name):
                        for n in map(int, args.clients.split(",")):
                            key = f"{work.name} | {name} | {n}"
                            found.setdefault(key, []).append(measure(port, work, n))
                            print(
                                f"{key}: {found[key][-1]}, {time.monotonic() - began:.0f} s after the beginning",
                                file=sys.stderr,
                            )
    print(f"{Path(model).name}, {args.threads} threads, medians of {args.repeats}")
    print("| work | server | clients | requests/s | tokens/s |\n|---|---|---|---|---|")
    for key, rates in sorted(found.items(), key=lambda each: each[0].split(" | ")[0]):
        requests, tokens = (statistics.median(column) for column in zip(*rates, strict=True))
        print(f"| {key} | {requests:.3g} | {tokens:.3g} |")
    if args.json:
        args.json.write_text(json.dumps({"model": model, "threads": args.threads, "rates": found}, indent=1))


if __name__ == "__main__":
    main()
