"""Candidates and outcomes of a run as flat rows, which `pandas.DataFrame` takes as they are. Level 7."""

from __future__ import annotations

import math
from typing import Any

from localprompt.store import Store


def candidate_rows(store: Store, run_id: str) -> list[dict[str, Any]]:
    """Return a row a candidate, in the order in which they were found.

    Raises:
        StoreError: if there is no such run, or it is damaged.
    """
    dev = {each.prompt.id: each.dev_scores for each in store.runs.evaluations(run_id)}
    marks = store.runs.first_measured(run_id)
    rows = []
    for each in store.runs.candidates(run_id):
        scores, mark = dev.get(each.prompt.id, ()), marks.get(each.prompt.id)
        rows.append(
            {
                "prompt_id": each.prompt.id,
                "instruction": each.prompt.instruction,
                "demos": len(each.prompt.demos),
                "op": each.op,
                "parents": " ".join(each.parents),
                "mean": math.fsum(scores) / len(scores) if scores else None,
                "n": len(scores),
                **{name: getattr(mark, name, None) for name in ("tokens", "seconds")},
            }
        )
    return rows


def outcome_rows(store: Store, run_id: str) -> list[dict[str, Any]]:
    """Return a row for each prompt and example that were measured together, once; those on test last.

    Raises:
        StoreError: if there is no such run, or it is damaged.
    """
    rows = {
        (each.prompt.id, outcome.example_id): {
            "prompt_id": each.prompt.id,
            "example_id": outcome.example_id,
            "split": outcome.example_id.partition(":")[0],
            **{name: getattr(outcome, name) for name in ("prediction", "score", "margin", "failed", "completion")},
        }
        for kind in ("metric", "evidence", "test")
        for each in store.runs.evaluations(run_id, kind)
        for outcome in each.outcomes
    }
    return list(rows.values())
