"""Runs and studies of every kind and state that a report may be made of, found by scripted models in moments."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import toy

import localprompt
from localprompt.comparison.plan import compare
from localprompt.lm.scripted import ScriptedLM
from localprompt.reports import page
from localprompt.reports.report import report
from localprompt.store import Store
from localprompt.store.records import Mark
from localprompt.tasks import Task
from localprompt.types import Discard, Example, Exchange, Prompt

TEMPLATES = Path(page.__file__).with_name("templates")
HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    '{{7*7}} <a href="https://x.invalid">plotly</a> <b>bold</b><br>',
    "javascript:alert(1) [a link](javascript:alert(1)) data:text/html,<script>alert(1)</script>",
    "x" * 10_000,
    "مرحبا שלום \u202egnp.exe\u202c",
    "👩‍👩‍👧 🇺🇳 e\u0301\u0300\u0300 你好",
    "nul\x00 escape\x1b[31m\x9b2J bell\x07 bom\ufeff line\u2028 paragraph\u2029",
    "lone\ud800 and\udfff",
    "<!-- <script> ]]> &amp; &lt; \\u003c ${alert(1)} __proto__ constructor",
)
"""Texts that a careless page runs, requests or breaks on."""
LABELS = ("even", "odd")
SMALL = {"queries": 2, "per_query": 7}
"""Settings of ape with which the best prompt is found in a moment."""

KINDS = tuple(sorted(path.stem for path in TEMPLATES.glob("*.html") if path.stem != "page"))
"""Of reports, that have a page."""

Build = Callable[[Store], str]
"""Makes a run or a study in a store and returns its id."""


@dataclass(frozen=True)
class World:
    """Something to be shown."""

    build: Build
    kind: str = "run"
    is_held: bool = False
    """A process works on it while the page is made."""

    def shown(self, folder: Path) -> Path:
        """Return the file of its report, made in a folder of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        with Store(folder / "store.sqlite") as store, ExitStack() as stack:
            made = self.build(store)
            if self.is_held:
                stack.enter_context(store.runs.hold(made))
            return report(made, out=folder / "page.html", store=store)


HOSTILE_LABELS = (f"even {HOSTILE[0]}", f"odd {HOSTILE[1]}")
BETTER = "turn every alpha into the omega by its parity, & 1 < 2 > 0 👩‍👩‍👧 مرحبا"
"""No more hostile than a search takes up; the seed prompt is."""


def parity(context: str, continuation: str) -> float:
    """Knows every row where the instruction speaks of parity, and two rows of three elsewhere."""
    instruction, _, question = context.rpartition("lpha")
    number = int((re.findall(r"\d+", question) or ["0"])[0])
    is_right = continuation.strip() in (LABELS[number % 2], HOSTILE_LABELS[number % 2])
    knows = "parity" in instruction or number % 3 > 0
    return -0.2 - 0.01 * (number % 7) if is_right == knows else -1.0 - 0.1 * (number % 5)


def classifies(prompt: str, seed: int) -> str:
    """A proposer for tasks of labels."""
    return (" Name the parity of the number.", " Say something kind.", " Read it with care.", "")[seed % 4]


def labels_model(**changes: Any) -> ScriptedLM:
    return ScriptedLM(**{"answer": classifies, "logprob": parity, "name": "parity:1b", **changes})


def labels_task(**changes: Any) -> Task:
    made = toy.task(labels=LABELS, train=10, dev=20, test=30)
    return replace(made, **{"name": "parity", "seeds": (Prompt("Say what the word is."),), **changes})


def hostile_answer(prompt: str, seed: int) -> str:
    """The toy's model, all of whose texts are hostile."""
    hostile = HOSTILE[(len(prompt) + seed) % len(HOSTILE)]
    if toy.is_asked_to_write(prompt):
        return (f" {BETTER}", f" say {hostile}", hostile, "")[seed % 4]
    return f" {toy.solved(prompt) or f'no {hostile}'}"


def hostile_task(labels: bool = False) -> Task:
    """The toy's task, with a hostile text in its name, its seed prompt and every row."""
    made = labels_task() if labels else toy.task(train=12, dev=20, test=20)

    def hostile(example: Example) -> Example:
        number = int(example.id.partition(":")[2])
        target = HOSTILE_LABELS[number % 2] if labels else example.targets[0]
        text = f"{example.inputs['input']} {HOSTILE[number % len(HOSTILE)]}"
        return Example(example.id, {"input": text}, (target,))

    return replace(
        made,
        name=f"hostile {HOSTILE[0]}{HOSTILE[1]}{HOSTILE[5]}",
        description=" ".join(HOSTILE),
        labels=HOSTILE_LABELS if labels else (),
        seeds=(Prompt(f"Take alpha. {' '.join(HOSTILE)}"), *map(Prompt, HOSTILE)),
        train=tuple(map(hostile, made.train)),
        dev=tuple(map(hostile, made.dev)),
        test=tuple(map(hostile, made.test)),
    )


def hostile_model(number: int = 0) -> ScriptedLM:
    name = f"model {number} {HOSTILE[0]}{HOSTILE[1]}"
    return ScriptedLM(answer=hostile_answer, logprob=parity, name=name)


def run(store: Store, task: Task | None = None, lm: ScriptedLM | None = None, **choices: Any) -> str:
    """Return the id of a run of ape."""
    choices = {"settings": SMALL, "max_tokens": 60_000, **choices}
    return localprompt.optimize(
        task or toy.task(), lm or toy.model(), store=store, **{"method": "ape", **choices}
    ).run_id


def killed(store: Store, after: int) -> str:
    """Return the id of a run whose process is gone after so many answers."""
    with suppress(toy.Killed):
        run(store, lm=toy.model(answer=toy.failing(toy.Killed(), after)))
    (found,) = store.runs.all()
    store.runs.update(found.id, status="running")  # what was killed could not write how it ended
    return found.id


def hostile(store: Store, labels: bool = False) -> str:
    """Return the id of a run whose every text is hostile, also those that a search would have mended."""
    run_id = run(store, hostile_task(labels), hostile_model())
    runs = store.runs
    runs.add_discards(run_id, [Discard(text, reason) for text in HOSTILE for reason in ("truncated", HOSTILE[0])])
    runs.add_exchanges(run_id, [Exchange(text, HOSTILE, text[:40]) for text in HOSTILE])
    for text in HOSTILE:
        runs.add_event(run_id, "stage", text, Mark(5000, 1.0))
        runs.add_event(run_id, "note", text)
    return run_id


def damaged(store: Store) -> str:
    run_id = run(store)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("UPDATE runs SET configuration = '{' WHERE id = ?", [run_id])
    return run_id


def imported(store: Store) -> str:
    path = store.path.with_name("run.json")
    with Store(store.path.with_name("elsewhere.sqlite")) as elsewhere:
        elsewhere.runs.export(run(elsewhere), path)
    return store.runs.import_(path).id


def folds(store: Store, lm: ScriptedLM | None = None) -> str:
    return run(store, replace(toy.task(train=10, dev=20, test=0), folds=3), lm)


def compared(store: Store, hostile: bool = False) -> str:
    tasks = [hostile_task()] if hostile else [toy.task(dev=12, test=12), labels_task()]
    lm = hostile_model() if hostile else toy.model(logprob=parity, name="both:1b")
    settings = {"ape": SMALL, "random": {"proposals": 14}}
    return compare(tasks, lm, methods=tuple(settings), n_seeds=2, max_tokens=8000, settings=settings, store=store).id


def sensitive(store: Store, hostile: bool = False) -> str:
    task = hostile_task(labels=True) if hostile else labels_task()
    models = [hostile_model()] if hostile else [labels_model()]
    return localprompt.sensitivity(task, models, size="quick", scorers=("calibrated",), store=store).id


def transferred(store: Store, hostile: bool = False) -> str:
    task = hostile_task(labels=True) if hostile else labels_task()
    models = [hostile_model(1), hostile_model(2)] if hostile else [labels_model(name=f"parity:{n}b") for n in (1, 2)]
    prompts = HOSTILE[:6] if hostile else ("Name the parity.", "Say something kind.")
    return localprompt.transfer([task], models, prompts=prompts, store=store).id


def ported(store: Store, hostile: bool = False) -> str:
    task = hostile_task(labels=True) if hostile else labels_task()
    old, new = [hostile_model(1), hostile_model(2)] if hostile else [labels_model(name=f"parity:{n}b") for n in (1, 2)]
    localprompt.port(run(store, task, old), new, store=store)
    return store.studies.all("port")[0].id


WORLDS: Mapping[str, World] = {
    "better": World(run),
    "labels": World(lambda store: run(store, labels_task(), labels_model())),
    "operators": World(lambda store: localprompt.optimize(toy.task(), toy.model(), method="auto", store=store).run_id),
    "no better": World(lambda store: run(store, lm=toy.model(answer=lambda *_: " the same\n"))),
    "running": World(lambda store: killed(store, 120), is_held=True),
    "interrupted": World(lambda store: killed(store, 120)),
    "nothing measured": World(lambda store: killed(store, 0)),
    "damaged": World(damaged),
    "imported": World(imported),
    "cross-validated": World(folds),
    "cross-validated in vain": World(lambda store: folds(store, toy.model(answer=lambda *_: " the same\n"))),
    "hostile": World(hostile),
    "hostile labels": World(lambda store: hostile(store, labels=True)),
    "comparison": World(compared, "comparison"),
    "sensitivity": World(sensitive, "sensitivity"),
    "transfer": World(transferred, "transfer"),
    "port": World(ported, "port"),
    "hostile comparison": World(lambda store: compared(store, hostile=True), "comparison"),
    "hostile sensitivity": World(lambda store: sensitive(store, hostile=True), "sensitivity"),
    "hostile transfer": World(lambda store: transferred(store, hostile=True), "transfer"),
    "hostile port": World(lambda store: ported(store, hostile=True), "port"),
}
"""By what is special about it."""
