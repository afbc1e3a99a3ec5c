"""How fast is scoring beside busy processes, and what makes the best of it?

    python benchmarks/busy.py [--model NAME] [--reviews 64] [--burners 0,1,2] [--repeats 3] [--json FILE]

The same requests are scored by each way of using the cores, beside 0, 1 and 2 processes that count without end (this
script starts them): the ways take turns, so that drift of the machine falls on all of them.

    threads=N          one engine with N threads: as many as there are cores, one, and twice as many
    N engines x 1      N engines with one thread each (`n_engines`), each with a part of the requests
    threads=N, nice    one engine with N threads and a higher priority; only where this user may have one

Rows a second are those that one engine has to decode over the time of all: what two engines decode twice, since each
begins its prompts anew, is their loss. Where the system deals out time by sessions (`sched_autogroup_enabled`), the
worker's session gets the higher priority. A machine with anything else to do gives numbers about that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from localprompt.engine.neighbours import cores_of_others
from localprompt.engine.settings import available_threads
from localprompt.lm.local import LocalModel, load_model
from localprompt.lm.speed import requests

_BURNER = "while True: pass"
_NICE = -10
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Way:
    """A model that is loaded so."""

    name: str
    model: LocalModel

    def seconds(self, pairs: Pairs) -> float:
        """Score everything once, and return how long that took."""
        began = time.perf_counter()
        self.model.loglikelihood(pairs)
        return time.perf_counter() - began


@contextmanager
def burners(n: int) -> Iterator[None]:
    """Keep n processes busy for a time, each in a session of its own, as programs of other terminals are."""
    processes = [subprocess.Popen([sys.executable, "-c", _BURNER], start_new_session=True) for _ in range(n)]
    try:
        time.sleep(0.5 if n else 0.0)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def ways(name: str, stack: ExitStack) -> list[Way]:
    """Return the ways of using the cores; all their models stay loaded, and rest while others compute."""
    with load_model(name) as lm:
        path, settings = lm.path, lm.settings
    most = available_threads()

    def model(n_threads: int, n_engines: int = 1) -> LocalModel:
        return stack.enter_context(LocalModel(path, replace(settings, n_threads=n_threads, n_engines=n_engines)))

    found = [Way(f"threads={n}", model(n)) for n in dict.fromkeys((most, 1, 2 * most))]
    found.append(Way(f"{most} engines x 1", model(1, most)))
    raised = model(most)
    if is_raised(raised.pid):
        found.append(Way(f"threads={most}, nice {_NICE}", raised))
    return found


def is_raised(pid: int) -> bool:
    """Give a process a higher priority, all its threads and its session; return False where that is not allowed."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():  # Linux gives each thread a priority of its own
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICE)
        if (group := Path(f"/proc/{pid}/autogroup")).exists():
            group.write_text(str(_NICE), encoding="utf-8")
        return True
    return False


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--reviews", type=int, default=48, help="scored under four instructions, with two labels each")
    parser.add_argument("--burners", default="0,1,2", help="numbers of busy processes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        found = ways(options.model, stack)
        beside = cores_of_others(1.0)
        print(f"{available_threads()} cores; others use {'?' if beside is None else f'{beside:.1f}'} before the start")
        for way in found:
            way.seconds(requests(2, seed=-1))
        for n in map(int, options.burners.split(",")):
            rates: dict[str, list[float]] = {way.name: [] for way in found}  # rows a second
            for turn in range(options.repeats):
                pairs = requests(options.reviews, seed=turn)
                n_rows, seconds = 0, {}
                for way in found if turn % 2 == 0 else reversed(found):
                    before = way.model.stats.tokens_decoded
                    with burners(n):
                        seconds[way.name] = way.seconds(pairs)
                    if way is found[0]:
                        n_rows = way.model.stats.tokens_decoded - before
                for name, values in rates.items():
                    values.append(n_rows / seconds[name])
            results[str(n)] = rates
            told(n, rates)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def told(n: int, rates: Mapping[str, Sequence[float]]) -> None:
    """Print the rates beside n busy processes, and how they compare with the first way's, turn by turn."""
    first = next(iter(rates.values()))
    print(
        f"\nbeside {n} busy processes\n| way | rows a second, median (range) | over the first, median |\n|---|---|---|"
    )
    for name, values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(values, first, strict=True))
        spread = f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"
        print(f"| {name} | {spread} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
