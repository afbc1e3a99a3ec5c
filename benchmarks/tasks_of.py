"""The tasks of `methods.py`: where their rows are, how they are answered, and what people would write as a prompt.

All but gsm8k are shown in the default raw layout, so that base models can be measured too and every model gets the same
text.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from induction import HAND_WRITTEN

from localprompt.tasks import Task, load_task

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One task, apart from its rows."""

    folder: str
    """Below the data folder; holds a `.jsonl` file a split, with rows of {"input", "targets"}."""
    prompts: tuple[str, ...]
    """What people would write: the reference first, then the other wordings that `manual` chooses from."""
    keys: Mapping[str, object]
    """Of the task file, beside data and prompts."""
    rows: tuple[int, int, int] = (100, 100, 100)
    """Rows of train, dev and test that are used unless told otherwise, or all there are."""
    budget: int = 24_000
    """Computed tokens of one search unless told otherwise."""

    @property
    def is_induction(self) -> bool:
        """True for the tasks that the aims are about."""
        return self.folder.startswith("instruction_induction/")


def _induction(name: str, *others: str, max_tokens: int = 8) -> Benchmark:
    keys = {"metric": "exact_match", "max_tokens": max_tokens}
    return Benchmark(f"instruction_induction/{name}", (HAND_WRITTEN[name], *others), keys)


TASKS: Mapping[str, Benchmark] = {
    "antonyms": _induction(
        "antonyms",
        "Give an antonym of the word.",
        "What is the opposite of this word? Answer with one word.",
        "Replace the word by its opposite.",
    ),
    "larger_animal": _induction(
        "larger_animal",
        "Which of the two animals is bigger?",
        "Compare the sizes of the animals and name the bigger one.",
        "Of the two animals, write the one that weighs more.",
    ),
    "sentiment": _induction(
        "sentiment",
        "Classify the review as positive or negative.",
        "Is the reviewer pleased with the movie? Answer with 'positive' or 'negative'.",
        "Write 'positive' if the sentence praises the movie and 'negative' if it does not.",
    ),
    "singular_to_plural": _induction(
        "singular_to_plural",
        "Give the plural of the noun.",
        "Turn the singular noun into its plural.",
        "How is this word written when there is more than one?",
    ),
    "translation_en-fr": _induction(
        "translation_en-fr",
        "Give the French word for the English word.",
        "How do you say this in French? Answer with one word.",
        "Write the French translation of the word and nothing else.",
    ),
    "word_in_context": _induction(
        "word_in_context",
        "Compare the two uses of the word. Possible answers: same, not the same.",
        "Is the word used in one sense in both sentences? Write 'same' if it is and 'not the same' if it is not.",
        "Decide if both sentences use the word with one meaning ('same') or with two ('not the same').",
    ),
    "object_counting": Benchmark(
        "bbh/object_counting",
        (
            "Add up the amounts of all things of the kind that is asked for, and give the total as a number.",
            "Count carefully and answer with a number only.",
            "List each thing with its amount, add the amounts up, and end with the total.",
            "How many are there in all?",
        ),
        # Room for a sum written out; a bare number ends at the next line.
        {"answer": "last_number", "metric": "numeric", "max_tokens": 48},
        (75, 75, 100),
        48_000,
    ),
    "sports_understanding": Benchmark(
        "bbh/sports_understanding",
        (
            "Say whether the athlete could have done this: yes if it belongs to the sport they play, otherwise no.",
            "Answer yes or no.",
            "Is this something that happens in the sport that the person is known for? Answer yes or no.",
            "Judge if the sentence makes sense for somebody who follows sports. Write yes or no.",
        ),
        {"labels": ["yes", "no"]},
        (75, 75, 100),
        48_000,
    ),
    "gsm8k": Benchmark(
        "gsm8k",
        (
            "Solve the problem step by step and end with the number that answers it.",
            "Think it through one step at a time before giving the number.",
            "Answer the question. Show each calculation on the way, and write the result last.",
            "Work out the answer with equations and finish with 'The answer is' and the number.",
        ),
        # A chat: in plain text the 1.5B guesses a number and then reasons from the beginning; of its answers 77 % were
        # cut off at 200 tokens and a quarter at 400. By chat it needs 250 to 290 on average, and 4 of 48 were cut off.
        {
            "answer": "last_number",
            "metric": "numeric",
            "max_tokens": 400,
            "layout": {
                "mode": "chat",
                "template": "{{instruction}}\n\n{{demos}}{{input}}",
                "demo": "{{input}}\n{{output}}\n\n",
            },
        },
        # A row costs up to 600 tokens, and a method that compares 16 prompts on 24 rows at once must be able to.
        (100, 30, 60),
        200_000,
    ),
}


def sizes(data: Path, name: str, wanted: Mapping[str, int | None]) -> dict[str, int]:
    """Return split to number of rows: what is wanted or, where that is None, the benchmark's; at most what there is."""
    benchmark = TASKS[name]
    chosen = {}
    for split, usual in zip(SPLITS, benchmark.rows, strict=True):
        with (data / benchmark.folder / f"{split}.jsonl").open("rb") as file:
            there = sum(1 for line in file if line.strip())
        chosen[split] = min(wanted.get(split) or usual, there)
    return chosen


def task_of(data: Path, name: str, start: str, rows: Mapping[str, int]) -> Task:
    """Return a task that starts from `empty` or `hand`, the reference prompt, with so many rows of each split."""
    benchmark = TASKS[name]
    folder = (data / benchmark.folder).resolve()
    keys = {
        "name": name,
        "data": {split: str(folder / f"{split}.jsonl") for split in SPLITS}
        | {"fields": {"input": "input", "target": "targets"}, "split": dict(rows)},
        "prompts": ["" if start == "empty" else benchmark.prompts[0]],
        **benchmark.keys,
    }
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "task.yaml"
        path.write_text(json.dumps(keys))  # JSON is YAML
        return load_task(path)
