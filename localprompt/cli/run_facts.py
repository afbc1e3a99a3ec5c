"""What the store knows of a run, as plain data: for lists, for `runs show` and for JSON. Level 10.

A result comes from the store and may be of another version, or damaged: what cannot be read is None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from localprompt.interface.rounding import score_text
from localprompt.store.plain import plain
from localprompt.store.records import DamagedRun

if TYPE_CHECKING:
    from localprompt.run.history import RunHistory
    from localprompt.store import RunRecord
    from localprompt.types import Candidate

_Row = Mapping[str, Any]
"""As `listed` makes it."""
Order = Literal["created", "task", "model", "method", "score", "gain"]


def listed(run: RunRecord | DamagedRun, status: str) -> dict[str, Any]:
    """Return a run as a line of a list; of one that is damaged what is known, and why in `stopped`."""
    names = {name: getattr(run, name) for name in ("task", "model", "proposer", "method")}
    if isinstance(run, DamagedRun):
        unknown = dict.fromkeys(("seed", "created", "updated", "test", "verdict"))
        return {"run_id": run.id, "status": status, "imported": False, **names, **unknown, "stopped": run.why}
    return {
        "run_id": run.id,
        "status": status,
        "imported": run.imported,
        **names,
        "seed": run.seed,
        "created": run.created,
        "updated": run.updated,
        "test": _test(run.result),
        "verdict": verdict if isinstance(verdict := at(run.result, "verdict"), str) else None,
        "stopped": run.stopped,
    }


def matching(rows: Sequence[_Row], wanted: Mapping[str, str]) -> list[_Row]:
    """Return the rows that hold the wanted texts, in any case; as status counts what `state` says."""
    return [row for row in rows if all(_holds(row, name, text) for name, text in wanted.items())]


def ordered(rows: Sequence[_Row], by: Order) -> list[_Row]:
    """Return the rows, which come newest first, in an order; those without scores are last where it is by scores."""
    if by == "created":
        return list(rows)
    if by not in ("score", "gain"):
        return sorted(rows, key=lambda row: str(row[by]).casefold())
    known = sorted((row for row in rows if row["test"]), key=lambda row: _by(by, row["test"]), reverse=True)
    return known + [row for row in rows if not row["test"]]


def _by(order: Order, test: Any) -> float:
    return float(test["best"]["mean"]) - (float(test["seed"]["mean"]) if order == "gain" else 0.0)


def _holds(row: _Row, name: str, text: str) -> bool:
    return text.casefold() in (state(row) if name == "status" else str(row[name])).casefold()


def facts_of(history: RunHistory) -> dict[str, Any]:
    """Return all that is known of a run; `damage` says what cannot be read."""
    record = None if isinstance(history.run, DamagedRun) else history.run
    result = record.result if record else None
    return {
        **listed(history.run, history.status),
        "configuration": record.configuration if record else None,
        "result": result,
        "spend": at(result, "spend"),
        "candidates": [_candidate(each, history.dev_scores.get(each.prompt.id, ())) for each in history.ranked],
        "changed_rows": [row.to_json() for row in history.changed_rows],
        "discards": discards_of(history),
        "discarded_proposals": plain(history.discards),
        "events": plain(history.events),
        "damage": list(history.damage),
    }


def discards_of(history: RunHistory) -> dict[str, int]:
    """Return how many proposals were not used, by reason, the most frequent first."""
    return dict(Counter(each.reason for each in history.discards).most_common())


def _candidate(candidate: Candidate, scores: Sequence[float]) -> dict[str, Any]:
    return {
        "prompt_id": candidate.prompt.id,
        "prompt": plain(candidate.prompt),
        "op": candidate.op,
        "parents": list(candidate.parents),
        "dev": {"mean": math.fsum(scores) / len(scores) if scores else None, "n": len(scores)},
    }


def state(row: _Row) -> str:
    """Return the status of a run for people."""
    return f"{row['status']}, imported" if row["imported"] else str(row["status"])


def outcome(row: _Row) -> str:
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
