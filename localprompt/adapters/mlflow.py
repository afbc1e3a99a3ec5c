"""A finished run as a run of MLflow, at the address that MLflow is set to. Level 9."""

from __future__ import annotations

import json

from localprompt.adapters.extras import needing
from localprompt.errors import ConfigError
from localprompt.run.results import RunResult

with needing("mlflow", "mlflow"):
    import mlflow
    from mlflow.exceptions import MlflowException

_MAX_PARAM = 500
"""Characters of a parameter that MLflow takes."""


def log_run(result: RunResult) -> str:
    """Return the id of a new run of MLflow with what a run found.

    Parameters: task, model, proposer, method, seed. Metrics: dev and test scores with the ends of their intervals, the
    difference on test and its p-value, what the search spent, and the best dev score by tokens computed. Artifacts:
    both prompts as text, and the result as JSON. The tag `localprompt.run_id` names the run here.

    Raises:
        ConfigError: if MLflow does not take it; the run is kept here all the same.
    """
    try:
        with mlflow.start_run(run_name=f"{result.task} {result.method}") as run:
            tags = {"localprompt.run_id": result.run_id, "localprompt.verdict": result.verdict}
            mlflow.set_tags(tags)
            names = ("task", "model", "proposer", "method", "seed")
            mlflow.log_params({name: str(getattr(result, name))[:_MAX_PARAM] for name in names})
            mlflow.log_metrics(_metrics(result))
            for incumbent in result.trajectory:
                mlflow.log_metric("dev.best_so_far", incumbent.mean, step=incumbent.tokens_computed)
            mlflow.log_text(result.seed_prompt.instruction, "seed_prompt.txt")
            mlflow.log_text(result.best.instruction, "best_prompt.txt")
            mlflow.log_text(json.dumps(result.to_json(), indent=2, ensure_ascii=False), "result.json")
            return str(run.info.run_id)
    except (MlflowException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise ConfigError(
            f"MLflow did not take the run ({first})", f"the run {result.run_id} is kept; set $MLFLOW_TRACKING_URI"
        ) from error


def _metrics(result: RunResult) -> dict[str, float]:
    found: dict[str, float] = {
        "search.tokens_computed": result.spend.tokens_computed,
        "search.calls": result.spend.calls,
        "search.seconds": result.spend.seconds,
    }
    if result.dev is not None:
        found["dev.best"] = result.dev.mean
    if result.test is not None:
        for name, interval in (("seed", result.test.seed), ("best", result.test.best)):
            found |= {
                f"test.{name}": interval.mean,
                f"test.{name}.low": interval.low,
                f"test.{name}.high": interval.high,
            }
        difference = result.test.difference
        found |= {"test.difference": difference.mean, "test.p_value": difference.p}
    return found
