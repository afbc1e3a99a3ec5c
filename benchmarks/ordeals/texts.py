"""Hostile texts as rows, prompts, labels and replies: each ends as an outcome or is refused by name, none is lost."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from hostile import hostile_texts

from localprompt.cli.output import print_evaluation
from localprompt.cli.show import print_run
from localprompt.errors import LocalPromptError
from localprompt.lm.base import LanguageModel
from localprompt.lm.local import load_model
from localprompt.lm.scripted import ScriptedLM
from localprompt.run import api as runs
from localprompt.run import resume as resuming
from localprompt.store import Store
from localprompt.tasks import Layout, Task
from localprompt.tasks.answers import find_answer
from localprompt.tasks.metrics import find_metric
from localprompt.types import Demo, Example, Prompt, Sampling, Spend
from ordeals.report import Row

GROUP = 50
"""Texts that are tried together; a group that is refused is halved down to the text that is refused."""
A_SEARCH = (10, 20, 20)
"""Rows of train, dev and test of a search."""
METHODS = {"ape": True, "opro": True, "pe2": False, "protegi": False, "random": True}
"""Whether every reply is a proposal. The others also ask for reasons, which are neither candidates nor discards."""
LABELS = ("positive", "negative")
_SEEN_AS_COMMANDS = frozenset(map(chr, (*range(9), *range(11, 32), *range(127, 160), 0x202A, 0x202B, 0x202D, 0x202E)))

Trial = Callable[[Sequence[str]], int]
"""Texts to the number of outcomes that they had."""


@dataclass
class Counts:
    """What became of texts on one way through the project."""

    way: str
    texts: int = 0
    outcomes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Class of the error to texts that by themselves were refused with it."""
    failures: list[str] = field(default_factory=list)

    def send(self, texts: Sequence[str], trial: Trial) -> None:
        """Count what becomes of a group of texts."""
        self.texts += len(texts)
        self._send(texts, trial)

    def _send(self, texts: Sequence[str], trial: Trial) -> None:
        try:
            n = trial(texts)
        except LocalPromptError as error:
            if len(texts) > 1:
                self._send(texts[: len(texts) // 2], trial)
                self._send(texts[len(texts) // 2 :], trial)
                return
            self.refused[type(error).__name__] += 1
            if "\n" in error.message or len(error.message) > 2000:
                self.failures.append(f"{self.way}: no sentence but {error.message[:300]!r}")
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            self.failures.append(f"{self.way}: {type(error).__name__}: {str(error)[:300]!r} with {str(texts)[:300]!r}")
        else:
            self.outcomes += n
            if n != len(texts):
                self.failures.append(f"{self.way}: {n} outcomes of {len(texts)} texts")


def task(rows: Sequence[tuple[str, str]], *, labels: Sequence[str] = (), mode: Literal["raw", "chat"] = "raw") -> Task:
    """Return a task with (input, target) rows, the same in dev and test."""

    def examples(split: str) -> tuple[Example, ...]:
        return tuple(Example(f"{split}:{n}", {"input": text}, (target,)) for n, (text, target) in enumerate(rows, 1))

    return Task(
        name="hostile",
        description="Answer.",
        inputs=("input",),
        labels=tuple(labels),
        label_score="sum",
        train=examples("train"),
        dev=examples("dev"),
        test=examples("test"),
        seeds=(Prompt(""),),
        layout=Layout(
            "{{instruction}}\n\n{{demos}}Input: {{input}}\nOutput:",
            "Input: {{input}}\nOutput: {{output}}\n\n",
            mode=mode,
            separator=" " if mode == "raw" else "",
        ),
        answer=find_answer("first_line"),
        metric=find_metric("equals" if labels else "exact_match"),
        sampling=Sampling(max_tokens=6, stop=("\n",)),
    )


class Speaker(ScriptedLM):
    """A scripted model that answers tasks with hostile texts, and requests for a prompt too; it counts the latter."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__(answer=self._say, logprob=self._weigh)
        self.texts = texts
        self.replies = 0

    def _say(self, prompt: str, seed: int) -> str:
        if not prompt.endswith("Output:"):
            self.replies += 1
            if seed % 3 == 0:  # now and then a usable one, so that a search goes on
                return f"Give answer number {_sum(prompt) % 90} as {'abcdefgh'[seed % 8]} would."
        return self.texts[(_sum(prompt) + seed) % len(self.texts)]

    def _weigh(self, context: str, continuation: str) -> float:
        return -(_sum(context + continuation) % 900) / 100


def _sum(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _groups(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))


def ways(lm: LanguageModel, name: str, store: Store) -> dict[str, Trial]:
    """Return the ways through `evaluate`, by name."""

    def through(given: Task, prompt: Prompt) -> int:
        result = runs.evaluate(given, lm, prompt, store=store)
        _check_printed(lambda: print_evaluation(result))
        return result.score.n

    def rows(mode: Literal["raw", "chat"], labels: Sequence[str]) -> Trial:
        target = labels[0] if labels else "yes"
        return lambda texts: through(task([(t, target) for t in texts], labels=labels, mode=mode), Prompt("Judge."))

    def as_labels(texts: Sequence[str]) -> int:
        known = list(dict.fromkeys([*texts, *LABELS]))  # labels are different from one another
        through(task([("x", text) for text in texts], labels=known), Prompt("Judge."))
        return len(texts)

    def as_prompts(texts: Sequence[str]) -> int:
        demo = Demo({"input": texts[0]}, texts[-1])
        return sum(through(task([("x", "yes")]), Prompt(text, (demo,))) for text in texts)

    return {
        f"{name}: rows, raw, labels": rows("raw", LABELS),
        f"{name}: rows, raw, generated": rows("raw", ()),
        f"{name}: rows, chat, labels": rows("chat", LABELS),
        f"{name}: rows, chat, generated": rows("chat", ()),
        f"{name}: labels and targets": as_labels,
        f"{name}: instructions and demos": as_prompts,
    }


def from_file(folder: Path, lm: LanguageModel, store: Store) -> Trial:
    """Return the way of a data file and a task file, read and evaluated."""

    def trial(texts: Sequence[str]) -> int:
        rows = {"train": ["a"], "dev": ["b"], "test": texts}
        for split, inputs in rows.items():
            lines = [json.dumps({"input": text, "target": "yes"}) + "\n" for text in inputs]
            (folder / f"{split}.jsonl").write_text("".join(lines))
        keys = {"data": {split: f"{split}.jsonl" for split in rows}, "max_tokens": 4}
        (folder / "task.yaml").write_text(json.dumps(keys))
        return runs.evaluate(folder / "task.yaml", lm, "Judge.", store=store).score.n

    return trial


def search(texts: Sequence[str], method: str, store: Store) -> tuple[int, int]:
    """Run a search whose rows and replies are hostile, and replay it; return replies asked for and accounted for."""
    n_train, n_dev, _ = A_SEARCH
    rows = [(text, "yes") for text in texts]
    whole = task(rows)
    given = replace(
        whole, train=whole.train[:n_train], dev=whole.dev[n_train : n_train + n_dev], test=whole.test[n_train + n_dev :]
    )
    lm = Speaker(texts)
    result = runs.optimize(given, lm, method=method, store=store, max_calls=1500)
    _check_printed(lambda: print_run(result, store.path))
    again = resuming.replay(result.run_id, task=given, store=store)
    if _lasting(again) != _lasting(result):
        raise AssertionError("the replay is another one")
    used = [each for each in store.runs.candidates(result.run_id) if each.op != "seed"]
    return lm.replies, len(used) + len(store.runs.discards(result.run_id))


def _lasting(result: runs.RunResult) -> list[object]:
    """Return all of a result but what was computed in this sitting, and in which time."""
    values = [getattr(result, each.name) for each in fields(result)]
    return [(v.tokens_requested, v.calls, v.answers) if isinstance(v, Spend) else v for v in values]


def _check_printed(show: Callable[[], None]) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show()
    if bad := _SEEN_AS_COMMANDS.intersection(out.getvalue()):
        raise AssertionError(f"the terminal is sent {sorted(bad)}")


def hostile(n: int, tiny: Path, rng: random.Random) -> list[Row]:
    """Return the rows about `n` texts on every way with a scripted model, some of them with a real, tiny one."""
    texts = list(itertools.islice(hostile_texts(rng), n))
    with tempfile.TemporaryDirectory(prefix="texts-") as name, Store(Path(name) / "store.sqlite") as store:
        speaker = Speaker(texts)
        counts = _send_all(texts, ways(speaker, "scripted", store))
        counts += _send_all(texts, {"scripted: data file": from_file(Path(name), speaker, store)})
        with load_model(tiny, tune=False, n_ctx=512, n_ubatch=128, lanes=8) as model:
            counts += _send_all(texts[: max(GROUP, n // 10)], ways(model, "tiny model", store))
        searches = _search_all(texts, store)
        problems = store.check()
    return [_evaluate_row(n, counts), _optimize_row(searches, problems)]


def _send_all(texts: Sequence[str], trials: dict[str, Trial]) -> list[Counts]:
    all_counts = []
    for way, trial in trials.items():
        counts = Counts(way)
        for group in _groups(texts, 5 if "labels and targets" in way else GROUP):
            counts.send(group, trial)
        all_counts.append(counts)
        print(f"{way}: {counts.outcomes} of {counts.texts}, {dict(counts.refused)}", file=sys.stderr, flush=True)
    return all_counts


@dataclass
class Searches:
    """What became of searches."""

    n: int = 0
    texts: int = 0
    replies: int = 0
    accounted: int = 0
    failures: list[str] = field(default_factory=list)


def _search_all(texts: Sequence[str], store: Store) -> Searches:
    searches = Searches()
    for method, group in zip(itertools.cycle(METHODS), _groups(texts, sum(A_SEARCH)), strict=False):
        if len(group) < sum(A_SEARCH):
            continue
        searches.n += 1
        searches.texts += len(group)
        try:
            replies, accounted = search(group, method, store)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            searches.failures.append(f"{method}: {type(error).__name__}: {str(error)[:300]!r}")
            continue
        print(f"{method}: {replies} replies, {accounted} accounted for", file=sys.stderr, flush=True)
        if METHODS[method]:
            searches.replies += replies
            searches.accounted += accounted
            if replies != accounted:
                searches.failures.append(f"{method}: of {replies} replies {accounted} are accounted for")
    return searches


def _evaluate_row(n: int, counts: Sequence[Counts]) -> Row:
    refused = sum((each.refused for each in counts), Counter[str]())
    sent, outcomes = sum(each.texts for each in counts), sum(each.outcomes for each in counts)
    reasons = ", ".join(f"{k} {name}" for name, k in refused.most_common()) or "none"
    return Row(
        "hostile texts, `evaluate`",
        f"{n:,} texts on {len(counts)} ways (raw and chat, labels and generated, rows, prompts, labels, files), "
        f"{sent:,} trials",
        f"{outcomes:,} with an outcome, {refused.total():,} refused by name ({reasons}), "
        f"{sent - outcomes - refused.total()} lost",
        "nothing that commands a terminal was printed",
        [failure for each in counts for failure in each.failures],
        {each.way: {"texts": each.texts, "outcomes": each.outcomes, "refused": dict(each.refused)} for each in counts},
    )


def _optimize_row(searches: Searches, problems: Sequence[str]) -> Row:
    return Row(
        "hostile texts, `optimize`",
        f"{searches.n} searches with {len(METHODS)} methods, {searches.texts:,} texts as rows and as replies",
        f"{searches.replies:,} proposals of {', '.join(name for name, only in METHODS.items() if only)}, "
        f"{searches.accounted:,} are candidates or discards with a reason",
        "each search repeated from the store alone gives the same",
        [*searches.failures, *problems],
        {"replies": searches.replies, "accounted": searches.accounted},
    )
