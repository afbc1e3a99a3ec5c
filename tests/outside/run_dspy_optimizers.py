"""Lets an optimizer of DSPy compile a program on a model of localprompt; prints as JSON what came out.

python run_dspy_optimizers.py mipro|gepa MODEL ROWS.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parent))
import dspy
import inside  # noqa: F401

import localprompt
from localprompt.adapters.dspy import LocalPromptEngine

N, THREADS = 8, 8
"""Rows of each split."""


def metric(gold: Any, pred: Any, trace: object = None) -> float:
    return float(gold.team == getattr(pred, "team", None))


def judged(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    score = metric(gold, pred)
    return dspy.Prediction(score=score, feedback="Right." if score else f"The right team is {gold.team}.")


def mipro(program: Any, train: list[Any], val: list[Any]) -> tuple[Any, float]:
    optimizer = dspy.MIPROv2(
        metric,
        prompt_model=dspy.settings.lm.copy(max_tokens=48),
        auto=None,
        num_candidates=2,
        max_bootstrapped_demos=1,
        max_labeled_demos=1,
        num_threads=THREADS,
    )
    compiled = optimizer.compile(program, trainset=train, valset=val, num_trials=2, minibatch=False)
    return compiled, compiled.score


def gepa(program: Any, train: list[Any], val: list[Any]) -> tuple[Any, float]:
    optimizer = dspy.GEPA(
        judged,
        max_metric_calls=3 * N,
        reflection_lm=dspy.settings.lm.copy(temperature=1.0, max_tokens=48),
        num_threads=THREADS,
        track_stats=True,
    )
    compiled = optimizer.compile(program, trainset=train, valset=val)
    found = compiled.detailed_results
    return compiled, 100 * found.val_aggregate_scores[found.best_idx]


def main() -> None:
    which, name, rows = sys.argv[1:]
    documents = [json.loads(line) for line in Path(rows).read_text(encoding="utf-8").splitlines()]
    data = [dspy.Example(**each).with_inputs("message") for each in documents]
    train, val, held = data[:N], data[N : 2 * N], data[2 * N : 3 * N]
    teams = tuple(sorted({each["team"] for each in documents}))
    fields = {"message": (str, dspy.InputField()), "team": (Literal[teams], dspy.OutputField())}
    program = dspy.Predict(dspy.Signature(fields, "Name the team that answers the message."))

    with localprompt.load_model(name, tune=False, n_ctx=4096, n_threads=2) as model:
        engine = LocalPromptEngine(model)
        lm = dspy.LM("localprompt/it", engine=engine, max_tokens=16)
        dspy.configure(lm=lm, adapter=dspy.JSONAdapter())
        compiled, score = {"mipro": mipro, "gepa": gepa}[which](program, train, val)
        calls = list(engine.waves.sizes)

        def evaluated(program: Any, rows: list[Any]) -> Any:
            return dspy.Evaluate(devset=rows, metric=metric, num_threads=THREADS, display_progress=False)(program)

        again = evaluated(compiled, val).score
        known = len(engine.waves.sizes) - len(calls)
        on_held = evaluated(compiled, held)
        asked = engine.waves.sizes[len(calls) + known :]
        system = lm.history[-1]["messages"][0]["content"]
        compiled.save("compiled.json")
        loaded = dspy.Predict(program.signature)
        loaded.load("compiled.json")
        after = evaluated(loaded, held)
    found = {
        "calls": calls,
        "score": score,
        "again": again,
        "calls_again": known,
        "calls_held": asked,
        "held": on_held.score,
        "answers": [pred.team for _, pred, _ in on_held.results],
        "loaded": [pred.team for _, pred, _ in after.results],
        "teams": teams,
        "gold": [row.team for row in held],
        "instruction": compiled.signature.instructions,
        "is_shown": all(line.strip() in system for line in compiled.signature.instructions.splitlines()),
        "demos": [dict(demo) for demo in compiled.demos],
    }
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
