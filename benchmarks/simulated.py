"""What searches gain on average on models that are drawn by chance: hundreds of searches an hour, and no model file.

    python benchmarks/simulated.py --json FILE [--methods auto,ape] [--tokens 10000] [--row 12] [--seeds 100]
        [--variants "auto choice=uniform;auto without=deal"]
    python benchmarks/simulated.py --json FILE --against OTHER

A search on a real model takes minutes, and what one seed finds differs from the next by more than what most changes of
a method are worth. Here the methods themselves, with their sizing and budgets, search on `World`s, in which the true
accuracy of every prompt is known. The n-th search of each method is of the same world, so that methods are compared in
pairs; so are two versions of the project, each of which writes a file. Answers to meta-prompts are sentences drawn by
chance, so that methods that write well are not told from those that write badly: what is judged is how sets of worked
examples are dealt, raced and chosen, and what that takes of a budget.

A token is a word here, and rows have 12 of them, where those of Subj have 40 and of AG News 70 real ones: 10,000 tokens
stand for 33,000 and 58,000. `--variants` adds searches with other settings, each compared with the method itself. The
searches that the file has are not repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any

from classification import variants
from methods import METHODS, chosen, read, write

import localprompt
from localprompt.lm.scripted import ScriptedLM
from localprompt.stats.intervals import paired_difference
from localprompt.tasks import Layout, Task
from localprompt.tasks.answers import find_answer
from localprompt.tasks.metrics import find_metric
from localprompt.types import Example, Prompt, Sampling

ROWS: Mapping[str, int] = {"train": 300, "dev": 300, "test": 24}
"""The true accuracy is known, so that test is as small as can be."""
LABELS = ("high", "low")
SEED = "Say of the words that follow whether they are high or low."
EASE, WHIM = 1.5, 1.0
"""Standard deviations of how easy a row is, and of how it agrees with a prompt, in logits."""
BARE, SHOWN = 0.0, 0.6
"""Logits of a mean row with an instruction alone, and with four examples: accuracies of 0.50 and 0.63. The 1.5B has
0.29 to 0.74 with the published instructions of Subj, SST-5 and AG News, and 0.39 to 0.85 with the examples that
searches found (LOG.md)."""
ORDER, SET, WORDS, BOTH = 0.35, 0.2, 0.35, 0.3
"""Standard deviations between orders of examples, the sets of one order, instructions, and both together, in logits.
Eight random sets of a size differ by 0.025 to 0.063 in true accuracy (LOG.md), which is 0.13 to 0.35 here."""
GROWS, DIFFERS = 0.15, 0.3
"""What a set that is three times as large gains in logits, on average and from world to world."""
_NORMAL = NormalDist()


def drawn(*what: object) -> float:
    """Return a standard normal number that is the same for the same things."""
    digest = hashlib.blake2b(repr(what).encode(), digest_size=8).digest()
    return _NORMAL.inv_cdf((int.from_bytes(digest, "big") + 0.5) / 2**64)


@dataclass(frozen=True, slots=True)
class World:
    """A task and a model that knows how right it is; all of it follows from a number.

    Args:
        number: which one.
        row: words of a row, at least 3.
    """

    number: int
    row: int

    def task(self) -> Task:
        """Return rows of words that mean nothing, each with one of two answers."""
        rng, rows, at = random.Random(self.number), dict[str, Any](), 0
        for split, n in ROWS.items():
            texts = [f"{' '.join(rng.choice(_NOUNS) for _ in range(self.row - 3))} n{at + i}" for i in range(n)]
            rows[split] = tuple(
                Example(f"{split}:{i}", {"input": text}, (rng.choice(LABELS),)) for i, text in enumerate(texts)
            )
            at += n
        return Task(
            name=f"world {self.number}",
            description="",
            inputs=("input",),
            labels=LABELS,
            label_score="sum",
            **rows,
            seeds=(Prompt(SEED),),
            layout=Layout("{{instruction}}\n\n{{demos}}In: {{input}}\nOut:", "In: {{input}}\nOut: {{output}}\n\n"),
            answer=find_answer("first_line"),
            metric=find_metric("exact_match"),
            sampling=Sampling(max_tokens=4, stop=("\n",)),
        )

    def accuracy(self, prompt: Prompt) -> float:
        """Return the share of all rows that there could be on which the model is right."""
        shown = [f"{demo.inputs['input']} {demo.output}" for demo in prompt.demos]
        return _NORMAL.cdf(self._skill(prompt.instruction.strip(), shown) / math.hypot(EASE, WHIM))

    def model(self, task: Task) -> ScriptedLM:
        """Return the model: it answers rows of the task, and writes sentences when it is asked for anything else."""
        right = {each.inputs["input"]: each.targets[0] for each in (*task.train, *task.dev, *task.test)}

        def logprob(context: str, continuation: str) -> float:
            before, _, last = context.rpartition("In: ")
            row = last.removesuffix("\nOut:")
            if row not in right:  # a text of the proposer
                return -1.0
            instruction, _, examples = ("\n\n" + before).partition("\n\nIn: ")
            shown = [each.replace("\nOut:", "") for each in examples.strip().split("\n\nIn: ") if each]
            key = (instruction.strip(), shown)
            margin = self._skill(*key) + EASE * drawn(self.number, row) + WHIM * drawn(self.number, row, key)
            is_right = continuation.strip() == right[row]
            return -math.log1p(math.exp(-margin if is_right else margin))

        return ScriptedLM(answer=_written, logprob=logprob, name=f"world-{self.number}-{self.row}", has_chat=False)

    def _skill(self, instruction: str, shown: Sequence[str]) -> float:
        """Return the logit of a mean row."""
        words = WORDS * drawn(self.number, instruction) if instruction not in ("", SEED) else 0.0
        if not shown:
            return BARE + words - (0.3 if not instruction else 0.0)
        slope = GROWS + DIFFERS * drawn(self.number, "slope")
        size = slope * (math.log(len(shown)) - math.log(4)) / math.log(3)
        sets = ORDER * drawn(self.number, shown[:2]) + SET * drawn(self.number, shown)
        return SHOWN + size + sets + (BOTH * drawn(self.number, instruction, shown) if instruction else 0.0)


_NOUNS = ("river", "stone", "cloud", "lamp", "garden", "engine", "mirror", "sparrow", "copper", "violin", "harbour")
_VERBS = ("Decide", "Judge", "Tell", "Answer", "Mark", "Choose", "Name", "Settle", "Weigh", "State", "Find", "Guess")


def _written(prompt: str, seed: int) -> str:
    """Return a sentence that the prompt and the seed decide."""
    rng = random.Random(f"{seed} {hashlib.blake2b(prompt.encode(), digest_size=8).hexdigest()}")
    some = rng.sample(_NOUNS, 5)
    about = f"the {some[0]} and the {some[1]} before the {some[2]}, or by its {some[3]} near a {some[4]}"
    return f" {rng.choice(_VERBS)} by {about} whether the words are high or low.\n\n"


def searched(way: str, seed: int, tokens: int, row: int, folder: Path) -> dict[str, Any]:
    """Return what one search, by a method or one with settings, found in the world of its seed, and how right it is."""
    world = World(seed, row)
    task, (method, *pairs) = world.task(), way.split()
    settings = dict(pair.split("=", 1) for pair in pairs)
    run = localprompt.optimize(
        task,
        world.model(task),
        method=method,
        settings=settings,
        seed=seed,
        max_tokens=tokens,
        store=folder / f"{method}-{seed}.db",
    )
    return {
        "accuracy": round(world.accuracy(run.best), 4),
        "seed": round(world.accuracy(task.seeds[0]), 4),
        "op": run.op,
        "examples": len(run.best.demos),
        "tokens": run.spend.tokens_computed,
        "sizes": dict(run.expected.sizes) if run.expected else {},
        "turns": [[turn.operator, turn.tokens, round(turn.gain, 4)] for turn in run.turns],
    }


def table(found: Mapping[str, Mapping[str, dict[str, Any]]], methods: Sequence[str], other: Mapping[str, Any]) -> str:
    """Return the mean true accuracy of each method as Markdown, and by what it differs from that of another file.

    A method with settings is compared with the method itself where there is no other file.
    """
    lines = ["| | searches | seed | found | against | tokens | examples |", "|---|---|---|---|---|---|---|"]
    for method in methods:
        rows = found.get(method, {})
        if not rows:
            continue
        before = other.get(method, {}) or (found.get(method.split()[0], {}) if " " in method else {})
        shared = sorted(rows.keys() & before.keys(), key=int)
        against = ""
        if len(shared) > 1:
            pair = ([each[number]["accuracy"] for number in shared] for each in (before, rows))
            difference = paired_difference(*pair)
            against = f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], {len(shared)} pairs"
        seed, best, tokens, shown = (
            fmean(row[key] for row in rows.values()) for key in ("seed", "accuracy", "tokens", "examples")
        )
        lines.append(f"| {method} | {len(rows)} | {seed:.3f} | {best:.4f} | {against} | {tokens:,.0f} | {shown:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--against", type=Path, help="The file of another version: differences from it.")
    parser.add_argument("--methods", type=chosen(("auto", *METHODS)), default=("auto", "ape"))
    parser.add_argument("--variants", type=variants, default=(), help="METHOD KEY=VALUE, several separated by ;")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--row", type=int, default=12, help="Words of a row.")
    parser.add_argument("--seeds", type=int, default=100)
    given = parser.parse_args()
    results = read(given.json) or {"tokens": given.tokens, "row": given.row, "methods": {}}
    other = read(given.against) if given.against else {"tokens": results["tokens"], "row": results["row"]}
    if {(each["tokens"], each["row"]) for each in (results, other)} != {(given.tokens, given.row)}:
        parser.error("the files are of other --tokens or --row")
    ways = (*given.methods, *given.variants)
    for seed in range(given.seeds):
        for method in ways:
            known = results["methods"].setdefault(method, {})
            if str(seed) not in known:
                with tempfile.TemporaryDirectory() as folder:
                    known[str(seed)] = searched(method, seed, given.tokens, given.row, Path(folder))
                write(given.json, results)
    print(table(results["methods"], ways, other.get("methods", {})))


if __name__ == "__main__":
    main()
