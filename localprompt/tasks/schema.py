"""The keys of a task file, and the reading of its YAML. Level 3.

A task file holds text: every scalar is read as it is written, so `labels: [yes, no]` are two words and `1.50` keeps its
zero. Anchors and aliases fail, and tags do nothing, which leaves no room for documents that unfold in memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from localprompt.errors import TaskError, nearest
from localprompt.tasks.template import Mode
from localprompt.types import LabelScore

_MAX_BYTES = 256 * 1024
_MAX_DEPTH = 12
_SEE = "docs/tasks.md describes every key"
_QUOTE = """text that begins with '{' or '[', or holds ': ' or '#', needs quotes: "{{instruction}} {{input}}\""""
_FOLDS = 5
"""Of cross-validation, where no number is given."""
_SIZES, _CV = "[sizes]", "[cv]"
"""The two kinds of `data.split`, which pydantic puts into the place of an error."""

Key = tuple[str | int, ...]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitSection(_Section):
    """Sizes of the splits: counts, or fractions below 1."""

    train: float = Field(gt=0, allow_inf_nan=False)
    dev: float = Field(gt=0, allow_inf_nan=False)
    test: float = Field(gt=0, allow_inf_nan=False)

    @field_validator("train", "dev", "test", mode="before")
    @classmethod
    def _whole_rows(cls, value: object) -> object:
        # 1.5 is no count, and 1.0 may mean one row or all of them.
        try:
            is_count = float(str(value)) >= 1
        except ValueError:
            return value
        if is_count and not str(value).isdecimal():
            raise ValueError(f"must be a whole number of rows or a fraction below 1, not {value}")
        return value


class FoldSection(_Section):
    """Cross-validation: `cv`, or `{cv: 10}` with the number of folds."""

    cv: int = Field(_FOLDS, ge=2)

    @model_validator(mode="before")
    @classmethod
    def _folds_by_name(cls, value: object) -> object:
        if value == "cv":
            return {}
        if isinstance(value, dict) and value.keys() == {"cv"}:
            return value
        what = f"not {value!r:.40}" if isinstance(value, str) else "and nothing else"
        raise ValueError(f"must be cv, {{cv: {_FOLDS}}} or {{train: 50, dev: 70, test: 70}}, {what}")


def _kind_of_split(value: object) -> str:
    return _SIZES if isinstance(value, dict) and "cv" not in value else _CV


class DataSection(_Section):
    """Where the rows come from."""

    file: str | None = None
    train: str | None = None
    dev: str | None = None
    test: str | None = None
    dataset: str | None = None
    config: str | None = None
    revision: str | None = None
    fields: dict[str, str] | None = None
    target_separator: str | None = Field(None, min_length=1)
    split: (
        Annotated[
            Annotated[SplitSection, Tag(_SIZES)] | Annotated[FoldSection, Tag(_CV)], Discriminator(_kind_of_split)
        ]
        | None
    ) = None

    @property
    def folds(self) -> int:
        """Number of folds of cross-validation; 0 without."""
        return self.split.cv if isinstance(self.split, FoldSection) else 0

    @property
    def sizes(self) -> list[float] | None:
        """Sizes of train, dev and test; None where they are not given."""
        split = self.split
        return [split.train, split.dev, split.test] if isinstance(split, SplitSection) else None


class LayoutSection(_Section):
    """How a prompt and an example are put together."""

    mode: Mode = "raw"
    template: str | None = None
    demo: str | None = None
    system: str = ""
    opening: str = ""
    separator: str | None = None


class PromptSection(_Section):
    """A seed prompt."""

    instruction: str = ""
    demos: tuple[dict[str, str], ...] = ()


class TaskFile(_Section):
    """A whole task file."""

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    data: DataSection
    layout: LayoutSection = LayoutSection()
    labels: tuple[str, ...] | None = None
    label_score: LabelScore | None = None
    answer: dict[str, str] | None = Field(None, min_length=1, max_length=1)
    metric: str | None = None
    max_tokens: int | None = Field(None, ge=1, le=8192)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    prompts: tuple[PromptSection, ...] = Field((PromptSection(),), min_length=1)
    seed: int = Field(0, ge=0)

    @field_validator("layout", mode="before")
    @classmethod
    def _layout_by_name(cls, value: object) -> object:
        return {"mode": value} if isinstance(value, str) else value

    @field_validator("answer", mode="before")
    @classmethod
    def _answer_by_name(cls, value: object) -> object:
        return {value: ""} if isinstance(value, str) else value

    @field_validator("prompts", mode="before")
    @classmethod
    def _prompt_by_text(cls, value: object) -> object:
        if isinstance(value, list):
            return [{"instruction": item} if isinstance(item, str) else item for item in value]
        return value


_SECTIONS: dict[str, type[_Section]] = {
    "": TaskFile,
    "data": DataSection,
    "data.split": SplitSection,
    "layout": LayoutSection,
    "prompts": PromptSection,
}


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed task file together with the lines of its keys, for messages."""

    path: Path
    keys: TaskFile
    lines: Mapping[Key, int] = field(repr=False)
    frames: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Tables in memory by the names that stand in the places of files."""

    def at(self, *key: str | int) -> str:
        """Return `FILE, line N: key 'a.b'`."""
        return _at(self.path, self.lines, key)


def read_task_file(path: Path) -> Source:
    """Return the validated keys of a task file.

    Raises:
        TaskError: naming file, line and key, and for an unknown key the nearest known one.
    """
    content, lines = _read_yaml(path)
    try:
        keys = TaskFile.model_validate(content)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        # A misspelt key is reported twice, as unknown and as missing: the first says more.
        first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
        raise _explain(path, lines, first) from None
    return Source(path, keys, lines)


def _explain(path: Path, lines: Mapping[Key, int], detail: ErrorDetails) -> TaskError:
    key = tuple(part for part in detail["loc"] if part not in (_SIZES, _CV))
    if detail["type"] == "extra_forbidden":
        section = ".".join(str(part) for part in key[:-1] if isinstance(part, str))
        hint = nearest(str(key[-1]), _SECTIONS[section].model_fields)
        # YAML makes a key of what stands before a colon, also in a prompt such as `- Answer: yes or no`.
        return TaskError(f"{_at(path, lines, key)} is unknown", f"{hint}; {_QUOTE}" if section == "prompts" else hint)
    if detail["type"] == "missing":
        return TaskError(f"{path}: the key {_dotted(key)!r} is missing", _SEE)
    context = detail.get("ctx", {})
    reasons = {
        "literal_error": f"must be {context.get('expected')}",
        "int_parsing": "must be a whole number",
        "int_parsing_size": "is too large a number",
        "float_parsing": "must be a number",
        "string_type": "must be text",
        "tuple_type": "must be a list",
        "dict_type": "must be a mapping of names to text",
        "model_type": "must be a mapping" + (", such as {file: rows.jsonl}" if key == ("data",) else ""),
        "string_pattern_mismatch": "must be letters, digits, '_', '.' or '-', at most 64 of them",
        "value_error": str(context.get("error")),
        "too_short": "must not be empty",
        "too_long": "must name one of them",
        "string_too_short": "must not be empty",
    }
    reason = reasons.get(detail["type"], detail["msg"].replace("Input should be", "must be"))
    hint = _QUOTE if detail["type"] == "string_type" else _SEE
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        expected = context["expected"].replace(" or ", ",").split(",")
        hint = nearest(detail["input"], [word.strip(" '") for word in expected])
    return TaskError(f"{_at(path, lines, key)} {reason}", hint)


def _at(path: Path, lines: Mapping[Key, int], key: Key) -> str:
    place = key
    while place and place not in lines:
        place = place[:-1]
    return f"{path}, line {lines.get(place, 1)}: key {_dotted(key)!r}"


def _dotted(key: Key) -> str:
    text = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.lstrip(".")


def _read_yaml(path: Path) -> tuple[object, dict[Key, int]]:
    if path.suffix.lower() in (".csv", ".tsv", ".jsonl") and path.is_file():
        names = f"data: {{file: {path.name}, fields: {{input: COLUMN, target: COLUMN}}}}"
        raise TaskError(f"{path}: a file of rows, where a task file is wanted", f"write a task.yaml with `{names}`")
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        problem = f"{path}: cannot be read ({error.strerror or error})"
        raise TaskError(problem, "give the path of a task file") from error
    if len(raw) > _MAX_BYTES:
        hint = "rows belong in a data file, not in the task file"
        raise TaskError(f"{path}: longer than {_MAX_BYTES // 1024} KiB", hint)
    try:
        text = raw.decode("utf-8-sig")
        _refuse_bombs(path, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TaskError(f"{path}, line {line}: not UTF-8", "save the file as UTF-8") from error
    except yaml.YAMLError as error:
        raise _not_yaml(path, error) from error
    lines: dict[Key, int] = {}
    content = _plain(path, node, (), lines) if node else None
    if not isinstance(content, dict):
        raise TaskError(f"{path}: a task file is a YAML mapping of keys", "the shortest is `data: {file: rows.jsonl}`")
    return content, lines


def _refuse_bombs(path: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if getattr(event, "anchor", None) is not None:
            raise TaskError(f"{path}, line {line}: YAML anchors and aliases are not supported", "write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise TaskError(f"{path}, line {line}: nested more than {_MAX_DEPTH} deep", _SEE)


def _plain(path: Path, node: yaml.Node, key: Key, lines: dict[Key, int]) -> object:
    lines[key] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, item, (*key, index), lines) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        if re.search("[\x00\ud800-\udfff]", node.value):
            problem = f"{path}, line {lines[key]}: a character that is no text (NUL or half of a pair)"
            raise TaskError(problem, "remove it")
        return node.value
    content: dict[str, object] = {}
    for name, value in node.value:
        line = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode):
            raise TaskError(f"{path}, line {line}: a key must be a word", _QUOTE)
        if name.value in content:
            problem = f"{path}, line {line}: key {_dotted((*key, name.value))!r} is given twice"
            raise TaskError(problem, "remove one of them")
        content[name.value] = _plain(path, value, (*key, name.value), lines)
        lines[(*key, name.value)] = line
    return content


def _not_yaml(path: Path, error: yaml.YAMLError) -> TaskError:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    where = f"{path}, line {mark.line + 1}" if mark is not None else f"{path}"
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not valid"
    return TaskError(f"{where}: not valid YAML ({problem})", _QUOTE)
