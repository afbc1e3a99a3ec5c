"""One search of a peer; `peer_searches.py` runs this in an environment that has the peers.

    python benchmarks/peer_side.py JOB    # JOB is a JSON file; what was found is written to the file that it names,
                                          # at the end of the search, and with its test at the end

The environment needs promptolution[api] and dspy[optuna]; the job names a llama-server, as llama.cpp comes with it. All
requests pass through a counter in this process, which knows the tokens that the server computed (`timings` of each
answer) and how long any request was under way; what is left of the seconds of the search is the peer's overhead.

With `packages` in the job, DSPy's peers ask the engine of localprompt in its place, which is imported from there and
counts for itself. DSPy then also sends the form of an answer when it asks again for JSON, which it does not send to a
server whose model it does not know. All else is the same, down to the requests that are under way at once.

- capo: promptolution's CAPO with its documented settings: ten steps, blocks of 30 rows of dev, few-shot examples from
  train, MarkerBasedPredictor. The first prompts are the task's and ten that it has the model
  write from it; its own default prompts where the model's list cannot be read.
- mipro: DSPy's MIPROv2, auto="light", on `dspy.Predict`, which starts from the task's prompt. It knows no deadline.
- gepa: DSPy's GEPA, auto="light", the same model reflecting, told the right label; stopped when the minutes are over.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

Job = Mapping[str, Any]
Row = Sequence[str]
"""A text and its label."""
N_CTX = 4096
"""Of one slot."""
ANSWER_TOKENS = 512
"""Of a reply, whatever it is to: peers know one limit for answers and for prompts."""
STEPS = 10
"""Of CAPO, where the minutes allow them."""


class Meter:
    """What the server did: a proxy before it that counts.

    Args:
        server: its address.
    """

    def __init__(self, server: str) -> None:
        self.calls, self.computed, self.cached = 0, 0, 0
        self.errors: dict[str, int] = {}
        """Message to how often the server gave it."""
        self._lock, self._under_way, self._since, self._busy = threading.Lock(), 0, 0.0, 0.0
        meter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = meter._forwarded(f"{server}{self.path}", body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Address for clients of OpenAI's protocol."""
        return f"http://127.0.0.1:{self._proxy.server_address[1]}/v1"

    def counted(self) -> dict[str, Any]:
        """Return what was counted so far."""
        with self._lock:
            counts = {"calls": self.calls, "tokens": self.computed, "tokens_cached": self.cached}
            busy = self._busy + (time.monotonic() - self._since if self._under_way else 0.0)
            return {**counts, "model_seconds": round(busy, 1), "errors": dict(self.errors)}

    def _forwarded(self, url: str, body: bytes) -> tuple[int, bytes]:
        with self._lock:
            self._since = self._since if self._under_way else time.monotonic()
            self._under_way += 1
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request) as response:
                status, answer = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, answer = error.code, error.read()
        with self._lock:
            self._under_way -= 1
            self._busy += 0.0 if self._under_way else time.monotonic() - self._since
            self._count(status, json.loads(answer))
        return status, answer

    def _count(self, status: int, answer: Mapping[str, Any]) -> None:
        self.calls += 1
        if status != 200:
            message = str(answer.get("error", {}).get("message", answer))
            self.errors[message] = self.errors.get(message, 0) + 1
            return
        timings = answer["timings"]
        self.computed += timings["prompt_n"] + timings["predicted_n"]
        self.cached += timings.get("cache_n", 0)


@contextmanager
def served(job: Job) -> Iterator[str]:
    """Give the address of a llama-server with slots that keeps the prompts which they have read, as by default."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    slots, threads = job["slots"], job["threads"]
    settings = {"model": job["model"], "port": port, "ctx-size": N_CTX * slots, "parallel": slots}
    settings |= {"threads": threads, "threads-batch": threads}
    command = [job["server"], *(str(part) for name, value in settings.items() for part in (f"--{name}", value))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not _is_ready(f"http://127.0.0.1:{port}/health"):
                if process.poll() is not None:
                    raise RuntimeError(f"{job['server']} ended with {process.returncode}")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as response:
            return bool(response.status == 200)  # 503 while it loads
    except OSError:
        return False


@contextmanager
def asked(job: Job) -> Iterator[tuple[Any, Callable[[], dict[str, Any]]]]:
    """Give who answers, an address or an engine of DSPy, and what tells the counts so far."""
    if "packages" not in job:
        with served(job) as server:
            meter = Meter(server)
            yield meter.url, meter.counted
        return
    sys.path += job["packages"]
    os.environ["PYTHONPATH"] = os.pathsep.join(job["packages"])  # of the engine's own process
    from localprompt import load_model  # noqa: PLC0415
    from localprompt.adapters.dspy import LocalPromptEngine  # noqa: PLC0415

    with load_model(job["model"], n_ctx=N_CTX, n_threads=job["threads"]) as lm:
        engine = LocalPromptEngine(lm)

        def counted() -> dict[str, Any]:
            found = {"calls": sum(engine.waves.sizes), "waves": len(engine.waves.sizes)}
            return {**found, "tokens": lm.stats.tokens_decoded, "model_seconds": round(lm.stats.seconds, 1)}

        yield engine, counted


Found = tuple[str, int, Callable[[Sequence[Row]], list[float]]]
"""The prompt, how many examples it shows, and what scores rows with it."""


class Deadline:
    """Ends CAPO after the step in which its seconds are over: a callback of promptolution.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def on_step_end(self, _: object) -> bool:
        """Return whether to go on."""
        return time.monotonic() < self._ends

    def on_train_end(self, _: object) -> bool:
        """Do nothing."""
        return True


def capo(job: Job, url: str) -> Found:
    """Return the best prompt of CAPO."""
    import pandas as pd  # noqa: PLC0415
    from promptolution.llms import APILLM  # noqa: PLC0415
    from promptolution.optimizers import CAPO  # noqa: PLC0415
    from promptolution.predictors import MarkerBasedPredictor  # noqa: PLC0415
    from promptolution.tasks import ClassificationTask  # noqa: PLC0415
    from promptolution.utils.prompt_creation import create_prompts_from_task_description  # noqa: PLC0415

    def frame(rows: Sequence[Row]) -> Any:
        return pd.DataFrame([{"x": text, "y": label.lower()} for text, label in rows])

    def task(rows: Sequence[Row], strategy: str) -> Any:
        settings = {"eval_strategy": strategy, "n_subsamples": min(30, len(rows)), "seed": job["seed"]}
        return ClassificationTask(frame(rows), description, x_column="x", y_column="y", **settings)

    lm = APILLM(url, "local", "none", max_concurrent_calls=job["slots"], max_tokens=ANSWER_TOKENS)
    predictor = MarkerBasedPredictor(lm, [label.lower() for label in job["labels"]])
    description = f"{job['instruction']} {predictor.extraction_description}"
    written = create_prompts_from_task_description(description, lm)
    optimizer = CAPO(
        predictor,
        task(job["dev"], "sequential_block"),
        lm,
        initial_prompts=[description, *written],
        df_few_shots=frame(job["train"]),
        callbacks=[Deadline(60 * job["minutes"])],
    )
    best, *_ = optimizer.optimize(STEPS)

    def scores(rows: Sequence[Row]) -> list[float]:
        return [float(each) for each in task(rows, "full").evaluate([best], predictor).scores[0]]

    return best.instruction, len(best.few_shots), scores


def mipro(job: Job, answering: Any) -> Found:
    """Return the program of MIPROv2."""
    import dspy  # noqa: PLC0415

    program, metric = _program(job, answering)
    optimizer = dspy.MIPROv2(metric=metric, auto="light", num_threads=job["slots"], seed=job["seed"])
    return _of_dspy(job, optimizer.compile(program, trainset=_shown(job["train"]), valset=_shown(job["dev"])), metric)


def gepa(job: Job, answering: Any) -> Found:
    """Return the program of GEPA."""
    import dspy  # noqa: PLC0415
    from gepa.utils import TimeoutStopCondition  # noqa: PLC0415

    program, metric = _program(job, answering)

    def judged(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        del trace, pred_name, pred_trace
        score = metric(gold, pred)
        return dspy.Prediction(score=score, feedback="Right." if score else f"The right label is {gold.label!r}.")

    optimizer = dspy.GEPA(
        judged,
        auto="light",
        reflection_lm=dspy.settings.lm.copy(temperature=1.0),
        num_threads=job["slots"],
        seed=job["seed"],
        gepa_kwargs={"stop_callbacks": [TimeoutStopCondition(60 * job["minutes"])]},
    )
    return _of_dspy(job, optimizer.compile(program, trainset=_shown(job["train"]), valset=_shown(job["dev"])), metric)


def _program(job: Job, answering: Any) -> tuple[Any, Callable[..., float]]:
    """Return DSPy's program before it is optimised, and its metric."""
    import dspy  # noqa: PLC0415

    if isinstance(answering, str):
        lm = dspy.LM("openai/local", api_base=answering, api_key="none", max_tokens=ANSWER_TOKENS, cache=False)
    else:
        lm = dspy.LM("localprompt/local", engine=answering, max_tokens=ANSWER_TOKENS, cache=False)
    dspy.configure(lm=lm)
    label = Literal[tuple(job["labels"])]  # type: ignore[valid-type] # made for DSPy
    fields = {"text": (str, dspy.InputField()), "label": (label, dspy.OutputField())}

    def metric(gold: Any, pred: Any, trace: object = None) -> float:
        del trace
        return float(getattr(pred, "label", None) == gold.label)

    return dspy.Predict(dspy.Signature(fields, job["instruction"])), metric


def _shown(rows: Sequence[Row]) -> list[Any]:
    import dspy  # noqa: PLC0415

    return [dspy.Example(text=text, label=label).with_inputs("text") for text, label in rows]


def _of_dspy(job: Job, program: Any, metric: Callable[..., float]) -> Found:
    import dspy  # noqa: PLC0415

    def scores(rows: Sequence[Row]) -> list[float]:
        settings = {"num_threads": job["slots"], "failure_score": 0.0, "max_errors": len(rows) + 1}
        results = dspy.Evaluate(devset=_shown(rows), metric=metric, display_progress=False, **settings)(program).results
        by_text = {(gold.text, gold.label): float(score) for gold, _, score in results}
        return [by_text[text, label] for text, label in rows]

    return program.signature.instructions, len(program.demos), scores


PEERS: Mapping[str, Callable[[Job, Any], Found]] = {"capo": capo, "mipro": mipro, "gepa": gepa}

PACKAGES = {"capo": ("pandas", "promptolution.optimizers"), "mipro": ("dspy", "optuna"), "gepa": ("dspy", "gepa")}


def main() -> None:
    """Run a job."""
    job: Job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # DSPy asks the network for prices else
    random.seed(job["seed"])  # noqa: TID251 - what the peers draw from
    with suppress(ImportError):
        import numpy as np  # noqa: PLC0415

        np.random.seed(job["seed"])  # noqa: NPY002 - what promptolution draws from
    for name in PACKAGES[job["peer"]]:  # importing them takes seconds, and is no part of a search
        importlib.import_module(name)
    with asked(job) as (answering, counted):
        began = time.monotonic()
        prompt, demos, scores = PEERS[job["peer"]](job, answering)
        seconds = time.monotonic() - began
        found = {"seconds": round(seconds, 1), **counted(), "prompt": prompt, "demos": demos}
        Path(job["out"]).write_text(json.dumps(found), encoding="utf-8")
        test = "".join("1" if score else "0" for score in scores(job["test"]))
    Path(job["out"]).write_text(json.dumps({**found, "test": test}), encoding="utf-8")


if __name__ == "__main__":
    main()
