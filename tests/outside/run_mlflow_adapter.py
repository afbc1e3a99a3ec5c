"""Runs `localprompt optimize ... --log mlflow`, then prints as JSON what MLflow has: the run, then each prompt.

python run_mlflow_adapter.py ARGUMENTS...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import inside  # noqa: F401
import mlflow
from mlflow import MlflowClient

from localprompt.cli.main import main

VALUES = {"input": "alpha3", "other": "two\nlines"}


def run() -> None:
    main(sys.argv[1:], standalone_mode=False)
    (found,) = MlflowClient().search_runs(["0"])
    client, run_id = MlflowClient(), found.info.run_id
    best = mlflow.artifacts.load_text(f"{found.info.artifact_uri}/best_prompt.txt")
    steps = [each.value for each in client.get_metric_history(run_id, "dev.best_so_far")]
    tags = {name: value for name, value in found.data.tags.items() if name.startswith("localprompt.")}
    linked = json.loads(found.data.tags.get("mlflow.linkedPrompts", "[]"))
    logged = {"params": found.data.params, "metrics": found.data.metrics, "status": found.info.status}
    print(json.dumps({**logged, "best": best, "steps": steps, "linked": linked, **tags}))
    for each in linked:
        prompt = mlflow.genai.load_prompt(each["name"], each["version"])
        inputs = json.loads(prompt.tags["localprompt_inputs"])
        told = {"template": prompt.template, "tags": dict(prompt.tags), "variables": sorted(prompt.variables)}
        filled = prompt.format(**{variable: VALUES[name] for variable, name in inputs.items()})
        print(json.dumps({"name": prompt.name, **told, "filled": filled}))


if __name__ == "__main__":
    run()
