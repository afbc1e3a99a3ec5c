"""What is doubtful about a task though it can be read. Level 2."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

from localprompt.tasks.data import SPLITS
from localprompt.tasks.metrics import exact_match, normalise
from localprompt.tasks.task import Task
from localprompt.types import Example

_CHARACTERS_A_TOKEN = 3
"""Few, so that what is called too long is: English has about four."""
_MAX_NAMED = 3


def find_doubts(task: Task) -> tuple[str, ...]:
    """Return one sentence for each thing that makes the task's scores less trustworthy; empty if there is none.

    Looks for inputs that occur twice (across splits and within one), the same inputs with different answers, labels
    that are rare, missing or a prefix of another, answers that do not fit max_tokens, answers that the metric cannot
    tell apart, and a raw template that ends in a space.
    """
    checks = (_repeats, _label_doubts, _prefixes, _long_answers, _same_to_the_metric, _space_at_the_end)
    return tuple(doubt for check in checks for doubt in check(task))


def _splits(task: Task) -> dict[str, tuple[Example, ...]]:
    return dict(zip(SPLITS, (task.train, task.dev, task.test), strict=True))


def _repeats(task: Task) -> Iterator[str]:
    seen: dict[tuple[tuple[str, str], ...], Example] = {}
    across: dict[tuple[str, str], list[str]] = {}
    contradictions = []
    for split, examples in _splits(task).items():
        for example in examples:
            key = tuple(sorted(example.inputs.items()))
            first = seen.setdefault(key, example)
            if first is example:
                continue
            pair = f"{example.id} = {first.id}"
            across.setdefault((split, first.id.partition(":")[0]), []).append(pair)
            if set(example.targets).isdisjoint(first.targets):
                contradictions.append(pair)
    for (split, other), pairs in across.items():
        where = f"within {split}" if split == other else f"in {split} and in {other}"
        yield f"{len(pairs)} examples have the same inputs {where}: {_some(pairs)}"
    if contradictions:
        yield f"{len(contradictions)} examples have the same inputs but different answers: {_some(contradictions)}"


def _label_doubts(task: Task) -> Iterator[str]:
    if not task.labels:
        return
    for split, examples in _splits(task).items():
        counts = Counter(example.targets[0] for example in examples)
        missing = [label for label in task.labels if not counts[label]]
        if missing:
            yield f"{split} has no example of {_some(map(repr, missing))}"
        label, most = counts.most_common(1)[0]
        share = most / len(examples)
        if share > 2 / len(task.labels) or share > 0.75:
            yield f"labels are unbalanced in {split}: always answering {label!r} would score {share:.2f}"


def _prefixes(task: Task) -> Iterator[str]:
    for label, other in itertools.permutations(task.labels, 2):
        if other.startswith(label) and task.label_score == "sum":
            why = "summed over tokens the longer one can seldom win: use another label_score"
            yield f"the label {label!r} is a prefix of {other!r}: {why}"


def _long_answers(task: Task) -> Iterator[str]:
    if task.labels:
        return
    limit = task.sampling.max_tokens * _CHARACTERS_A_TOKEN
    examples = [example for split in _splits(task).values() for example in split]
    long = [example.id for example in examples if min(map(len, example.targets)) > limit]
    if long:
        yield f"{len(long)} answers may not fit into max_tokens {task.sampling.max_tokens}: {_some(long)}"


def _same_to_the_metric(task: Task) -> Iterator[str]:
    if task.metric is not exact_match:
        return
    written: dict[str, str] = {}
    pairs: dict[str, str] = {}
    for target in dict.fromkeys(ex.targets[0] for split in _splits(task).values() for ex in split):
        first = written.setdefault(normalise(target), target)
        if first.casefold() != target.casefold():
            pairs.setdefault(normalise(target), f"{first!r} and {target!r}")
    if pairs:
        yield f"exact_match cannot tell apart {_some(pairs.values())}: equals or numeric can"


def _space_at_the_end(task: Task) -> Iterator[str]:
    if task.layout.mode == "raw" and task.layout.template.endswith(" "):
        yield "the template ends in a space, but most tokenisers want it with the answer's first word: remove it"


def _some(items: Iterable[str]) -> str:
    items = list(items)
    return ", ".join(items[:_MAX_NAMED]) + (", ..." if len(items) > _MAX_NAMED else "")
