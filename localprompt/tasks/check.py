"""What is doubtful about a task though it can be read. Level 3."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import regex

from localprompt.interface.rounding import score_text
from localprompt.tasks.answers import Extraction, answer_spec
from localprompt.tasks.constant import constant_answer
from localprompt.tasks.copies import inputs_of, n_different
from localprompt.tasks.data import SPLITS, first_few
from localprompt.tasks.metrics import METRICS, exact_match, metric_hash, numeric, set_match, token_f1
from localprompt.tasks.normalising import normalise
from localprompt.tasks.numbers import read_numbers
from localprompt.tasks.records import composed
from localprompt.tasks.task import Task
from localprompt.tasks.template import slots
from localprompt.types import Example

_CHARACTERS_A_TOKEN = 3
"""Few, so that what is called too long is: English has about four."""
_INFORMATION = 0.9
"""Of what an answer tells where all labels are equally frequent, in bits. Two labels fall below it from 69 : 31 on."""
_SENTENCE_MARKS = regex.compile(r"(?V1)[\p{P}--[*/%#&@\\_-]]")
"""Punctuation, but not the signs that make 3 / 4 differ from 3 * 4, and C from C#."""
_MINUS = regex.compile(r"(?<![\w)]\s?)[-\u2212](?=\.?\d)")
"""Of a negative number; not of a range, a date or a subtraction."""
_NO_SLOT = regex.compile(r"\{\{\s*[^{}\s]+\s+[^{}\s][^{}]*\}\}")
"""Braces around several words: a column with a blank in its name, or what Jinja would fill."""
_HALF = 0.5
_ALPHA = 0.05
_MOST_TOLD = 3
_Doubt = tuple[str, str]
"""The split that is doubtful, of two the later one, or "" for the task as a whole; and the sentence that says why."""
_Pair = tuple[tuple[str, str], Example, Example]
"""The splits of two examples, the later one first, and the two."""


def find_doubts(task: Task) -> tuple[str, ...]:
    """Return one sentence for each thing that makes the task's scores less trustworthy; empty if there is none.

    Begins with what was doubtful about reading the data. Looks for a test split that is too small to show anything and
    a dev split that is too small to choose by, inputs that occur twice (across splits and within one; across splits
    also with other case, spacing, punctuation or composition), rows that a seed prompt shows solved, the same inputs
    with different answers, labels that are missing, a prefix of another, or so unequally frequent that an answer tells
    less than 90 % of the bits that it could (without labels: than 0.9 bits), answers that do not fit max_tokens or that
    the task's `answer` makes wrong ones of, answers that the metric cannot tell apart, or that are not one plain number
    where numbers are compared, a raw template that ends in a space, braces in the layout that are no slot, answers that
    nothing ends and whose end is read, and worked examples without inputs.
    """
    return tuple(text for _, text in _doubts(task))


def main_doubts(task: Task, *splits: str) -> tuple[str, ...]:
    """Return the doubts that concern scores on the splits: all of up to four, else three and how many more there are.

    First come those about the first split, then those about the task as a whole, then those about the other splits.
    """
    order = [splits[0], "", *splits[1:]]
    doubts = sorted((doubt for doubt in _doubts(task) if doubt[0] in order), key=lambda doubt: order.index(doubt[0]))
    texts = [text for _, text in doubts]
    left = len(texts) - _MOST_TOLD
    if left <= 1:  # the sentence that counts it would be as long
        return tuple(texts)
    return (*texts[:_MOST_TOLD], f"{left} more doubts: `localprompt tasks check TASK` shows them")


def _doubts(task: Task) -> Iterator[_Doubt]:
    checks = (
        _too_few,
        _repeated,
        _nearly_repeated,
        _shown_by_a_seed,
        _missing_labels,
        _unbalanced,
        _prefixes,
        _out_of_reach,
        _same_to_the_metric,
        _odd_layout,
        _not_one_number,
    )
    yield from (("", doubt) for doubt in task.doubts)
    for check in checks:
        yield from check(task)


def _too_few(task: Task) -> Iterator[_Doubt]:
    n = n_different(task.tested)
    p = 2 * 0.5**n  # of McNemar's test and of any other that flips signs, where every example is gained
    if n and p >= _ALPHA:
        what = f"{'different ' if n < len(task.tested) else ''}example{'s'[: n != 1]}"
        yield "test", f"test has {n} {what}, too few to show any gain: were all gained, p would be {p:g}"
    if n_different(task.dev) == 1:
        different = "different " if len(task.dev) > 1 else ""
        few = f"dev has 1 {different}example, too few to choose a prompt by"
        yield "dev", f"{few}: the seed prompt stays unless unused train examples show a gain"


def _splits(task: Task) -> dict[str, tuple[Example, ...]]:
    splits = zip(SPLITS, (task.train, task.dev, task.test), strict=True)
    return {name: examples for name, examples in splits if not (task.folds and name == "test")}


def _examples(task: Task) -> Sequence[Example]:
    return (*task.train, *task.dev, *task.test)


def _same_inputs(task: Task, read: Callable[[str], str] = str) -> Iterator[_Pair]:
    """Yield each example whose inputs, so read, were there before, with the first that had them."""
    seen: dict[tuple[tuple[str, str], ...], tuple[str, Example]] = {}
    for split, examples in _splits(task).items():
        for example in examples:
            inputs = tuple((name, read(text)) for name, text in inputs_of(example))
            other, first = seen.setdefault(inputs, (split, example))
            if first is not example:
                yield (split, other), example, first


def _across(pairs: Iterable[_Pair]) -> dict[tuple[str, str], list[str]]:
    """Return the pairs, written, by their two splits; what is in all three is in the first of them."""
    across: dict[tuple[str, str], list[str]] = {}
    for places, example, first in pairs:
        across.setdefault(places, []).append(f"{example.id} = {first.id}")
    return across


def _repeated(task: Task) -> Iterator[_Doubt]:
    same = list(_same_inputs(task))
    for (split, other), pairs in _across(same).items():
        where = f"within {split}" if split == other else f"in {split} and in {other}"
        aside = "; searches leave those of train out" if (split, other) == ("test", "train") else ""
        yield split, f"{_rows(pairs)} the same inputs {where}: {first_few(pairs)}{aside}"
    contradictions = [f"{ex.id} = {first.id}" for _, ex, first in same if set(ex.targets).isdisjoint(first.targets)]
    if contradictions:
        yield "", f"{_rows(contradictions)} the same inputs but different answers: {first_few(contradictions)}"


def _shown_by_a_seed(task: Task) -> Iterator[_Doubt]:
    shown = {tuple(sorted(demo.inputs.items())) for seed in task.seeds for demo in seed.demos}
    for split, examples in (("test", task.tested), ("dev", task.dev)):
        if same := [example.id for example in examples if inputs_of(example) in shown]:
            where = f"a worked example of a seed prompt has, so its score on {split} is too good"
            yield split, f"{_rows(same)} inputs that {where}: {first_few(same)}"


def _nearly_repeated(task: Task) -> Iterator[_Doubt]:
    nearly = (
        ((split, other), example, first)
        for (split, other), example, first in _same_inputs(task, _words)
        if other != split and first.inputs != example.inputs and any(map(_words, example.inputs.values()))
    )
    for (split, other), pairs in _across(nearly).items():
        aside = "but for case, spacing and punctuation"
        yield split, f"{_rows(pairs)} the same inputs {aside} in {split} and in {other}: {first_few(pairs)}"


def _words(text: str) -> str:
    return " ".join(_SENTENCE_MARKS.sub(" ", composed(text).casefold()).split())


def _missing_labels(task: Task) -> Iterator[_Doubt]:
    for split, examples in _splits(task).items():
        given = {example.targets[0] for example in examples}
        if missing := [label for label in task.labels if label not in given]:
            yield split, f"{split} has no example of {first_few(map(repr, missing))}"


def _unbalanced(task: Task) -> Iterator[_Doubt]:
    """Yield a doubt for each split in which one answer is right too often. Without labels it could be one of two."""
    for split, examples in _splits(task).items():
        counts = Counter(example.targets[0] for example in examples)
        told = _bits(counts.values()) / math.log2(max(2, min(len(task.labels), len(examples))))
        constant = constant_answer(task, examples) if told < _INFORMATION else None
        # A metric in Python may judge the form of an answer, and then the targets mean nothing.
        if constant is None or (constant.score < _HALF and not task.labels):
            continue
        always = f"always answering {constant.answer!r} would score {score_text(constant.score, 2)}"
        of_bits = f", and an answer tells {100 * told:.0f} % of the bits it could" if task.labels else ""
        yield split, f"{'labels' if task.labels else 'answers'} are unbalanced in {split}: {always}{of_bits}"


def _bits(counts: Collection[int]) -> float:
    """Return the entropy of the shares in bits."""
    return math.fsum(count / sum(counts) * math.log2(sum(counts) / count) for count in counts if count)


def _prefixes(task: Task) -> Iterator[_Doubt]:
    if task.label_score in ("sum", "prefix"):
        why = "summed over tokens the longer one can seldom win: rename one, or use another label_score"
    else:
        why = "what the model gives the shorter one the longer one gets a part of, so their scores move together"
    for label, other in itertools.permutations(task.labels, 2):
        if other.startswith(label):
            yield "", f"the label {label!r} is a prefix of {other!r}: {why}"


def _out_of_reach(task: Task) -> Iterator[_Doubt]:
    if task.labels:
        return
    limit = task.sampling.max_tokens * _CHARACTERS_A_TOKEN
    if long := [example.id for example in _examples(task) if min(map(len, example.targets)) > limit]:
        yield "", f"{len(long)} answers may not fit into max_tokens {task.sampling.max_tokens}: {first_few(long)}"
    answer, metric = task.answer, task.metric
    # What a pattern, marker or field is looked for in is more than the target.
    if isinstance(answer, Extraction) and not answer.argument and metric in METRICS.values():
        lost = [
            f"{row.id} {row.targets[0]!r}"
            for row in _examples(task)
            if all((read := answer(each)) != each and metric(read or "", row.targets) < 1 for each in row.targets)
        ]
        if lost:
            why = f"`answer: {answer.kind}` takes a part of it, which {metric_hash(metric)} holds to be wrong"
            yield "", f"{_rows(lost)} an answer out of reach, even written to the letter: {first_few(lost)}; {why}"


def _same_to_the_metric(task: Task) -> Iterator[_Doubt]:
    if task.metric not in (exact_match, set_match, token_f1):
        return
    written: dict[str, str] = {}
    pairs: dict[str, str] = {}
    targets = list(dict.fromkeys(example.targets[0] for example in _examples(task)))
    for target in targets:
        first = written.setdefault(normalise(target), target)
        if first.casefold() != target.casefold():
            pairs.setdefault(normalise(target), f"{first!r} and {target!r}")
    # What is added behind the first period or line is not seen.
    cut = [repr(target) for target in targets if normalise(f"{target.rstrip('.')}0") == normalise(target)]
    name = metric_hash(task.metric)
    if pairs:
        yield "", f"{name} cannot tell apart {first_few(pairs.values())}: equals or numeric can"
    elif cut:
        where = "up to the period or line break inside"
        yield "", f"{name} reads {first_few(cut)} only {where}: equals or numeric read all"
    elif signed := [repr(target) for target in targets if _MINUS.search(target)]:
        yield "", f"{name} takes {first_few(signed)} without the minus for right too: equals or numeric do not"


def _odd_layout(task: Task) -> Iterator[_Doubt]:
    if task.layout.mode == "raw" and task.layout.template.endswith(" "):
        yield "", "the template ends in a space, but most tokenisers want it with the answer's first word: remove it"
    texts = "\n".join((task.layout.template, task.layout.demo, task.layout.system, task.layout.opening))
    if odd := dict.fromkeys(map(repr, _NO_SLOT.findall(texts))):
        yield "", f"the layout shows {first_few(odd)} as it stands: a slot is one word in braces, see data.fields"
    is_open = task.layout.mode == "raw" and not task.labels and not task.sampling.stop
    if is_open and (kind := answer_spec(task.answer)[0]) in ("whole", "last_number", "after_marker"):
        yield "", f"nothing ends an answer, so `{kind}` reads what the model adds, such as more examples: write a stop"
    if task.layout.has_demos and not set(slots(task.layout.demo)).intersection(task.inputs):
        yield "", "worked examples show answers without inputs: write a layout.demo that has them"


def _not_one_number(task: Task) -> Iterator[_Doubt]:
    if task.metric is not numeric:
        return
    odd = [
        f"{example.id} {target!r}"
        for example in _examples(task)
        for target in example.targets
        if len(numbers := read_numbers(target)) != 1 or numbers[0].shape
    ]
    if odd:
        how = "fractions by worth, times, dates, ratios and ranges as written, and of a sentence the last number"
        yield "", f"{len(odd)} answers are not one plain number: {first_few(odd)}; numeric compares {how}"


def _rows(items: Sequence[str]) -> str:
    return "1 example has" if len(items) == 1 else f"{len(items)} examples have"
