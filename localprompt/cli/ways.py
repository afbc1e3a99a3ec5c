"""The ways to ask a task, for people. Level 10."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from rich.console import RenderableType
from rich.text import Text

from localprompt.cli.output import print_parts
from localprompt.cli.printable import printable
from localprompt.cli.tables import signed, table, within
from localprompt.interface.rounding import score_text
from localprompt.run.ways import Tuned
from localprompt.search.observer import pluralize
from localprompt.stats.intervals import ALPHA


class _OnOneLine(yaml.SafeDumper):
    """Writes texts in quotation marks, with their line breaks as signs."""


_OnOneLine.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None),
)


def print_ways(found: Tuned) -> None:
    """Print what each way to ask scored, what the best is worth, and the keys of a task file for it."""
    print_parts(list(_parts(found)))


def _parts(found: Tuned) -> Iterator[RenderableType]:
    shots = [f"with {len(each.demos)}" if each.demos else "without worked examples" for each in found.prompts]
    shown = f"{pluralize(len(shots), 'prompt')} ({', '.join(dict.fromkeys(shots))})"
    yield Text(printable(f"{found.task} with {found.model}, mean score of {shown} on dev rows:\n"))
    columns = ("way to ask", "score", "95 % interval", "rows")
    rows = [
        (
            way.change + (f"; {way.label_score}" if way.label_score else ""),
            score_text(way.score.mean),
            within(way.score),
            str(way.score.n),
        )
        for way in found.ways
    ]
    yield table(columns, rows, right=columns[1:], wide=columns[:1])
    yield Text(f"\n{_gain(found)}")
    if found.best.keys:
        yield Text("\nTo ask like that, in the task file:\n")
        yield Text(printable(_yaml(found.best.keys)))


def _yaml(keys: Mapping[str, Any]) -> str:
    return yaml.dump(keys, Dumper=_OnOneLine, sort_keys=False, allow_unicode=True, width=math.inf)


def _gain(found: Tuned) -> str:
    if not found.best.keys:
        return "No other way was ahead of the task as it is."
    if found.gain is None:
        return "No train rows are left to confirm the best: its score is that of the best of many, partly luck."
    gain = f"{signed(found.gain.mean)} (95 % interval {within(found.gain, sign='+')})"
    said = ", which may be chance" if found.gain.p >= ALPHA else ""
    said += "; keep the task as it is" if found.gain.mean <= 0 else ""
    return f"On {found.gain.n} train rows that chose nothing the best differs from the task as it is by {gain}{said}."
