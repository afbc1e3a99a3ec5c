"""A comparison for people. Level 10. Model text is shown as text: never as markup, never with control characters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

from rich.table import Table
from rich.text import Text

from localprompt.cli.output import note_text, shown
from localprompt.cli.printable import cut, printable, printable_line
from localprompt.cli.streams import console
from localprompt.cli.tables import table
from localprompt.comparison.plan import Expected
from localprompt.comparison.table import ComparedRun, Comparison, MethodSettings, Row
from localprompt.interface.rounding import p_text, percent_text, score_text
from localprompt.stats.intervals import Difference
from localprompt.stats.seeds import OverSeeds

_PROMPT_CHARS = 200
_COLUMNS = (
    *("method", "runs", "test score", "from seed prompt", "from random", "area"),
    *("tokens", "known", "not used"),
)
_WIDE = ("test score", "from seed prompt", "from random")
_LEGEND = (
    "test score: mean of the runs [95 % interval over seeds]; from ...: mean difference on the same test examples "
    "(* p below 0.05, not corrected for the number of rows, above the noise floor, and a gain only above what one "
    "answer to everything would score); area: mean dev score of the best prompt so far, over the token budget; tokens: "
    "mean of a run; known: answers that took no time; not used: discarded proposals"
)


def print_comparison(result: Comparison, again: str) -> None:
    """Print a table a task and one over all tasks, the found prompts, and what failed, which `again` tries."""
    page = console(wide=True)
    for task, rows in groupby(result.rows, key=lambda row: row.task):
        page.print(Text(printable_line(str(task)), style="bold"), _rows(list(rows)), "", sep="\n")
    if result.over_tasks:
        page.print(Text("over all tasks", style="bold"), _rows(result.over_tasks), "", sep="\n")
    for run in result.runs:
        page.print(_found(run))
    for failure in result.failures:
        hint = f"; {failure.hint}" if failure.hint else ""
        what = f"{failure.task}, {failure.method}, seed {failure.seed} failed: {failure.error}{hint}"
        page.print(Text(printable(f"{what} (run {failure.run_id})"), style="red"))
    for note in result.notes:
        page.print(Text(printable(note_text(note)), style="yellow"))
    if result.failures:
        page.print(Text(printable(f"{again} tries again what failed"), style="red"), soft_wrap=True)
    limits = f"{result.max_tokens:,} tokens" + (f", {result.max_calls:,} calls" if result.max_calls else "")
    objective = next((run.result.objective for run in result.runs), "score")
    legend = _LEGEND if objective == "score" else f"{_LEGEND}; dev and area: of the objective {objective}"
    page.print(Text(f"\n{legend}", style="dim"))
    models = result.model if result.proposer == result.model else f"{result.model}, prompts by {result.proposer}"
    page.print(Text(printable(f"comparison {result.id}: {models}, {limits} a run"), style="dim"))
    settings = "; ".join(f"{method} {_settings(how)}" for method, how in result.methods.items())
    page.print(Text(printable_line(f"settings: {settings}"), style="dim"))


def print_costs(costs: Sequence[Expected], n_seeds: int) -> None:
    """Print what one run of each method is expected to cost, and all together."""
    columns = ("task", "method", "proposals", "evaluations", "tokens", "requested", "minutes")
    rows = []
    for each in costs:
        cost = each.cost
        minutes = "not known" if cost.seconds is None else f"{cost.seconds / 60:.1f}"
        counts = (cost.proposals, cost.evaluations, cost.tokens_computed, cost.tokens_requested)
        rows.append((each.task, each.method, *(f"{count:,}" for count in counts), minutes))
    page = console(wide=True)
    page.print(table(columns, rows, right=columns[2:]))
    searches = n_seeds * sum(each.cost.tokens_computed for each in costs)
    final = n_seeds * sum(each.cost.final_tokens_computed for each in costs)
    of_all = f"{n_seeds * len(costs)} runs with {n_seeds} seeds"
    total = f"{of_all}: about {searches:,} tokens, then {final:,} for noise, choice and test"
    seconds = [each for row in costs for each in (row.cost.seconds, row.cost.final_seconds) if each is not None]
    if len(seconds) == 2 * len(costs):
        total += f", about {n_seeds * sum(seconds) / 60:.0f} minutes"
    page.print(Text(f"{total}; answers that runs share cost no time", style="dim"))


def _rows(rows: Sequence[Row]) -> Table:
    best = max(row.test.mean for row in rows)
    cells = [
        (
            *(row.method, str(row.runs), _over_seeds(row.test), _difference(row, row.from_seed)),
            *(_difference(row, row.from_random), "-" if row.area is None else score_text(row.area.mean)),
            *(
                f"{row.tokens_computed or row.tokens_requested:,.0f}",
                f"{percent_text(row.hit_rate)}%",
                f"{percent_text(row.discard_rate)}%",
            ),
        )
        for row in rows
    ]
    made = table(_COLUMNS, cells, right=_COLUMNS[1:], wide=_WIDE)
    for row, line in zip(rows, made.rows, strict=True):
        line.style = "bold" if row.test.mean == best else ""
    return made


def _over_seeds(value: OverSeeds) -> str:
    if value.low is None or value.high is None:
        return score_text(value.mean)
    return f"{score_text(value.mean)} [{score_text(value.low)}, {score_text(value.high)}]"


def _difference(row: Row, difference: Difference | None) -> str:
    if difference is None:
        return "-"
    star = "*" if row.is_shown(difference) else " "
    return f"{score_text(difference.mean, sign='+')} ({p_text(difference.p, 3)}){star}"


def _settings(how: MethodSettings) -> str:
    changed = (f"{name}={json.dumps(value)}" for name, value in how.changed.items())
    return ", ".join((how.preset, *changed))


def _found(run: ComparedRun) -> Text:
    result = run.result
    score = "not measured" if result.test is None else f"test {score_text(result.test.best.mean)}"
    prompt = cut(printable_line(shown(result.best)), _PROMPT_CHARS)
    text = Text(printable_line(f"{result.task}, {result.method}, seed {result.seed}, {score}: "), style="dim")
    return text.append(prompt, style="not dim")
