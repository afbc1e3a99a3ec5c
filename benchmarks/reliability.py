"""What a run survives: killed processes, malformed models, hostile texts, crowded, full and forbidden stores.

    python benchmarks/reliability.py [--kills 200] [--real 30] [--mutants 20000] [--loads 200] [--texts 2000]
        [--only kills,files,texts,writers,room,rights,overhead] [--json PATH]

Prints a table; ends with status 1 if anything did not hold. Needs a pulled model for the kills of a real one and for
the overhead. `--kills` counts SIGKILLs, `--real` of them over a real model. Each ordeal is a file in `ordeals/`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ordeals import files, kills, overhead, stores, texts
from ordeals.report import HEAD, Row

from localprompt.hub import files as models
from localprompt.hub.cards import cards


def _ordeals(options: argparse.Namespace) -> dict[str, Callable[[], list[Row]]]:
    """Return the ordeals by name; each draws chance from a generator of its own."""

    def chance(name: str) -> random.Random:
        return random.Random(f"{name} {options.seed}")

    def hostile() -> list[Row]:
        with tempfile.TemporaryDirectory(prefix="tiny-") as folder:
            _, tiny = files.write_tiny(Path(folder))
            return texts.hostile(options.texts, tiny, chance("texts"))

    def cost() -> list[Row]:
        name = options.overhead_model
        return [overhead.overhead(models.resolve(name), name, options.reviews, options.repeats)]

    return {
        "kills": lambda: kills.kill(options.kills - options.real, options.real, options.model, chance("kills")),
        "files": lambda: files.malformed(_pulled(), options.mutants, options.loads, options.seed),
        "texts": hostile,
        "writers": lambda: [stores.concurrent(options.writers, options.answers)],
        "room": lambda: [stores.no_room(options.fillings, chance("room"))],
        "rights": lambda: [stores.no_rights()],
        "overhead": cost,
    }


def _pulled() -> list[Path]:
    paths = (models.installed(card) for card in cards())
    return [path for path in paths if path is not None]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs in all")
    parser.add_argument("--real", type=int, default=30, help="of them over a real model")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="the real model")
    parser.add_argument("--mutants", type=int, default=20_000, help="malformed headers")
    parser.add_argument("--loads", type=int, default=200, help="accepted mutants of tiny models that are loaded")
    parser.add_argument("--texts", type=int, default=2_000, help="hostile texts")
    parser.add_argument("--writers", type=int, default=4, help="processes that share a store")
    parser.add_argument("--answers", type=int, default=10_000, help="that each of them writes")
    parser.add_argument("--fillings", type=int, default=20, help="disks that fill up, each way")
    parser.add_argument("--overhead-model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--reviews", type=int, default=48, help="rows of the workload of which the overhead is taken")
    parser.add_argument("--repeats", type=int, default=5, help="turns of that workload")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names of ordeals")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ordeals = _ordeals(options)
    chosen = options.only.split(",") if options.only else list(ordeals)
    if unknown := [name for name in chosen if name not in ordeals]:
        parser.error(f"unknown ordeal {unknown[0]!r}; known: {', '.join(ordeals)}")
    rows: list[Row] = []
    for name in chosen:
        for row in ordeals[name]():
            print(f"{row.what}: {row.outcome}", file=sys.stderr, flush=True)
            rows.append(row)
        if options.json:
            options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(HEAD)
    for row in rows:
        print(row)
    failures = [f"{row.what}: {failure}" for row in rows for failure in row.failures]
    print("\n".join(["", *(f"- {failure}" for failure in failures)] if failures else []))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
