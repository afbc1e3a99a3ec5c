"""A finished run as a run of MLflow, at the address that MLflow is set to, its prompts in its registry. Level 9."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from localprompt.adapters.extras import needing
from localprompt.adapters.mlflow_template import mlflow_template
from localprompt.errors import ConfigError, LocalPromptError
from localprompt.exports.winner import find
from localprompt.run.card import demos_text
from localprompt.run.results import RunResult
from localprompt.run.session import opened_store

with needing("mlflow", "mlflow"):
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.genai import register_prompt

_MAX_PARAM = 500
"""Characters of a parameter that MLflow takes."""
_REFUSALS = (MlflowException, OSError, UnicodeError)


class Logged(NamedTuple):
    """What MLflow has of a run."""

    run_id: str
    """MLflow's own."""
    prompts: tuple[str, ...]
    """Addresses in the registry, `prompts:/NAME/VERSION`: of the seed, then of the found prompt if it is another."""
    problem: str
    """Why prompts are missing from the registry; empty if none is."""


def log_run(result: RunResult) -> Logged:
    """Return what MLflow has of what a run found: a new run, and new versions of the prompt named after the task.

    Where a run of MLflow is active, the new one is below it.

    Parameters: task, model, proposer, method, seed. Metrics: dev and test scores with the ends of their intervals, the
    difference on test and its p-value, what the search spent, and the best dev score by tokens computed. Artifacts:
    both prompts with their worked examples as text, and the result as JSON. The tag `localprompt.run_id` names the run
    here.

    A version of the prompt is what the model is shown, a text or the turns of a chat, with the inputs open; its tags
    say run, model, method, which prompt it is and its scores. It is linked to the run of MLflow.

    Raises:
        ConfigError: if MLflow does not take the run; the run is kept here all the same.
    """
    try:
        with mlflow.start_run(run_name=f"{result.task} {result.method}", nested=True) as run:
            mlflow.set_tags({"localprompt.run_id": result.run_id, "localprompt.verdict": result.verdict})
            names = ("task", "model", "proposer", "method", "seed")
            mlflow.log_params({name: str(getattr(result, name))[:_MAX_PARAM] for name in names})
            mlflow.log_metrics(_metrics(result))
            for incumbent in result.trajectory:
                mlflow.log_metric("dev.best_so_far", incumbent.mean, step=incumbent.tokens_computed)
            for name, prompt in (("seed", result.seed_prompt), ("best", result.best)):
                text = "\n\n".join(filter(None, (prompt.instruction, demos_text(prompt))))
                mlflow.log_text(text, f"{name}_prompt.txt")
            mlflow.log_text(json.dumps(result.to_json(), indent=2, ensure_ascii=False), "result.json")
    except _REFUSALS as error:
        raise ConfigError(
            f"MLflow did not take the run ({_first_line(error)})",
            f"the run {result.run_id} is kept; set $MLFLOW_TRACKING_URI",
        ) from error
    run_id, prompts, problem = str(run.info.run_id), [], ""
    try:
        for uri in _registered(result, run_id):
            prompts.append(uri)  # noqa: PERF402 - those before a problem are there
    except (*_REFUSALS, LocalPromptError) as error:
        problem = f"MLflow's registry did not take the prompts ({_first_line(error)}); the run has their instructions"
    return Logged(run_id, tuple(prompts), problem)


def _registered(result: RunResult, run_id: str) -> Iterator[str]:
    """Yield the addresses of the prompts of a run, each as soon as it is registered and linked to the run of MLflow."""
    with opened_store(result.store, create=False) as home:
        task = find(home, result.run_id, "dev").task
    prompts = {"seed": result.seed_prompt, **({"best": result.best} if result.found_better else {})}
    for role, prompt in prompts.items():
        template, inputs = mlflow_template(task, prompt)
        said = {"run_id": result.run_id, "model": result.model, "method": result.method, "role": role}
        said |= {"prompt_id": prompt.id, "verdict": result.verdict, "inputs": json.dumps(inputs)}
        is_of = re.compile(r"test\.seed" if role == "seed" else r"dev|test\.(?!seed)")
        said |= {name: f"{value:.6g}" for name, value in _metrics(result).items() if is_of.match(name)}
        version = register_prompt(
            re.sub(r"[^a-zA-Z0-9_.-]", "-", result.task),
            template,
            f"{role} of the run {result.run_id} of localprompt",
            # Unity Catalog takes no dots.
            {f"localprompt_{name.replace('.', '_')}": text for name, text in said.items()},
        )
        mlflow.MlflowClient().link_prompt_version_to_run(run_id, version)
        yield str(version.uri)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _metrics(result: RunResult) -> dict[str, float]:
    found: dict[str, float] = {
        "search.tokens_computed": result.spend.tokens_computed,
        "search.calls": result.spend.calls,
        "search.seconds": result.spend.seconds,
    }
    if result.dev is not None:
        found["dev.best"] = result.dev.mean
    if result.test is not None:
        for name, each in (("seed", result.test.seed), ("best", result.test.best)):
            found |= {f"test.{name}": each.mean, f"test.{name}.low": each.low, f"test.{name}.high": each.high}
        difference = result.test.difference
        found |= {"test.difference": difference.mean, "test.p_value": difference.p}
    return found
