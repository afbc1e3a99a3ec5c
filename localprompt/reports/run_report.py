"""What a report says of a run, in a fixed shape. Level 9. docs/report.md has every name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from localprompt.interface.advice import command
from localprompt.interface.version import __version__
from localprompt.reports.clock import Clock
from localprompt.reports.verdict import Verdict, search_seconds, verdict_of
from localprompt.run.config import resume_command
from localprompt.run.history import Change, RunHistory, TestRow
from localprompt.run.results import RunResult
from localprompt.store.plain import PlainRecord
from localprompt.store.records import DamagedRun, Event
from localprompt.types import Candidate, Discard, Evaluation, Example, Exchange, Outcome, Prompt

MOST_PAIRS = 400_000
"""Scores of single examples that a report holds; those of the candidates measured on most examples first."""
MOST_TEXTS = 2_000
"""Discarded proposals that a report holds in full."""

Fate = Literal["found", "seed", "runner-up", "measured", "not measured"]


@dataclass(frozen=True, slots=True)
class ReportedCandidate:
    """A prompt of the search."""

    prompt_id: str
    prompt: Prompt
    op: str
    """How it came about."""
    parents: tuple[int, ...]
    """Places of the prompts it was made from; those that are no candidates are left out."""
    fate: Fate
    """What became of it: the found prompt, a seed prompt, the runner-up, or one that was only measured, or not even."""
    mean: float | None
    """Score on the dev examples that it was given; None for one that was not measured."""
    n: int
    """Dev examples behind that."""
    nats: float | None
    """Mean log-probability of the right answers, where the search used that."""
    tokens: int | None
    """Computed by the search when it was first measured; None where that is not known, as `seconds`."""
    seconds: float | None
    """Of model calls until then, in all sessions of the run."""
    characters: int
    """Of instruction and worked examples."""
    rows: tuple[int, ...]
    """Places of the dev examples that it was measured on, in `dev`."""
    scores: tuple[float, ...]
    """On these; empty where the report had no room for them."""


@dataclass(frozen=True, slots=True)
class ReportedExample:
    """A row of dev or test."""

    example_id: str
    inputs: Mapping[str, str]
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BestSoFar:
    """The best prompt so far, from some point of the search on."""

    candidate: int
    """Its place."""
    mean: float
    """On dev."""
    n: int
    """Dev examples behind the score."""
    tokens: int
    """Computed by the search until then; 0 where that is not known."""
    seconds: float | None
    """Of model calls until then."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What the search did from some point on."""

    text: str
    at: float
    """Seconds since 1970."""
    tokens: int | None
    """Computed until then; None where that is not known."""
    seconds: float | None


@dataclass(frozen=True, slots=True)
class ReportedRow(ReportedExample):
    """A test row with the seed prompt and with the found prompt."""

    change: Change
    before: Outcome
    after: Outcome


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each answer was given to each label, labels x answers."""

    labels: tuple[str, ...]
    answers: tuple[str, ...]
    """The labels, and behind them the empty text for rows without an answer, where there are such."""
    before: tuple[tuple[int, ...], ...]
    """With the seed prompt."""
    after: tuple[tuple[int, ...], ...]
    """With the found prompt."""


@dataclass(frozen=True, slots=True)
class DiscardReason:
    """Proposals that were not used for one reason."""

    reason: str
    count: int
    texts: tuple[str, ...]
    """Different ones, as far as the report had room."""


@dataclass(frozen=True, slots=True)
class AskedFor:
    """One kind of request to the proposer."""

    kind: str
    """Name of the meta-prompt; empty where it is not known."""
    count: int
    """Requests of this kind."""
    prompt: str
    """The first of them."""
    replies: tuple[str, ...]
    """To that one, as the model wrote them."""


@dataclass(frozen=True, slots=True)
class RunReport(PlainRecord):
    """All that a report says of a run."""

    run_id: str
    status: str
    task: str
    model: str
    proposer: str
    method: str
    imported: bool
    created: float | None
    """Seconds since 1970, as `updated`; None for a run that cannot be read."""
    updated: float | None
    stopped: str
    """Why it ended early; empty where it did not."""
    verdict: Verdict
    result: RunResult | None
    """None where there is none yet."""
    candidates: tuple[ReportedCandidate, ...]
    """In the order in which they were found."""
    dev: tuple[ReportedExample, ...]
    best_so_far: tuple[BestSoFar, ...]
    stages: tuple[Stage, ...]
    limit: int | None
    """Tokens that the search was allowed to compute; None where it was not limited by tokens."""
    seconds: float | None
    """Of the search's model calls, over all its sessions; None where they are not known."""
    objective: str
    """What the search maximised: dev scores are of that."""
    is_cross_validated: bool
    """Each test row was answered with the prompts of a search that did not see it."""
    rows: tuple[ReportedRow, ...]
    """Test rows, in the order of the task."""
    confusion: Confusion | None
    """None where the answers are no closed set."""
    discards: tuple[DiscardReason, ...]
    """The most frequent first."""
    requests: tuple[AskedFor, ...]
    notes: tuple[str, ...]
    damage: tuple[str, ...]
    """What cannot be read."""
    left_out: tuple[str, ...]
    """What the report had no room for, in sentences."""
    settings: Mapping[str, Any]
    """Of the method."""
    configuration: Mapping[str, Any]
    """Versions, fingerprints, machine, limits and seed, by name."""
    commands: Mapping[str, str]
    """What is done with the run next, and the command that does it."""
    kind: Literal["run"] = field(default="run", metadata={"key": "report"})
    version: str = __version__
    """Of localprompt, that made the report."""


def run_report(history: RunHistory, store: Path) -> RunReport:
    """Return the report of a run.

    Args:
        history: what the store has of it.
        store: path of the store, for the command.
    """
    run, config, result = history.run, history.config, history.result
    record = None if isinstance(run, DamagedRun) else run
    dev = _dev_examples(history)
    clock = Clock(history.first_measured.values())
    candidates, no_scores = _within(_candidates(history, dev, clock))
    best = _best_so_far(result, candidates, clock)
    discards, no_texts = _discards(history.discards)
    configuration = {} if record is None else record.configuration
    return RunReport(
        run_id=run.id,
        status=history.status,
        task=run.task,
        model=run.model,
        proposer=run.proposer,
        method=run.method,
        imported=record is not None and record.imported,
        created=record.created if record else None,
        updated=record.updated if record else None,
        stopped=record.stopped if record else "",
        verdict=verdict_of(history, (best[-1].mean, best[-1].n) if best else None),
        result=result,
        candidates=candidates,
        dev=tuple(ReportedExample(each.id, each.inputs, each.targets) for each in dev),
        best_so_far=best,
        stages=tuple(_stage(each, clock) for each in history.events if each.kind == "stage"),
        limit=config.limits.max_tokens if config else None,
        seconds=search_seconds(history),
        objective=config.objective if config else "score",
        is_cross_validated=config is not None and config.cross_validation is not None,
        rows=tuple(_row(row) for row in history.test_rows),
        confusion=_confusion(history),
        discards=discards,
        requests=_requests(history.exchanges),
        notes=_notes(history),
        damage=history.damage,
        left_out=(*no_scores, *no_texts),
        settings=config.settings if config else {},
        configuration={key: value for key, value in configuration.items() if key not in _NOT_SHOWN},
        commands=_commands(history, store),
    )


_NOT_SHOWN = ("task", "settings", "warm", "tested_too", "expected")
"""Of the configuration: long, or told elsewhere."""


def _commands(history: RunHistory, store: Path) -> dict[str, str]:
    """Return what can be done with a run, and the command for it."""
    run = history.run
    if isinstance(run, DamagedRun):
        found = {"see how far the damage goes": command("runs", "check", store=store)}
        found |= {"remove the run": command("runs", "delete", run.id, store=store)}
    else:
        found = {"show it on a terminal": command("runs", "show", run.id, store=store)}
        code = ("--allow-code",) if history.config and history.config.needs_code else ()
        found |= {"repeat it from its stored answers, without the model": command("replay", run.id, *code, store=store)}
        is_cut = bool(run.stopped or (history.result and history.result.stopped))
        if history.status in ("paused", "failed", "interrupted") or is_cut:
            what = f"go on with it{higher_limit(history.status, history.result, ', with')}"
            found |= {what: resume_command(run.id, run.configuration, store)}
    return {what: line.strip("`") for what, line in found.items()}


def higher_limit(status: str, result: RunResult | None, before: str = " with") -> str:
    """Return what a run that can be gone on with needs for it, behind `before`; nothing where it needs nothing."""
    which = "more minutes (--max-minutes)" if result and result.refused else "a higher limit"
    return f"{before} {which}" if status == "finished" else ""


def _dev_examples(history: RunHistory) -> list[Example]:
    """Return the dev examples on which some prompt was measured, in the order of the task."""
    measured = {outcome.example_id for each in history.dev for outcome in each.outcomes}
    return [each for each in history.examples.values() if each.id.startswith("dev:") and each.id in measured]


def _candidates(history: RunHistory, dev: Sequence[Example], clock: Clock) -> tuple[ReportedCandidate, ...]:
    places = {each.prompt.id: place for place, each in enumerate(history.candidates)}
    rows = {each.id: place for place, each in enumerate(dev)}
    scores = {each.prompt.id: _on(rows, each) for each in history.dev}
    nats = {each.prompt.id: each.mean for each in history.likelihoods}
    fates = fates_of(history.result)

    def reported(each: Candidate) -> ReportedCandidate:
        prompt = each.prompt
        of_rows = scores.get(prompt.id, [])
        mark = history.first_measured.get(prompt.id)
        is_measured = bool(of_rows) or prompt.id in nats
        return ReportedCandidate(
            prompt_id=prompt.id,
            prompt=prompt,
            op=each.op,
            parents=tuple(places[parent] for parent in each.parents if parent in places),
            fate=fates.get(prompt.id, "measured" if is_measured else "not measured"),
            mean=math.fsum(score for _, score in of_rows) / len(of_rows) if of_rows else None,
            n=len(of_rows),
            nats=nats.get(prompt.id),
            tokens=mark.tokens if mark else None,
            seconds=clock.at(mark.tokens) if mark else None,
            characters=_characters(prompt),
            rows=tuple(row for row, _ in of_rows),
            scores=tuple(score for _, score in of_rows),
        )

    return tuple(map(reported, history.candidates))


def _on(rows: Mapping[str, int], evaluation: Evaluation) -> list[tuple[int, float]]:
    """Return (place of the example, score) of the dev examples of an evaluation, by places."""
    return sorted((rows[each.example_id], each.score) for each in evaluation.outcomes if each.example_id in rows)


def fates_of(result: RunResult | None) -> dict[str, Fate]:
    """Return what became of the prompts of a result by their ids; empty where there is none."""
    if result is None:
        return {}
    fates: dict[str, Fate] = {}
    if result.runner_up:
        fates[result.runner_up.prompt.id] = "runner-up"
    fates[result.best.id] = "found"
    fates[result.seed_prompt.id] = "seed"
    return fates


def _characters(prompt: Prompt) -> int:
    demos = (len(text) for demo in prompt.demos for text in (*demo.inputs.values(), demo.output))
    return len(prompt.instruction) + sum(demos)


def _within(candidates: Sequence[ReportedCandidate]) -> tuple[tuple[ReportedCandidate, ...], tuple[str, ...]]:
    """Return the candidates with the scores that a report has room for, and a sentence where some are left out."""
    room, kept = MOST_PAIRS, set[int]()
    first = sorted(range(len(candidates)), key=lambda i: (-candidates[i].n, -(candidates[i].mean or 0.0)))
    for place in first:
        if candidates[place].n > room:
            break
        room -= candidates[place].n
        kept.add(place)
    left = len(candidates) - len(kept)
    text = f"the scores of {left:,} candidates on single examples: those of the {len(kept):,} measured on most are here"
    short = (each if i in kept else replace(each, rows=(), scores=()) for i, each in enumerate(candidates))
    return tuple(short), (text,) if left else ()


def _best_so_far(
    result: RunResult | None, candidates: Sequence[ReportedCandidate], clock: Clock
) -> tuple[BestSoFar, ...]:
    """Return the trajectory of a result; of a run without one the best of those measured so far, on most examples."""
    if result is not None:
        places = {each.prompt_id: place for place, each in enumerate(candidates)}
        return tuple(
            BestSoFar(
                places[each.prompt_id], each.mean, each.n, each.tokens_computed, clock.at(each.tokens_computed or None)
            )
            for each in result.trajectory
            if each.prompt_id in places
        )
    measured = [(each.tokens or 0, place, each.mean) for place, each in enumerate(candidates) if each.mean is not None]
    most = max((candidates[place].n for _, place, _ in measured), default=0)
    found = list[BestSoFar]()
    for tokens, place, mean in sorted(measured):
        if candidates[place].n == most and (not found or mean > found[-1].mean):
            found.append(BestSoFar(place, mean, most, tokens, candidates[place].seconds))
    return tuple(found)


def _stage(event: Event, clock: Clock) -> Stage:
    tokens = event.spent.tokens if event.spent else None
    return Stage(event.text, event.at, tokens, clock.at(tokens))


def _row(row: TestRow) -> ReportedRow:
    return ReportedRow(row.example.id, row.example.inputs, row.example.targets, row.change, row.before, row.after)


def _confusion(history: RunHistory) -> Confusion | None:
    """Return the confusion matrices on test; None where the task has no labels, or no row was measured."""
    named = history.config.task.get("labels") if history.config else None
    labels = tuple(each for each in named if isinstance(each, str)) if isinstance(named, list) else ()
    if not labels or not history.test_rows:
        return None
    given = {_given(outcome, labels) for row in history.test_rows for outcome in (row.before, row.after)}
    answers = (*labels, "") if "" in given else labels

    rows = history.test_rows

    def counted(outcomes: Iterable[Outcome]) -> tuple[tuple[int, ...], ...]:
        pairs = Counter(
            (_label_of(row.example, outcome), _given(outcome, labels))
            for row, outcome in zip(rows, outcomes, strict=True)
        )
        return tuple(tuple(pairs[label, answer] for answer in answers) for label in labels)

    return Confusion(labels, answers, counted(row.before for row in rows), counted(row.after for row in rows))


def _label_of(example: Example, outcome: Outcome) -> str:
    """Return which of its right labels a row counts for: the one that was given, else the first."""
    is_right = outcome.prediction in example.targets
    return outcome.prediction if is_right and outcome.prediction is not None else example.targets[0]


def _given(outcome: Outcome, labels: Sequence[str]) -> str:
    return outcome.prediction if outcome.prediction is not None and outcome.prediction in labels else ""


def _discards(discards: Sequence[Discard]) -> tuple[tuple[DiscardReason, ...], tuple[str, ...]]:
    """Return the discards by reason, and a sentence where there was no room for all texts."""
    texts: dict[str, dict[str, None]] = {}
    for each in discards:
        texts.setdefault(each.reason, {})[each.text] = None
    counts, room = Counter(each.reason for each in discards), MOST_TEXTS
    found = list[DiscardReason]()
    for reason, count in counts.most_common():
        shown = tuple(texts[reason])[:room]
        room -= len(shown)
        found.append(DiscardReason(reason, count, shown))
    left = sum(map(len, texts.values())) - (MOST_TEXTS - room)
    return tuple(found), (f"the texts of {left:,} discarded proposals",) if left else ()


def _requests(exchanges: Sequence[Exchange]) -> tuple[AskedFor, ...]:
    first: dict[str, Exchange] = {}
    for each in exchanges:
        first.setdefault(each.kind, each)
    counts = Counter(each.kind for each in exchanges)
    return tuple(AskedFor(kind, counts[kind], each.prompt, each.replies) for kind, each in first.items())


def _notes(history: RunHistory) -> tuple[str, ...]:
    told = [each.text for each in history.events if each.kind == "note"]
    return tuple(dict.fromkeys([*(history.result.notes if history.result else ()), *told]))
