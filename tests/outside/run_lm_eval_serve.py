"""Runs a task of the LM evaluation harness through a server; prints a row as JSON each, and the scores.

python run_lm_eval_serve.py FOLDER TASK URL MODEL
"""

from __future__ import annotations

import json
import sys

import lm_eval
from lm_eval.tasks import TaskManager


def main() -> None:
    folder, task, url, name = sys.argv[1:]
    found = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={"model": name, "base_url": f"{url}/v1/completions", "num_concurrent": 4, "batch_size": 4},
        tasks=[task],
        task_manager=TaskManager(include_path=folder, include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    for sample in sorted(found["samples"][task], key=lambda each: each["doc_id"]):
        print(json.dumps({"answers": sample["resps"], "asked": sample["arguments"]}))
    print(json.dumps({name: value for name, value in found["results"][task].items() if isinstance(value, float)}))


if __name__ == "__main__":
    main()
