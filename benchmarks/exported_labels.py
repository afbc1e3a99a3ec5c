"""What does it cost that a server with a grammar stands for the likelihood of labels? Scores on test rows.

    python benchmarks/exported_labels.py DATA --json FILE [--server http://127.0.0.1:8080] [--model M] [--rows 60]

DATA is a folder with `subj`, `sst-5`, `agnews` and `banking-20` (see classification.py); support-routing comes from
`examples/`. The labels of agnews are written out here, most of those of banking-20 have several tokens. The server is
a llama.cpp server that runs the same GGUF, with one slot. Each task has the published instruction, raw and as a chat.

Inside, labels are compared by their likelihood, plain (`sum`) and `calibrated`. The prompt is exported with
`--to llama-server`, and the server asked about the same rows:

- tokens: as exported, greedily with a grammar over the labels' tokens
- text: the same with `labels.gbnf`, a grammar over the labels' text
- free: a line without a grammar, as for Ollama; the answer is the label that it begins with, else none
- bias: as exported, the first token of each label with the log of its prior taken away (`logit_bias`), where the first
  tokens differ: what is left of calibration
- likelihood, prior: where a label has several tokens, by the likelihood of each whole label as `ask.py` does, without
  and with the prior: all of `sum` and of `calibrated`

Without --server only what follows from the likelihoods: where each label is one token, the label with the highest
likelihood is what `tokens` gives.

Printed are the scores and the differences from inside, paired by rows, with 95 % intervals. The file is written after
every task and layout; what it has is not repeated.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from classification import labels_in
from corpus import LABELS, published, task_in
from methods import read, write

import localprompt
from localprompt.lm.base import LanguageModel
from localprompt.run.session import Session, open_session
from localprompt.stats.intervals import paired_difference
from localprompt.tasks import Layout, Task
from localprompt.types import Example, LabelScore

EXAMPLES = Path(__file__).parents[1] / "examples"
TASKS = ("support-routing", "subj", "sst-5")
PHRASES = {"World": "world news", "Sports": "sports", "Business": "business", "Tech": "science and technology"}
"""Labels of agnews in words of their own, of one to three tokens."""
RAW = Layout("{{instruction}}\n\n{{demos}}Input: {{input}}\nLabel:", "Input: {{input}}\nLabel: {{output}}\n\n")
CHAT = Layout("{{input}}", "", "chat", "{{instruction}}", "Label:", " ")
LAYOUTS: Mapping[str, Layout] = {"raw": RAW, "chat": CHAT}
"""The prompts are the same words; in the chat the answer is begun."""
INSIDE: tuple[LabelScore, ...] = ("sum", "calibrated")
OUTSIDE = ("tokens", "text", "free", "bias", "likelihood", "prior")


def task_of(data: Path, name: str, layout: Layout, n_rows: int) -> Task:
    """Return a task with the published instruction and at most so many test rows."""
    if name != TASKS[0]:
        folder = data / name
        labels = LABELS[name] if name in LABELS else labels_in(folder / "train.jsonl")
        keys: dict[str, object] = {"labels": list(labels), "prompts": published(folder)[:1]}
        task = task_in(folder, keys, {"train": 8, "dev": 8, "test": n_rows})
        task = in_phrases(task) if name == "agnews" else task
    else:
        task = localprompt.load_task(EXAMPLES / name / "task.yaml")
    return replace(task, layout=layout, train=task.train[:8], dev=task.dev[:8], test=task.test[:n_rows])


def in_phrases(task: Task) -> Task:
    """Return agnews with its labels written out, in the instruction too."""

    def renamed(rows: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(replace(row, targets=(PHRASES[row.targets[0]],)) for row in rows)

    (seed,) = task.seeds
    instruction = seed.instruction
    for label, phrase in PHRASES.items():
        instruction = instruction.replace(f"'{label}'", f"'{phrase}'")
    task = replace(task, train=renamed(task.train), dev=renamed(task.dev), test=renamed(task.test))
    return replace(task, labels=tuple(PHRASES.values()), seeds=(replace(seed, instruction=instruction),))


def chosen(session: Session, task: Task, score: LabelScore) -> tuple[list[str | None], list[float]]:
    """Return the labels chosen for the test rows, and the log prior of each label; zeros where none is taken away."""
    scored = replace(task, label_score=score)
    evaluator, prompt = session.evaluator(scored), task.seeds[0]
    (evaluation,) = evaluator.evaluate([prompt], task.test)
    found = evaluator.label_likelihoods(prompt, task.test[0])
    assert found is not None
    priors = [nats - left for nats, left in zip(found.logprobs, found.scores, strict=True)]
    return [outcome.prediction for outcome in evaluation.outcomes], priors


def asked_outside(
    task: Task, lm: LanguageModel, server: str, priors: Sequence[float], wanted: Sequence[str]
) -> dict[str, list[str | None] | None]:
    """Return the labels that a server gives for the test rows, by how it is asked; None where it cannot be."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, store = Path(temporary), Path(temporary) / "store.db"
        small = replace(task, test=task.test[:2], label_score="sum")
        run = localprompt.optimize(small, lm, method="manual", store=store)
        localprompt.export(run.run_id, "llama-server", out=folder, model=lm, store=store)
        spec = importlib.util.spec_from_file_location("ask", folder / "ask.py")
        assert spec is not None
        assert spec.loader is not None
        ask = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(ask)
        text = (folder / "labels.gbnf").read_text(encoding="utf-8")
    first = first_tokens(task, lm)
    bias = [[token, -prior] for token, prior in zip(first, priors, strict=True)] if len({*first}) == len(first) else []
    options = ask.PROMPT["llama_cpp"]
    longest = max(label_lengths(task, lm))
    ways: dict[str, dict[str, Any]] = {
        "tokens": options,
        "text": {**options, "grammar": text},
        "free": {
            **{name: options[name] for name in options if name != "grammar"},
            "n_predict": longest + 1,
            "stop": ["\n"],
        },
        "bias": {**options, "logit_bias": bias},
    }
    plain = ask.PROMPT["likelihoods"]
    calibrated = [{**each, "prior": prior} for each, prior in zip(plain, priors, strict=bool(plain))]
    ways.update({"likelihood": options, "prior": options})
    whole = {"likelihood": plain, "prior": calibrated}
    cannot = {way for way in ways if (way == "bias" and not bias) or not whole.get(way, True)}
    answers: dict[str, list[str | None] | None] = {way: None if way in cannot else [] for way in ways if way in wanted}
    for row in task.test:
        for way, found in answers.items():
            ask.PROMPT["llama_cpp"], ask.PROMPT["likelihoods"] = ways[way], whole.get(way, [])
            if found is not None:
                found.append(begun_with(ask.ask(server, dict(row.inputs)), task.labels))
    return answers


def first_tokens(task: Task, lm: LanguageModel) -> list[int]:
    """Return the first token of each label behind the first test row."""
    rendering = task.layout.render(task.seeds[0], task.test[0].inputs)
    text = lm.chat(rendering.messages, rendering.opening) if rendering.messages else rendering.text
    before, *whole = lm.tokenize([text, *(text + task.layout.separator + label for label in task.labels)])
    return [tokens[len(before)] for tokens in whole]


def label_lengths(task: Task, lm: LanguageModel) -> list[int]:
    """Return how many tokens each label has by itself."""
    return [len(tokens) for tokens in lm.tokenize([task.layout.separator + label for label in task.labels])]


def begun_with(completion: str, labels: Sequence[str]) -> str | None:
    """Return the longest label that a completion begins with, whatever the case; None if it begins with none."""
    text = completion.strip().casefold()
    return max((label for label in labels if text.startswith(label.casefold())), key=len, default=None)


def scores(task: Task, answers: Sequence[str | None]) -> list[float]:
    """Return the metric of each answer on the test rows."""
    rows: Sequence[Example] = task.test
    return [
        0.0 if answer is None else task.metric(answer, row.targets) for answer, row in zip(answers, rows, strict=True)
    ]


def measured(task: Task, session: Session, server: str | None, ways: Sequence[str]) -> dict[str, Any]:
    """Return scores, a digit a row, and how many answers of each way outside are those inside."""
    inside: dict[str, tuple[list[str | None], list[float]]] = {score: chosen(session, task, score) for score in INSIDE}
    one_each = max(label_lengths(task, session.lm)) == 1
    outside: dict[str, list[str | None] | None] = {"tokens": inside["sum"][0] if one_each else None}
    if server:
        outside = asked_outside(task, session.lm, server, inside["calibrated"][1], ways)
    answers = {**{score: found for score, (found, _) in inside.items()}, **outside}
    return {
        "n": len(task.test),
        "label_tokens": label_lengths(task, session.lm),
        "scores": {way: None if found is None else scores(task, found) for way, found in answers.items()},
        "answers": answers,
    }


def lines(results: Mapping[str, Any]) -> list[str]:
    """Return a row of a table for each task, layout and way outside."""
    found = ["| task | inside | score | outside | same answers | score | difference |", "|---|---|---|---|---|---|---|"]
    for key, each in results.items():
        for how in INSIDE:
            before, told = each["scores"][how], each["answers"][how]
            for way in OUTSIDE:
                after = each["scores"].get(way)
                if after is None or (way in ("bias", "prior") and how == "sum"):
                    continue
                gain = paired_difference(before, after)
                same = sum(one == other for one, other in zip(told, each["answers"][way], strict=True))
                bounds = f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
                means = (
                    f"{sum(before) / len(before):.3f} | {way} | {same} of {each['n']} | {sum(after) / len(after):.3f}"
                )
                found.append(f"| {key} | {how} | {means} | {bounds} |")
    return found


def main() -> None:
    """Measure what is missing and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--server")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--ways", default=",".join(OUTSIDE))
    parser.add_argument("--rows", type=int, default=60)
    given = parser.parse_args()
    results = read(given.json) or {}
    with open_session(given.model, use_cache=False, engine={"n_ctx": 2048, "n_threads": 1}) as session:
        for name in given.tasks.split(","):
            for mode in given.layouts.split(","):
                key = f"{name}, {mode}"
                if key not in results:
                    task = task_of(given.data, name, LAYOUTS[mode], given.rows)
                    results[key] = measured(task, session, given.server, given.ways.split(","))
                    write(given.json, results)
                    print("\n".join(lines({key: results[key]})[2:]), flush=True)
    print("\n".join(lines(results)))


if __name__ == "__main__":
    main()
