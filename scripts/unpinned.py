"""Print the requirements of localprompt, one a line, with any llama-cpp-python in the place of the one it is made for.

python scripts/unpinned.py > requirements.txt
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def requirements() -> list[str]:
    """Return them, as pip reads them."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return [re.sub(r"(?<=^llama-cpp-python)==\S+", "", line) for line in project["dependencies"]]


if __name__ == "__main__":
    print(*requirements(), sep="\n")
