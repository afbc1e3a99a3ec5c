"""What the process boundary and the store cost: the same workload in one process, and as users run it.

    python benchmarks/ordeals/overhead.py MODEL.gguf REVIEWS REPEATS

Both take turns, since the machine may be shared; the store of each turn is empty. In one process: tokenise and score.
As users run it: count tokens, tokenise and score in the engine process, chunk by chunk, and commit every chunk.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from localprompt.engine.settings import EngineSettings
from localprompt.lm.cached import CachedLM
from localprompt.lm.local import load_model
from localprompt.lm.speed import requests
from localprompt.store import Store
from ordeals.report import Row

AIM = 0.05


def measure(path: Path, n_reviews: int, repeats: int) -> dict[str, Any]:
    """Return seconds and decoded tokens of each turn, both ways, by name."""
    from localprompt.engine.encode import Encoder, divided  # noqa: PLC0415 - native code: only in the measuring process
    from localprompt.engine.engine import Engine, ScoreRequest  # noqa: PLC0415
    from localprompt.engine.llama import Llama  # noqa: PLC0415

    pairs = requests(n_reviews)
    with load_model(path) as model, tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        settings: EngineSettings = model.settings
        llama = Llama(path, settings)
        engine, encode = Engine(llama), Encoder(llama).encode

        def bare() -> list[float]:
            encoded = [divided(llama, encode(context + label, None), label) for context, label in pairs]
            return [each.logprob for each in engine.score([ScoreRequest(tuple(t), start) for t, start in encoded])]

        def through(store: Store) -> list[float]:
            return [each.logprob for each in CachedLM(model, store.answers).loglikelihood(pairs)]

        turns = []
        for number in range(repeats + 1):
            turn: dict[str, float] = {}
            with Store(Path(folder) / f"{number}.sqlite") as store:
                for way in ("bare", "users")[:: 1 if number % 2 else -1]:
                    before = (engine if way == "bare" else model).stats.tokens_decoded
                    began, computed = time.perf_counter(), _cpu(model.pid)
                    answers = bare() if way == "bare" else through(store)
                    turn[way] = time.perf_counter() - began
                    turn[f"{way} cpu"] = _cpu(model.pid) - computed
                    turn[f"{way} decoded"] = (engine if way == "bare" else model).stats.tokens_decoded - before
                    turn[f"{way} sum"] = sum(answers)
                began = time.perf_counter()
                through(store)
                turn["known"] = time.perf_counter() - began
            turns.append(turn)
    return {"pairs": len(pairs), "settings": str(settings), "turns": turns[1:]}  # the first warms up


def _cpu(engine: int) -> float:
    """Return the CPU seconds that this process and the engine's have used so far."""
    times = psutil.Process(engine).cpu_times()
    return time.process_time() + times.user + times.system


def overhead(path: Path, name: str, n_reviews: int, repeats: int) -> Row:
    """Return the row about what process boundary and store cost."""
    here = str(Path(__file__).parents[1])
    # As in the engine process, where threads that wait sleep: OpenMP reads this once, when it is loaded.
    env = {**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONPATH": here}
    command = [sys.executable, __file__, str(path), str(n_reviews), str(repeats)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env)
    measured = json.loads(done.stdout)
    turns = measured["turns"]
    ratios = [turn["users"] / turn["bare"] - 1 for turn in turns]
    # What else the machine does only ever adds time, so the shortest turns are the truest.
    shortest = {name: min(turn[name] for turn in turns) for name in turns[0]}
    cost = shortest["users"] / shortest["bare"] - 1
    cpu = shortest["users cpu"] / shortest["bare cpu"] - 1
    rate = turns[0]["bare decoded"] / shortest["bare"]
    more = turns[0]["users decoded"] / turns[0]["bare decoded"] - 1
    return Row(
        "overhead of store and process boundary",
        f"`loglikelihood` of {measured['pairs']} pairs, {name}, {repeats} turns each way",
        f"{cost:+.1%} of the time in one process, shortest turns (turn by turn: median "
        f"{statistics.median(ratios):+.1%}, {min(ratios):+.1%} to {max(ratios):+.1%}), {cpu:+.1%} of the CPU time; "
        f"{rate:.0f} tokens/s in one process; {more:+.1%} tokens are decoded, since chunks share less; "
        f"answers that are known: {shortest['known']:.2f} s",
        "",
        [] if cost <= AIM else [f"more than {AIM:.0%}: {cost:.1%}"],
        {**measured, "cost": cost, "cpu": cpu},
    )


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
