"""Runs an exported task of the LM evaluation harness; prints a line a row, as JSON, and the score as the last one.

python run_lm_eval.py FOLDER TASK SERVER             completions of a llama.cpp server
python run_lm_eval.py FOLDER TASK LIKELIHOODS.py     likelihoods: a program that gets pairs as JSON and gives nats
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager


class Likelihoods(LM):  # type: ignore[misc]
    """A model that another program computes."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        pairs = json.dumps([list(each.args) for each in requests])
        command = [os.environ["INSIDE_PYTHON"], self._program]
        run = subprocess.run(command, input=pairs, capture_output=True, text=True, check=True)
        return [(nats, False) for nats in json.loads(run.stdout)]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError


def main() -> None:
    folder, task, how = sys.argv[1:]
    os.chdir(folder)
    model: Any = Likelihoods(how)
    arguments = None
    if how.startswith("http"):
        model = "local-completions"
        arguments = f"model=any,base_url={how}/v1/completions,tokenizer_backend=None"
    manager = TaskManager(include_path=".", include_defaults=False)
    found = lm_eval.simple_evaluate(
        model=model, model_args=arguments, tasks=[task], task_manager=manager, log_samples=True, bootstrap_iters=0
    )
    for sample in sorted(found["samples"][task], key=lambda each: each["doc_id"]):
        print(json.dumps({"id": sample["doc"]["id"], "answers": sample["resps"], "prompt": sample["arguments"]}))
    scores = {name: value for name, value in found["results"][task].items() if isinstance(value, float)}
    print(json.dumps(scores))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
