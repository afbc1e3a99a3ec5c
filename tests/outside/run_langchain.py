"""Asks with an exported prompt template of LangChain; prints an answer a line, as JSON.

python run_langchain.py FOLDER ROWS.jsonl SERVER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    folder, rows, server = sys.argv[1:]
    sys.path.insert(0, folder)
    from chain import chain  # noqa: PLC0415 - it is in the folder

    answers = chain(f"{server}/v1")
    for line in filter(None, Path(rows).read_text(encoding="utf-8").split("\n")):
        print(json.dumps(answers.invoke(json.loads(line))))


if __name__ == "__main__":
    main()
