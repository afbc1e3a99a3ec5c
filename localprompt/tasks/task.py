"""A task file becomes a `Task`. Level 3. The keys are in schema.py, the rows in data.py."""

from __future__ import annotations

import copy
import copyreg
import os
import pickle  # noqa: TID251 - to see whether a task can be sent; nothing is unpickled here
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from localprompt.errors import ConfigError, TaskError, nearest
from localprompt.interface.arguments import check_record, checked
from localprompt.interface.paths import expanded
from localprompt.tasks.answers import Answer, answer_spec, find_answer
from localprompt.tasks.beginnings import beginnings
from localprompt.tasks.data import (
    DEFAULT_SIZES,
    SPLITS,
    Fields,
    Row,
    divide,
    divide_all,
    read_dataset,
    read_file,
    read_frame,
    reading_doubts,
    to_examples,
)
from localprompt.tasks.fingerprint import fingerprint_of
from localprompt.tasks.metrics import METRICS, Metric, find_metric, metric_spec
from localprompt.tasks.records import composed
from localprompt.tasks.template import RESERVED, Layout, check_slots, default_demo, default_template, demo_for, slots
from localprompt.types import Demo, Example, LabelScore, Prompt, Sampling

if TYPE_CHECKING:
    from localprompt.tasks.schema import Source

_DEFAULT_MAX_TOKENS = 32
_INPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Task:
    """What a prompt is for: examples in three disjoint splits, how they are shown, and how an answer is judged.

    A task with `folds` is cross-validated: all its examples are in train and dev, and each of them is tested once.
    """

    name: str
    description: str
    inputs: tuple[str, ...]
    """Names of the input slots."""
    labels: tuple[str, ...]
    """The closed set that an answer is chosen from by likelihood; empty: answers are generated."""
    label_score: LabelScore
    """How the labels' log-likelihoods are compared: `sum`, `token`, `byte`, `prefix`, `calibrated`, `batch`."""
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    seeds: tuple[Prompt, ...]
    """Prompts to begin with, at least one."""
    layout: Layout
    answer: Answer
    """Completion to answer, None where it holds none; of no use where there are labels."""
    metric: Metric
    """(prediction, targets) to a score in [0, 1]."""
    sampling: Sampling
    """How answers are generated: greedy."""
    fingerprint: str = ""
    """Tells the task from others: a hash of what changes scores (all but names, description and seeds), 64 hexadecimal
    digits, the same in every process. A text that is given instead is kept until a field that changes scores is
    replaced; that is for functions of your own, of which only name and bytecode count."""
    doubts: tuple[str, ...] = ()
    """What is doubtful about how the data was read, one sentence each; `find_doubts` repeats it."""
    folds: int = 0
    """Of cross-validation; 0: the task has a test split."""

    @property
    def tested(self) -> tuple[Example, ...]:
        """The examples that a search is tested on: test, or all of a cross-validated task."""
        return (*self.train, *self.dev) if self.folds else self.test

    @property
    def compared(self) -> tuple[str, ...]:
        """What is compared of each label, in their order: with `prefix` as little as tells them apart."""
        return beginnings(self.labels) if self.label_score == "prefix" else self.labels

    @property
    def is_calibrated(self) -> bool:
        """True if labels are compared without what a prompt gives them whatever the input."""
        return bool(self.labels) and self.label_score in ("calibrated", "batch")

    def laid_out(self, layout: Layout) -> Task:
        """Return this task in another layout; a stop that came of the layout comes of the new one."""
        kind, stop = answer_spec(self.answer)[0], self.sampling.stop
        if not self.labels and stop == self.layout.default_stop(kind):
            stop = layout.default_stop(kind)
        return replace(self, layout=layout, sampling=replace(self.sampling, stop=stop))

    def __post_init__(self) -> None:
        try:
            found = fingerprint_of(self._content(), self.fingerprint)
        except (AttributeError, TypeError):
            check_record("task", self)  # it names the field
            raise
        if "" in tuple(self.labels):
            raise TaskError(f"the task {self.name} has an empty label", "a label is a word or more")
        object.__setattr__(self, "fingerprint", found)

    def _content(self) -> list[list[object]]:
        """Return what changes scores. Its form decides the fingerprint, to which stored runs are bound."""
        examples = (*self.train, *self.dev, *self.test)
        content: list[list[object]] = [
            [[example.id, sorted(example.inputs.items()), example.targets] for example in examples],
            [self.labels, self.label_score, asdict(self.layout), asdict(self.sampling)],
            [*answer_spec(self.answer), *metric_spec(self.metric)],
        ]
        return [*content, [self.folds]] if self.folds else content

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what is pickled. Not `__getstate__`: in early versions of Python 3.11 dataclasses write over it.

        Raises:
            TaskError: if `answer` or `metric` cannot be, as a function inside another one.
        """
        for name in ("answer", "metric"):
            try:
                pickle.dumps(getattr(self, name))
            except Exception as error:  # pickle raises what the object's own code raises
                hint = "make it a function of a module that can be imported"
                raise TaskError(f"the task's {name} cannot be pickled ({error})", hint) from error
        return copyreg.__newobj__, (type(self),), [getattr(self, each.name) for each in fields(self)]  # type: ignore[attr-defined]

    def __copy__(self) -> Task:
        """Return the task itself: it never changes."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Task:
        """Return a copy; functions are the same ones."""
        return Task(**{each.name: copy.deepcopy(getattr(self, each.name), memo) for each in fields(self)})


@checked
def load_task(
    path: str | os.PathLike[str],
    *,
    allow_code: bool = False,
    unlabelled: bool = False,
    frames: Mapping[str, object] = MappingProxyType({}),
) -> Task:
    """Return the task that a task file describes, its data read and checked.

    Args:
        path: the YAML file; paths inside it are relative to its folder.
        allow_code: permits `metric: module:function`, which runs code.
        unlabelled: read no answers; the target of each row is empty, and its score means nothing.
        frames: pandas or polars tables, by the names that stand in the places of data files: with `{"rows": table}`,
            `data: {file: rows}` is that table.

    Raises:
        TaskError: naming file, line and key, or data file and rows, with a hint. Nothing is half-read.
    """
    from localprompt.tasks.schema import read_task_file  # noqa: PLC0415 - pydantic and yaml start slowly

    source = replace(read_task_file(expanded(path)), frames=frames)
    _check_frames(source)
    keys = source.keys
    _check_combination(source)
    labels = _labels(source)
    inputs = _inputs(source)
    layout = _layout(source, inputs)
    answer_kind, argument = next(iter((keys.answer or {"whole" if labels else "first_line": ""}).items()))
    with _blame(source, "answer"):
        answer = find_answer(answer_kind, argument)
    metric_name = keys.metric or ("equals" if labels else "exact_match")
    with _blame(source, "metric"):
        metric = find_metric(metric_name, folder=source.path.parent, allow_code=allow_code)
    stop = () if labels else layout.default_stop(answer_kind)
    sampling = Sampling(keys.max_tokens or _DEFAULT_MAX_TOKENS, stop=stop if keys.stop is None else keys.stop)
    splits, doubts = _splits(source, replace(_fields(source, inputs), has_targets=not unlabelled), labels, metric_name)
    train, dev, *test = (to_examples(split, rows) for split, rows in zip(SPLITS, splits, strict=False))
    return Task(
        name=keys.name or _default_name(source.path),
        description=keys.description.strip(),
        inputs=inputs,
        labels=labels,
        label_score=keys.label_score or "sum",
        train=train,
        dev=dev,
        test=test[0] if test else (),
        seeds=_seeds(source, layout, inputs, labels),
        layout=layout,
        answer=answer,
        metric=metric,
        sampling=sampling,
        doubts=doubts,
        folds=keys.data.folds,
    )


def rows_of_one_file(path: Path) -> tuple[int, int]:
    """Return how many rows, and how many different ones, the file has that all splits of a task come from; else 0, 0.

    Raises:
        TaskError: as `load_task` does.
    """
    from localprompt.tasks.schema import read_task_file  # noqa: PLC0415 - as above

    source = read_task_file(expanded(path))
    part = source.keys.data.file
    rows = [] if part is None else _read(source, part, _fields(source, _inputs(source)))[1]
    return len(rows), len({tuple(sorted(row.inputs.items())) for row in rows})


def check_one_split(task: Task, what: str) -> None:
    """Check that a task has a test split.

    Args:
        task: to be checked.
        what: cannot be done without one, as a sentence goes on: `compare has ...`.

    Raises:
        TaskError: if it is cross-validated.
    """
    if task.folds:
        hint = "give data.split the sizes of train, dev and test"
        raise TaskError(f"the task {task.name} is cross-validated: {what}", hint)


def _check_combination(source: Source) -> None:
    keys = source.keys
    if keys.labels is None and keys.label_score is not None:
        raise TaskError(f"{source.at('label_score')} has no effect without labels", "add labels or remove label_score")
    for key in ("answer", "max_tokens", "stop"):
        if keys.labels is not None and getattr(keys, key) is not None:
            hint = f"remove {key}, or remove labels to have answers generated"
            raise TaskError(f"{source.at(key)} has no effect: one of the labels is chosen by likelihood", hint)
    last, field = "opening" if keys.layout.mode == "chat" else "template", (keys.answer or {}).get("json_field")
    end = (getattr(keys.layout, last) or "").rpartition("}}")[2].rstrip()
    is_begun = end.count("{") > end.count("}") and (not end.endswith((":", "[")) or f'"{field}"' in end)
    if field is not None and is_begun:
        problem = f"{source.at('layout', last)} begins the JSON object, so no completion holds {field!r} in one"
        raise TaskError(problem, f"end the {last} before the brace, or write `answer: {{regex: ...}}`")


def _labels(source: Source) -> tuple[str, ...]:
    if source.keys.labels is None:
        return ()
    labels = tuple(composed(label).strip() for label in source.keys.labels)
    if len(labels) < 2:
        hint = "remove labels to have answers generated"
        raise TaskError(f"{source.at('labels')} has {len(labels)}: a choice needs two", hint)
    for index, label in enumerate(labels):
        if not label:
            raise TaskError(f"{source.at('labels', index)} is empty", "a label is a word or more")
        if label in labels[:index]:
            raise TaskError(f"{source.at('labels', index)}: {label!r} is given twice", "remove one of them")
    return labels


def _inputs(source: Source) -> tuple[str, ...]:
    template = source.keys.layout.template
    names = tuple(name for name in source.keys.data.fields or {} if name != "target")
    key: tuple[str, ...] = ("data", "fields")
    if not names and template is not None:
        names = tuple(name for name in slots(template) if name not in RESERVED)
        key = ("layout", "template")
        if not names:
            raise TaskError(f"{source.at(*key)} has no slot for an input", "add a slot such as {{input}}")
    for name in names:
        if name in (taken := (*RESERVED, "target")) or not _INPUT_NAME.fullmatch(name):
            hint = f"use letters from a to z, digits and '_'; {', '.join(taken)} have a meaning of their own"
            raise TaskError(f"{source.at(*key)}: {name!r} cannot be the name of an input", hint)
    return names or ("input",)


def _fields(source: Source, inputs: Sequence[str]) -> Fields:
    columns = source.keys.data.fields or {}
    by_slot = {name: columns.get(name, name) for name in inputs}
    if shown := [name for name, column in by_slot.items() if column == columns.get("target", "target")]:
        problem = f"{source.at('data', 'fields')}: the input {shown[0]!r} is the column of the right answers"
        raise TaskError(problem, "leave it out, or name the column of the answers as `target`")
    return Fields(by_slot, columns.get("target"), source.keys.data.target_separator)


def _layout(source: Source, inputs: Sequence[str]) -> Layout:
    section = source.keys.layout
    if section.mode == "raw":
        for key in ("system", "opening"):
            if getattr(section, key):
                hint = "in raw mode the template is the whole text"
                raise TaskError(f"{source.at('layout', key)} needs `mode: chat`", hint)
    # YAML's `|` adds a line break that nobody means; after it a model would begin its answer on a new line.
    template = default_template(inputs) if section.template is None else section.template.removesuffix("\n")
    opening = section.opening.removesuffix("\n")
    last = template if section.mode == "raw" else opening
    usual = " " if last and not last[-1].isspace() else ""
    separator = usual if section.separator is None else section.separator
    demo = demo_for(template, separator) if section.mode == "raw" else default_demo(inputs)
    demo = demo if section.demo is None else section.demo
    layout = Layout(template, demo, section.mode, section.system.removesuffix("\n"), opening, separator)
    _check_layout(source, layout, inputs)
    return layout


def _check_layout(source: Source, layout: Layout, inputs: Sequence[str]) -> None:
    known = {
        "template": (*inputs, "instruction", "demos"),
        "demo": (*inputs, "output"),
        "system": ("instruction",),
        "opening": ("instruction",),
    }
    for key, names in known.items():
        with _blame(source, "layout", key):
            check_slots(getattr(layout, key), names)
    if not any("instruction" in slots(text) for text in (layout.template, layout.system, layout.opening)):
        raise TaskError(f"{source.at('layout')} has no {{{{instruction}}}} slot", "say where the instruction goes")
    if "output" not in slots(layout.demo):
        raise TaskError(f"{source.at('layout', 'demo')} has no {{{{output}}}} slot", "say where a demo's answer goes")
    for name in inputs:
        if name not in slots(layout.template):
            problem = f"{source.at('layout', 'template')} does not show the input {name!r}"
            raise TaskError(problem, f"add {{{{{name}}}}} or remove it from data.fields")


def _splits(
    source: Source, fields: Fields, labels: Sequence[str], metric_name: str
) -> tuple[list[list[Row]], tuple[str, ...]]:
    """Return the rows of train, dev and, unless cross-validated, test, and what is doubtful about their reading."""
    data, seed = source.keys.data, source.keys.seed
    parts = [data.train, data.dev, data.test]
    if (data.file is None) == (parts == [None, None, None]) or (data.file is None and None in parts):
        raise TaskError(f"{source.at('data')} needs either file, or all of train, dev and test", "see docs/tasks.md")
    if data.folds and data.file is None:
        problem = f"{source.at('data', 'split')}: cross-validation needs all rows in one `file`"
        raise TaskError(problem, "join the files")
    sizes = data.sizes
    if data.file is None and len(set(parts)) < len(parts):
        raise TaskError(f"{source.at('data')} has the same rows in two splits", "train, dev and test are disjoint")
    sources: list[list[Row]] = []
    doubts: tuple[str, ...] = ()
    for part in [data.file] if data.file is not None else [part for part in parts if part is not None]:
        where, rows = _read(source, part, fields)
        if fields.has_targets:
            _check_targets(where, rows, labels, metric_name)
        sources.append(rows)
        doubts += reading_doubts(part, rows)
    with _blame(source, "data", "split"):
        if data.folds:
            return divide_all(sources[0], data.folds, seed=seed, stratify=bool(labels)), doubts
        if data.file is not None:
            return divide(sources[0], sizes or DEFAULT_SIZES, seed=seed, stratify=bool(labels)), doubts
        if sizes is None:
            return sources, doubts
        sampled = zip(sources, sizes, strict=True)
        return [divide(rows, [size], seed=seed, stratify=bool(labels))[0] for rows, size in sampled], doubts


def _check_frames(source: Source) -> None:
    """Check that each table is one that the task file names."""
    data = source.keys.data
    named = [part for part in (data.file, data.train, data.dev, data.test) if part is not None]
    for name in source.frames:
        if name not in named:
            raise TaskError(f"{source.at('data')} names no data {name!r}", nearest(name, named))


def _read(source: Source, part: str, fields: Fields) -> tuple[str, list[Row]]:
    """Return where the rows of a file or a part of a data set come from, for messages, and the rows."""
    data = source.keys.data
    if part in source.frames:
        return f"{part}, row", read_frame(part, source.frames[part], fields)
    if data.dataset is not None:
        rows = read_dataset(data.dataset, part, fields, config=data.config, revision=data.revision)
        return f"{data.dataset}[{part}], row", rows
    for key in ("config", "revision"):
        if getattr(data, key) is not None:
            raise TaskError(f"{source.at('data', key)} needs `dataset`", f"remove {key}")
    try:
        path = source.path.parent / expanded(part)
    except ConfigError as error:
        raise TaskError(f"{source.at('data')}: {error.message}", error.hint) from error
    return f"{path}, line", read_file(path, fields)


def _check_targets(where: str, rows: Sequence[Row], labels: Sequence[str], metric_name: str) -> None:
    """Raise if a right answer could never count as right."""
    metric = METRICS.get(metric_name)
    for row in rows:
        for target in row.targets:
            if labels and target not in labels:
                problem = f"{where} {row.line}: the target {target!r} is not among the labels"
                raise TaskError(problem, nearest(target, labels))
            if metric is not None and metric(target, row.targets) < 1:
                problem = f"{where} {row.line}: the target {target!r} does not match itself under {metric_name}"
                raise TaskError(problem, "choose another metric, such as equals, or mend the target")


def _seeds(source: Source, layout: Layout, inputs: Sequence[str], labels: Sequence[str]) -> tuple[Prompt, ...]:
    prompts = []
    for index, section in enumerate(source.keys.prompts):
        if section.demos and "demos" not in slots(layout.template):
            problem = f"{source.at('prompts', index)} has demos but the template no slot for them"
            raise TaskError(problem, "add {{demos}} to it")
        for number, demo in enumerate(section.demos):
            where = source.at("prompts", index, "demos", number)
            for name in demo:
                if name not in (*inputs, "output"):
                    raise TaskError(f"{where}: unknown slot {name!r}", nearest(name, (*inputs, "output")))
            if missing := [name for name in (*inputs, "output") if name not in demo]:
                raise TaskError(f"{where}: {missing[0]!r} is missing", "a demo gives every input and its output")
            if labels and composed(demo["output"]) not in labels:
                raise TaskError(f"{where}: {demo['output']!r} is not among the labels", nearest(demo["output"], labels))
        demos = tuple(Demo({name: demo[name] for name in inputs}, composed(demo["output"])) for demo in section.demos)
        prompts.append(Prompt(section.instruction.strip(), demos))
    return tuple(prompts)


def _default_name(path: Path) -> str:
    stem = path.resolve().parent.name if path.stem == "task" else path.stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.")[:64] or "task"


@contextmanager
def _blame(source: Source, *key: str) -> Iterator[None]:
    """Put file, line and key before the message of a `TaskError` from inside."""
    try:
        yield
    except TaskError as error:
        raise TaskError(f"{source.at(*key)}: {error.message}", error.hint) from error
