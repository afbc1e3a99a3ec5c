"""The tables of docs/methods against the methods: a preset has what its column says, and the paper's value or a reason.

A row of settings names them in backticks, up to the first colon; its cells are what the paper has, the official code,
the preset `local` and the preset `paper`:

    | `beam`, `expand`: prompts, and batches for each | 4, 4 | 2, 2 | 2, 2 | the same: why it is not the paper's |

A cell of the presets begins with the values of the settings in their order: numbers, `6 and 18` for a list, yes, no,
none, no limit, or a name in backticks. `the same` stands for the cell before it. After the values may stand a remark,
set off by `: `, `; ` or ` (`. The paper's cell begins with values too, or is empty or begins with `not said` or
`not set`; where it is something else, or another value than the preset's, the preset's cell needs a remark: the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from localprompt.optimizers.registry import Optimizer, configure, presets

METHODS = ("ape", "opro", "pe2", "protegi")
NO_LIMIT = 100_000
_HEADER = "| setting | paper | official code | here, local | here, `paper` |"
_ONE = r"(?:`[^`]+`|no limit|none|yes|no|\d[\d.]*(?: and \d[\d.]*)*)"
_CELL = re.compile(rf"(?P<values>{_ONE}(?:, {_ONE})*)(?P<remark>(?:[:;] | \().+)?")
_WORDS = {"none": None, "yes": True, "no": False, "no limit": NO_LIMIT}


def _page(method: str) -> str:
    return (Path(__file__).parents[2] / "docs" / "methods" / f"{method}.md").read_text(encoding="utf-8")


def _rows(page: str) -> list[list[str]]:
    """Return the cells of all rows of the tables with the header, without it."""
    tables = re.findall(rf"^{re.escape(_HEADER)}\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()]


def _read(cell: str, n: int) -> tuple[list[object] | None, bool]:
    """Return the `n` values of a cell, None where it does not begin with them, and whether it has a remark."""
    match = _CELL.fullmatch(cell)
    values = [_value(text) for text in match["values"].split(", ")] if match else []
    return (values, bool(match and match["remark"])) if len(values) == n else (None, False)


def _value(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    numbers = tuple(float(number) for number in text.split(" and ")) if text[0].isdigit() else ()
    return text.strip("`") if not numbers else numbers[0] if len(numbers) == 1 else numbers


def _presets(method: str) -> tuple[Optimizer, Optimizer]:
    return configure(method, {}), configure(method, {}, "paper")


def faults(chosen: tuple[Optimizer, Optimizer], page: str) -> list[str]:
    """Return what is wrong about the tables of a page, a sentence each, given a method's presets local and paper."""
    known, found, counts = [field.name for field in fields(chosen[0])], [], Counter[str]()
    for title, published, _, *here in _rows(page):
        names = [name for name in re.findall(r"`(\w+)`", title.partition(": ")[0]) if name in known]
        counts.update(names)
        if not names:
            continue
        if here[1].startswith("the same"):
            values = _CELL.fullmatch(here[0])
            here[1] = (values["values"] if values else "") + here[1].removeprefix("the same")
        for column, cell, preset in zip(("local", "paper"), here, chosen, strict=True):
            wanted = [getattr(preset, name) for name in names]
            if _read(cell, len(names))[0] != wanted:
                found.append(f"{title}: the preset {column} has {wanted}, its column {cell!r}")
        of_paper, is_open = (
            _read(published, len(names))[0],
            not published or published.startswith(("not said", "not set")),
        )
        values_here, has_reason = _read(here[1], len(names))
        if not is_open and of_paper != values_here and not has_reason:
            found.append(f"{title}: the paper has {published!r}, the preset {here[1]!r} without a reason")
    return found + [f"{name} stands in {counts[name]} rows" for name in known if counts[name] != 1]


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_stands_in_one_row_with_the_values_of_both_presets_and_the_papers_or_a_reason(
    method: str,
) -> None:
    assert _rows(_page(method))
    assert faults(_presets(method), _page(method)) == []


@pytest.mark.parametrize("method", METHODS)
def test_another_number_in_a_column_of_paper_or_presets_is_a_fault(method: str) -> None:
    chosen, page, n_tried = _presets(method), _page(method), 0
    for line in page.splitlines():
        cells = line.split("|")
        for column in (2, 4, 5) if len(cells) == 7 and "`" in cells[1] else ():
            first = re.match(r" \d+(?=[ .,|;:(]|$)", cells[column])
            has_reason = re.search(r"[:;] | \(", cells[5]) is not None
            if not first or (column == 2 and has_reason):
                continue
            changed = [*cells[:column], f" {first[0].strip()}9{cells[column][first.end() :]}", *cells[column + 1 :]]
            assert faults(chosen, page.replace(line, "|".join(changed))), changed
            n_tried += 1
    assert n_tried >= 20


@pytest.mark.parametrize("method", METHODS)
def test_another_value_in_a_preset_is_a_fault(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = dict(presets(method)["paper"])
    number = next(name for name, value in paper.items() if type(value) is int)
    cls = type(configure(method, {}))
    monkeypatch.setattr(cls, "PRESETS", {"paper": {**paper, number: int(str(paper[number])) + 1}})
    assert any(
        f"the preset paper has [{int(str(paper[number])) + 1}" in fault
        for fault in faults(_presets(method), _page(method))
    )


@pytest.mark.parametrize(
    ("row", "n_faults"),
    [
        ("| `beam` | 4 | 2 | 3 | 4 |", 0),
        ("| `beam` | 6 | 2 | 3 | 4 |", 1),
        ("| `beam` | 6 | 2 | 3 | 4: because |", 0),
        ("| `beam` | six | 2 | 3 | 4 |", 1),
        ("| `beam` | not said | 2 | 3 | 4 |", 0),
        ("| `beam` | 4 | 2 | 3 | 5 |", 2),
        ("| `beam` | 4 | 2 | 4 | the same |", 1),
        ("| `beam` | 4 | 2 | 3 and more | 4 |", 1),
        ("| `beam`: places | 4 (a few) | | 3; few | 4 |", 0),
        ("| beam | 4 | 2 | 3 | 4 |", 1),
        ("| `beam` | 4 | 2 | 3 | 4 |\n| `beam` | 4 | 2 | 3 | 4 |", 1),
    ],
)
def test_a_row_is_held_against_the_method_and_the_paper(row: str, n_faults: int) -> None:
    page = re.sub(r"^\| `beam` .*$", row, _page("protegi"), flags=re.MULTILINE)
    assert len(faults(_presets("protegi"), page)) == n_faults
