"""Do situations that once failed go right now?

    python benchmarks/cases.py CASES [--only 01,06] [--out FOLDER]

CASES is a folder with one folder a case, its name beginning with a number: its files, `cmd` (a shell script, run in a
copy of the folder with `localprompt` on the path and a store of its own), `expected.txt` (what a right tool does, in
words) and `got.txt` (what happened when the case was written down). What the commands print is held against the
patterns below; a case that has none is run and shown. With --out what was printed is kept, a file a case, to be read
beside `expected.txt`. The cases load smollm2-135m-instruct.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECONDS = 900


@dataclass(frozen=True, slots=True)
class Right:
    """What the output of a case looks like where it goes right, as regular expressions; `.` is any character."""

    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    def faults(self, output: str) -> list[str]:
        """Return what is wrong with an output, a line each."""
        missing = [f"lacks {each!r}" for each in self.has if not re.search(each, output, re.DOTALL | re.MULTILINE)]
        return missing + [f"has {each!r}" for each in self.lacks if re.search(each, output, re.DOTALL | re.MULTILINE)]


RIGHT: Mapping[str, Right] = {
    "01": Right((r"tsv: 8 train, 16 dev, 16 test", r"line 9.* line 14"), (r"csv: 7 train",)),
    "02": Right((r"^seed None ConfigError",), (r"is damaged",)),
    "03": Right((r"^a$.*?^manual +1 +0\.[1-9]", r"^b$.*?^manual +1 +0\.000", r"^test: 0\.000"), ()),
    "05": Right((r"^run [0-9a-f]{12}: manual", r"^\{\"task\""), (r"^Error",)),
    "06": Right(
        (r"^warning: 15 answers are not one plain number",), (r"'(?:3|7 1)/2'[^\n]*score 1", r":[^\n]*score 1")
    ),
    "08": Right((r"interval 0\.0\d+ to 0\.9\d+",)),
    "10": Right((r"(?:exact_match 1\.0\n[^\n]*){10}exact_match 0\.0",)),
    "12": Right((r"user\nsee<",)),
    "13": Right((r"^l: 4 train", r"^c: 1 train"), (r"^Error",)),
    "14": Right(
        (r"divided by ';'", r"sep= line", r"UTF-16", r"line 42: not UTF-8", r"JSON array"), (r"more bad rows",)
    ),
    "15": Right((r"^t: 8 train",)),
    "17": Right((r"is part 2 of 2: give \S+00001-of-00002", r"put together by cat"), (r"download",)),
    "19": Right((r"score 1\.0$",), (r"score 0\.0$",)),
    "20": Right((r"there is no store",), (r"^\./~$",)),
    "21": Right((r"resume [0-9a-f]{12} --store elsewhere\.db",)),
    "22": Right((r"optimize:\n.*has no example of 'negative'", r"max_tokens 4.*may not fit into max_tokens 4")),
    "23": Right((r"^first \d+ bytes\nlabels \d+ bytes\nregex \d+ bytes",)),
    "24": Right((r"ModelError",), (r"hangs", r"TypeError")),
    "26": Right((r"(?:target B: 1\.0\n[^\n]*){11}target B: 0\.0\n[^\n]*target B: 0\.0",)),
    "27": Right((r"ape, seed 0.*random, seed 0",), (r"^Error",)),
    "28": Right((r"warning.*im_start",)),
}


def run(case: Path, place: Path) -> str:
    """Return what the commands of a case print, standard error among it, and their exit code."""
    folder = place / case.name
    shutil.copytree(case, folder, copy_function=shutil.copyfile)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LOCALPROMPT_STORE": str(place / f"{case.name}.sqlite")}
    try:
        done = subprocess.run(
            ["bash", "cmd"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {SECONDS} s\n"
    return done.stdout.decode(errors="replace") + f"[exit code {done.returncode}]\n"


def main() -> None:
    """Run the cases; the exit code is 1 if one of them goes wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--only", type=lambda text: tuple(text.split(",")), help="numbers, separated by commas")
    parser.add_argument("--out", type=Path, help="folder for what was printed")
    options = parser.parse_args()
    wrong = 0
    for case in sorted(path.parent for path in options.cases.glob("*/cmd")):
        number = case.name.partition("-")[0]
        if options.only and number not in options.only:
            continue
        with tempfile.TemporaryDirectory() as place:
            output = run(case, Path(place))
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{case.name}.txt").write_text(output, encoding="utf-8")
        if number not in RIGHT:
            print(f"?     {case.name}: nothing is known of it\n{output}", flush=True)
            continue
        faults = RIGHT[number].faults(output)
        wrong += bool(faults)
        print("WRONG" if faults else "right", case.name, *(f"\n      {fault}" for fault in faults), flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
