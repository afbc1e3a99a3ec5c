"""Cross-validation: each row of a small task is tested once, by a prompt found without it. Level 7.

The whole search is run once for each fold, on the rows of the others; what it found is measured on the fold, beside its
seed prompt. One last search on all rows finds the prompt that is returned. All of them are runs like others. They are
listed in a study of the store, which the same call finds again.

Source: Stone, Cross-validatory choice and assessment of statistical predictions (1974). Choosing, which is the search,
is a part of what is assessed, so it is repeated too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from localprompt.errors import ConfigError, StoreError, TaskError
from localprompt.lm.deadline import Deadline
from localprompt.run.config import RunConfig
from localprompt.run.estimate import Estimate
from localprompt.run.execute import held_out_scores
from localprompt.run.models import Models
from localprompt.run.prepare import prepare
from localprompt.run.results import CrossValidation, RunResult
from localprompt.run.sizing import planned
from localprompt.run.spec import RunSpec, order_of
from localprompt.run.study import SearchStudy, gone_on
from localprompt.search.observer import Observer, SilentObserver
from localprompt.store import Store
from localprompt.tasks import Task
from localprompt.tasks.copies import n_different, numbered
from localprompt.tasks.data import check_folds
from localprompt.types import Evaluation, Example, Outcome

KIND = "cross-validation"
"""Of study in the store."""


def without_each_fold(task: Task, seed: int) -> list[Task]:
    """Return the task once for each fold: the fold is its test split, the other rows are its train and dev splits.

    Folds have the labels in proportion and as many different inputs, to one; rows with the same inputs are in one fold.
    Of the other rows as large a part is train as in the task.

    Raises:
        TaskError: if it has too few rows for so many folds, or a test split beside them.
    """
    if task.test:
        raise TaskError(f"the task {task.name} has folds and test examples", "leave test empty, or set folds to 0")
    rows = (*task.train, *task.dev)
    check_folds(task.folds, n_different(rows))
    # By the number of a row or, where that is not one in all folds together, by all of its name.
    names = {example.id: example.id.rpartition(":")[2] for example in rows}
    is_short = len(set(names.values())) == len(rows)

    def named(split: str, examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(replace(each, id=f"{split}:{names[each.id] if is_short else each.id}") for each in examples)

    same: dict[int, list[Example]] = {}
    for number, example in zip(numbered(rows), rows, strict=True):
        same.setdefault(number, []).append(example)
    groups = {group[0].id: group for group in same.values()}
    # Every piece of them has the labels in proportion, also what is left without one.
    order = [groups[first.id] for first in order_of(task, [group[0] for group in same.values()], seed)]
    found = []
    for number in range(task.folds):
        start, end = (len(order) * each // task.folds for each in (number, number + 1))
        fold, others = _flat(order[start:end]), _flat([*order[:start], *order[end:]])
        n_train = min(max(1, round(len(others) * len(task.train) / len(rows))), len(others) - 1)
        found.append(
            replace(
                task,
                name=f"{task.name}, fold {number + 1} of {task.folds}",
                train=named("train", others[:n_train]),
                dev=named("dev", others[n_train:]),
                test=named("test", fold),
                folds=0,
            )
        )
    return found


def _flat(groups: Sequence[Sequence[Example]]) -> list[Example]:
    return [example for group in groups for example in group]


@dataclass(frozen=True, slots=True)
class FoldedSearch:
    """A search for each fold and a last one on all rows."""

    whole: RunSpec
    """As it is asked for, with the limits of all searches together."""
    parts: tuple[RunSpec, ...]
    """Each with its share of tokens and calls; the last one is on all rows."""

    def expected(self, models: Models, observer: Observer, deadline: Deadline | None) -> Estimate:
        """Return what all searches will cost together; its sizes are those of the last one.

        Raises:
            ModelError, ContextOverflow: as `dry_run`.
        """
        minutes = None if deadline is None else deadline.left / 60 / len(self.parts)
        costs = [
            planned(prepare(part, models), each, None if minutes is None else Deadline(minutes))[1]
            for part, each in zip(self.parts, [*[SilentObserver()] * (len(self.parts) - 1), observer], strict=True)
        ]
        names = [field.name for field in fields(Estimate) if field.name != "sizes"]
        every = {name: [getattr(cost, name) for cost in costs] for name in names}
        sums: dict[str, Any] = {name: None if None in each else sum(each) for name, each in every.items()}
        return replace(costs[-1], **sums)

    def carried_out(
        self, home: Store, models: Models, observer: Observer, deadline: Deadline | None, *, use_cache: bool
    ) -> RunResult:
        """Return what the last search found, with the scores of the others on their folds as its scores on test.

        Searches that the store has from the same call before are taken as they are, or gone on with.

        Raises:
            LocalPromptError, KeyboardInterrupt: whatever ends a search; the same call goes on.
        """
        ready = [prepare(part, models) for part in self.parts]  # every row fits, or nothing is spent
        whole = RunConfig.new(self.whole, models, use_cache=use_cache)
        study = SearchStudy(home, KIND, whole, {"folds": self.whole.task.folds})
        observer.note(f"cross-validation {study.id}, {len(ready)} searches, kept in {home.path}")
        results: list[RunResult] = []
        for number, each in enumerate(ready):
            task, n_left = each.spec.task, len(ready) - number
            what = f"tested on {len(task.test)}" if task.test else "for the prompt that is returned"
            rows = len(task.train) + len(task.dev)
            observer.note(f"search {number + 1} of {len(ready)}: on {rows} rows, {what}")
            held_out = None if task.test else self._held_out(home, results)
            share = None if deadline is None else Deadline(deadline.left / 60 / n_left)
            try:
                with home.studies.ending(study.id):
                    run_id = study.known(number, each.spec, held_out)
                    if run_id is None:
                        sized, cost = planned(each, observer, share)
                        config = RunConfig.new(sized.spec, models, use_cache=use_cache, expected=cost)
                        run_id = study.entered(number, config.changed(cross_validation=held_out))
                    minutes = None if share is None else share.left / 60
                    results.append(gone_on(home, run_id, each, observer, minutes))
            except BaseException:
                observer.note(
                    f"resuming goes on with search {number + 1} of {len(ready)} alone, the same call with all of them"
                )
                raise
        home.studies.update(study.id, status="finished")
        return results[-1]

    def _held_out(self, home: Store, results: Sequence[RunResult]) -> CrossValidation:
        """Return what the searches without a fold found on their folds.

        Raises:
            StoreError: if scores of theirs are gone.
        """
        examples: list[Example] = []
        outcomes: tuple[list[Outcome], list[Outcome]] = [], []
        for part, result in zip(self.parts, results, strict=False):
            known = home.runs.by_example(result.run_id, "test")
            seed, best = (known.get(prompt.id, {}) for prompt in (result.seed_prompt, result.best))
            tested = [example for example in part.task.test if example.id in seed and example.id in best]
            if result.test is None or len(tested) < result.test.best.n:
                problem = f"the run {result.run_id} has no test scores any more"
                raise StoreError(problem, "delete it, and the same call makes it again")
            examples += tested
            for pooled, of_prompt in zip(outcomes, (seed, best), strict=True):
                pooled += [of_prompt[example.id] for example in tested]
        before, after = (Evaluation(results[0].seed_prompt, tuple(pooled)) for pooled in outcomes)
        return CrossValidation(
            runs=tuple(each.run_id for each in results),
            rows=len(self.whole.task.tested),
            better=sum(each.found_better for each in results),
            cut_short=sum(bool(each.stopped) for each in results),
            seeds=len({each.seed_prompt.id for each in results}),
            tokens_computed=sum(each.spend.tokens_computed + each.final_evaluation.tokens_computed for each in results),
            test=held_out_scores(self.whole.task, examples, before, after),
        )


def folded(spec: RunSpec) -> FoldedSearch | None:
    """Return the searches of a cross-validated task; None for one with a test split.

    Raises:
        ConfigError: for limits that cannot be divided.
        TaskError: as `without_each_fold`.
    """
    if not spec.task.folds:
        return None
    tasks, limits = [*without_each_fold(spec.task, spec.seed), spec.task], spec.limits
    if limits.pause_after is not None:
        hint = "interrupt it at any time: the same call goes on"
        raise ConfigError("pause_after is for one search, and a cross-validated task takes several", hint)
    shares = {}
    for name in ("max_tokens", "max_calls"):
        if (limit := getattr(limits, name)) is not None:
            if limit < len(tasks):
                raise ConfigError(f"{name} is {limit}, for {len(tasks)} searches", f"give {len(tasks)} or more")
            shares[name] = limit // len(tasks)
    limits = replace(limits.without_minutes(), **shares)
    return FoldedSearch(spec, tuple(replace(spec, task=task, limits=limits) for task in tasks))
