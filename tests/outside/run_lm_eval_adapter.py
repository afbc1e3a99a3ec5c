"""Runs a task of the LM evaluation harness on a model of localprompt; prints a row as JSON each, and the scores.

python run_lm_eval_adapter.py FOLDER TASK MODEL [chat]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import inside  # noqa: F401
import lm_eval
from lm_eval.tasks import TaskManager

import localprompt
from localprompt.adapters.lm_eval import LocalPromptLM


def main() -> None:
    folder, task, name, *chat = sys.argv[1:]
    os.chdir(folder)  # exported tasks name their rows by a relative path
    with localprompt.load_model(name, tune=False, n_ctx=1024, n_threads=1) as lm:
        found = lm_eval.simple_evaluate(
            model=LocalPromptLM(lm),
            tasks=[task],
            task_manager=TaskManager(include_path=folder, include_defaults=False),
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=bool(chat),
        )
        stats = lm.stats
    for sample in sorted(found["samples"][task], key=lambda each: each["doc_id"]):
        print(json.dumps({"answers": sample["resps"], "asked": sample["arguments"]}))
    scores = {name: value for name, value in found["results"][task].items() if isinstance(value, float)}
    print(json.dumps({**scores, "requested": stats.tokens_requested, "decoded": stats.tokens_decoded}))


if __name__ == "__main__":
    main()
