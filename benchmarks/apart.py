"""A contender of a benchmark, measured in a process of its own with the Python that has its packages."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Job = Mapping[str, Any]
OUTSIDE = Path(os.environ.get("OUTSIDE_PYTHON", Path(__file__).parents[1] / ".venv-outside" / "bin" / "python"))
"""The Python of the programs outside: `bash scripts/setup.sh --outside` makes it."""
INSIDE = Path(sys.executable)
_START_SECONDS = 120


def has(python: Path, package: str) -> bool:
    """Return whether a Python is there and has a package."""
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return (
        python.exists() and subprocess.run([python, "-c", look], check=False, stderr=subprocess.DEVNULL).returncode == 0
    )


def measured(python: Path, script: Path, name: str, job: Job) -> dict[str, Any]:
    """Return what the contender `name` of a script measured: the last line that it printed.

    Raises:
        CalledProcessError: if it failed; its messages are on standard error.
    """
    waiting = {"OMP_WAIT_POLICY": "passive", **os.environ}  # what localprompt gives its engine
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [str(python), str(script), "--contender", name]
    run = subprocess.run(
        command, input=json.dumps(job), env={**waiting, **offline}, stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(run.stdout.splitlines()[-1]))


def be_contender(contenders: Mapping[str, Callable[[Job], dict[str, Any]]]) -> bool:
    """Be the contender that the command line names, with the job from standard input; False if it names none."""
    if sys.argv[1:2] != ["--contender"]:
        return False
    found = contenders[sys.argv[2]](json.load(sys.stdin))
    print(json.dumps({**found, "peak_mib": peak_mib()}))
    return True


def peak_mib() -> int | None:
    """Return the most memory of this process and of its largest child together; None where nobody says."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return sum(resource.getrusage(of).ru_maxrss for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // unit


def packages() -> list[str]:
    """Return the folders from which another Python has localprompt, and the llama-cpp-python of this one.

    Raises:
        ImportError: if it has none.
    """
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        raise ImportError("llama-cpp-python is missing")
    return [str(Path(__file__).absolute().parents[1]), str(Path(found.origin).parents[1])]


def as_llama_cpp_python(inside: Sequence[str], **options: object) -> list[str]:
    """Return the arguments that make llama-cpp-python's server of a Python, with the packages in some folders."""
    run = "runpy.run_module('llama_cpp.server', None, '__main__', True)"
    named = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return ["-c", f"import runpy, sys; sys.path += {list(inside)!r}; {run}", *named]


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(arguments: Sequence[str], address: str) -> Iterator[None]:
    """Run this Python with arguments that make a server of it, from when it answers at an address.

    Raises:
        RuntimeError: if it ends, or does not answer in two minutes.
    """
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, *arguments], stdout=quiet, stderr=quiet)
    try:
        end = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < end:
            with suppress(OSError):
                urllib.request.urlopen(address).close()
                break
            time.sleep(0.2)
        else:
            raise RuntimeError(f"no server answers at {address}")
        yield
    finally:
        process.kill()
        process.wait()


def spread(values: Sequence[float]) -> str:
    """Return the median and, of several, the range."""
    return f"{statistics.median(values):.3g}" + (f" [{min(values):.3g}, {max(values):.3g}]" if values[1:] else "")


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows as Markdown; all have the keys of the first."""
    for cells in (rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows)):
        print("|", " | ".join(map(str, cells)), "|")
