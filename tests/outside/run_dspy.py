"""Asks with an exported program of DSPy; prints an answer a line, as JSON.

python run_dspy.py FOLDER ROWS.jsonl SERVER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dspy


def main() -> None:
    folder, rows, server = sys.argv[1:]
    sys.path.insert(0, folder)
    from program import Program, server_lm  # noqa: PLC0415 - it is in the folder

    dspy.configure(lm=server_lm(server))
    program = Program()
    for line in filter(None, Path(rows).read_text(encoding="utf-8").split("\n")):
        print(json.dumps(program(**json.loads(line)).answer))


if __name__ == "__main__":
    main()
