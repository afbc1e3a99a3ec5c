"""What the store knows of a run, as plain data: for lists, for `runs show` and for JSON. Level 10.

A result comes from the store and may be of another version, or damaged: what cannot be read is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from localprompt.errors import StoreError
from localprompt.interface.rounding import score_text
from localprompt.store.plain import plain
from localprompt.store.records import DamagedRun

if TYPE_CHECKING:
    from localprompt.store import RunRecord, Store
    from localprompt.types import Candidate, Evaluation

_Found = TypeVar("_Found")


def listed(store: Store, run: RunRecord | DamagedRun) -> dict[str, Any]:
    """Return a run as a line of a list; of one that is damaged what is known, and why in `stopped`."""
    names = {name: getattr(run, name) for name in ("task", "model", "proposer", "method")}
    if isinstance(run, DamagedRun):
        unknown = dict.fromkeys(("seed", "created", "updated", "test", "verdict"))
        return {"run_id": run.id, "status": "damaged", "imported": False, **names, **unknown, "stopped": run.why}
    is_killed = run.status == "running" and not store.runs.is_held(run.id)  # it had no time to change its status
    return {
        "run_id": run.id,
        "status": "interrupted" if is_killed else run.status,
        "imported": run.imported,
        **names,
        "seed": run.seed,
        "created": run.created,
        "updated": run.updated,
        "test": _test(run.result),
        "verdict": verdict if isinstance(verdict := at(run.result, "verdict"), str) else None,
        "stopped": run.stopped,
    }


def facts_of(store: Store, run_id: str) -> dict[str, Any]:
    """Return all that is known of a run; `damage` says what cannot be read.

    Raises:
        StoreError: if the store cannot be read.
    """
    damage: list[str] = []

    def read(what: Callable[[str], list[_Found]]) -> list[_Found]:
        try:
            return what(run_id)
        except StoreError as error:
            damage.append(error.message)
            return []

    runs, run = store.runs, store.runs.look(run_id)
    record = None if isinstance(run, DamagedRun) else run
    discards, events = read(runs.discards), read(runs.events)
    result = record.result if record else None
    return {
        **listed(store, run),
        "configuration": record.configuration if record else None,
        "result": result,
        "spend": at(result, "spend"),
        "candidates": _candidates(read(runs.candidates), read(runs.evaluations)),
        "discards": dict(Counter(each.reason for each in discards).most_common()),
        "discarded_proposals": plain(discards),
        "events": plain(events),
        "damage": damage,
    }


def _candidates(candidates: Sequence[Candidate], evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return prompts with their lineage and dev score, the best first."""
    dev: dict[str, list[float]] = {}
    for evaluation in evaluations:
        scores = [outcome.score for outcome in evaluation.outcomes if outcome.example_id.startswith("dev:")]
        dev[evaluation.prompt.id] = scores
    rows = [
        {
            "prompt_id": each.prompt.id,
            "prompt": plain(each.prompt),
            "op": each.op,
            "parents": list(each.parents),
            "dev": {"mean": sum(scores) / len(scores) if scores else None, "n": len(scores)},
        }
        for each in candidates
        for scores in [dev.get(each.prompt.id, [])]
    ]
    # Scores on few examples are flattering, so those on more stand first.
    return sorted(rows, key=lambda row: (row["dev"]["n"], row["dev"]["mean"] or 0.0), reverse=True)


def state(row: dict[str, Any]) -> str:
    """Return the status of a run for people."""
    return f"{row['status']}, imported" if row["imported"] else str(row["status"])


def outcome(row: dict[str, Any]) -> str:
    """Return both test scores and the verdict in a line, a dash where there are none."""
    if row["test"] is None:
        return "-"
    seed, best = (score_text(row["test"][which]["mean"]) for which in ("seed", "best"))
    return f"{seed} to {best}, {row['verdict'] or 'no verdict'}"


def when(seconds: float | None) -> str:
    """Return a time for people, a dash where none is known."""
    if seconds is None:
        return "-"
    return f"{datetime.fromtimestamp(seconds, tz=timezone.utc).astimezone():%Y-%m-%d %H:%M}"


def at(value: object, *keys: str) -> Any:
    """Return what stands under the keys of a result, None where nothing does: results of other versions differ."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _test(result: object) -> dict[str, dict[str, float]] | None:
    """Return the mean scores on test, None where one of them is none that can be shown."""
    means = {which: _number(at(result, "test", which, "mean")) for which in ("seed", "best")}
    known = {which: {"mean": mean} for which, mean in means.items() if mean is not None}
    return known if len(known) == len(means) else None


def _number(found: object) -> float | None:
    return float(found) if isinstance(found, int | float) and 0 <= found <= 1 else None
