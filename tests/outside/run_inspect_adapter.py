"""Evaluates a model of localprompt with Inspect; prints as JSON what was answered and what its scorers say.

python run_inspect_adapter.py MODEL ROWS.jsonl LOGS
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import inside  # noqa: F401
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes, perplexity, target_perplexity
from inspect_ai.solver import generate

from localprompt.adapters.waves import SHARED

TEXT = "Message: my card was charged twice\nTeam:"
TARGET = " billing"


def main() -> None:
    name, rows, logs = sys.argv[1:]
    documents = [json.loads(line) for line in Path(rows).read_text(encoding="utf-8").splitlines()]
    asking = [Sample(input=f"Which team answers this message? {each['message']}", target="a") for each in documents]
    reading = [Sample(input=TEXT + TARGET, target="", metadata={"target_text": TARGET})]
    settings = {"log_dir": logs, "display": "none", "model_args": {"tune": False, "n_ctx": 1024, "n_threads": 1}}
    model = f"localprompt/{name}"
    before = Task(dataset=asking, solver=generate(), scorer=includes(), config=GenerateConfig(max_tokens=4))
    (log,) = eval(before, model=model, **settings)
    print(json.dumps({"status": log.status, "answers": [each.output.completion for each in log.samples or []]}))
    told = Task(
        dataset=asking,
        solver=generate(),
        scorer=includes(),
        config=GenerateConfig(max_tokens=4, logprobs=True, top_logprobs=3),
    )
    (log,) = eval(told, model=model, **settings)
    choices = [each.output.choices[0] for each in log.samples or []]
    found = [choice.logprobs.model_dump()["content"] for choice in choices]
    print(json.dumps({"status": log.status, "answers": [each.message.text for each in choices], "logprobs": found}))
    scored = Task(
        dataset=reading,
        solver=generate(),
        scorer=[perplexity(), target_perplexity()],
        config=GenerateConfig(max_tokens=1, prompt_logprobs=1),
    )
    (log,) = eval(scored, model=model, **settings)
    (sample,) = log.samples or []
    content = sample.output.choices[0].prompt_logprobs.content
    values = {key: score.metadata for key, score in (sample.scores or {}).items()}
    print(json.dumps({"tokens": [each.token for each in content], "nats": [each.logprob for each in content]}))
    print(json.dumps({"scores": values, "opened": len(SHARED), "process": os.getpid()}))


if __name__ == "__main__":
    main()
