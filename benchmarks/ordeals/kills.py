"""Runs whose processes are killed again and again, and resumed, against the same runs left alone."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from localprompt.store import Store
from ordeals.report import Row
from ordeals.searches import Search, searches

DRIVER = Path(__file__).with_name("driver.py")
LIMIT = 1800
"""Seconds after which a process counts as hanging."""
MOST_A_RUN = 5
"""Kills that one run gets."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What a search comes to when nothing disturbs it."""

    run_id: str
    found: dict[str, Any]
    asked: Counter[str]
    """Requests that were computed, by hash."""
    n_calls: int
    seconds: float
    """From the opening of the model to the end."""
    log_bytes: int
    store_bytes: int


@dataclass
class Case:
    """What became of one run that was disturbed."""

    search: str
    parents: int = 0
    workers: int = 0
    sittings: int = 0
    recomputed: int = 0
    """Answers that were being computed when a kill came, and so had to be computed again."""
    failures: list[str] = field(default_factory=list)


class Place:
    """A folder with one store in which a search is sat out, sitting by sitting."""

    def __init__(self, folder: Path, search: Search) -> None:
        self.folder = folder
        self.store = folder / "store.sqlite"
        self.search = search
        self.logs: list[Path] = []

    @contextlib.contextmanager
    def sitting(self, run_id: str, max_file_bytes: int = 0) -> Iterator[subprocess.Popen[bytes]]:
        """Start the search, or go on with it where the store knows it; yield the process, which is ended at the end.

        Args:
            run_id: what to go on with.
            max_file_bytes: where writing fails, as on a full disk; 0: nowhere.
        """
        self.logs.append(self.folder / f"sitting-{len(self.logs)}.log")
        command = ["resume", run_id] if self.begun() else self.search.command
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                [
                    sys.executable,
                    str(DRIVER),
                    str(self.logs[-1]),
                    str(max_file_bytes),
                    *command,
                    "--store",
                    str(self.store),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @property
    def output(self) -> Path:
        """Where the last sitting writes what people would see."""
        return self.logs[-1].with_suffix(".out")

    def begun(self) -> bool:
        """Return whether the store has a run."""
        return self._count("SELECT count(*) FROM runs") > 0

    def answers(self) -> int:
        """Return the number of answers that are kept and cost something."""
        return self._count("SELECT count(*) FROM answers WHERE kind IN ('score', 'generate')")

    def calls(self) -> list[list[str]]:
        """Return the requests of the model calls of the last sitting; a line that was cut off is no call yet."""
        log = self.logs[-1]
        lines = log.read_text().split("\n")[:-1] if log.exists() else []
        return [json.loads(line) for line in lines]

    def has_opened(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the sitting opens its model; return whether it got there."""
        while not self.logs[-1].exists():
            if process.poll() is not None:
                return False
            time.sleep(0.002)
        return True

    def _count(self, query: str) -> int:
        if not self.store.exists():
            return 0
        with contextlib.closing(sqlite3.connect(self.store, timeout=30)) as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'answers'").fetchone()[0]:
                return 0
            (n,) = connection.execute(query).fetchone()
        return int(n)


def found(path: Path, run_id: str) -> dict[str, Any]:
    """Return everything that a store knows of a run, apart from seconds and from what was computed in which sitting."""
    with Store(path) as store:
        record, problems = store.runs.get(run_id), store.check()
        result = {name: _lasting(value) for name, value in dict(record.result or {}).items() if name != "expected"}
        return {
            "status": record.status,
            "result": result,
            "candidates": store.runs.candidates(run_id),
            "scores": [store.runs.evaluations(run_id, kind) for kind in ("metric", "likelihood token")],
            "discards": store.runs.discards(run_id),
            "events": [(event.kind, event.text) for event in store.runs.events(run_id)],
            "problems of the store": problems,
        }


def _lasting(value: Any) -> Any:
    """Return a spend without what is different each time, anything else as it is."""
    if isinstance(value, dict) and "answers_cached" in value:
        return {name: value[name] for name in ("tokens_requested", "calls", "answers")}
    return value


def whole(search: Search, folder: Path) -> Whole:
    """Run a search undisturbed."""
    place = Place(folder, search)
    with place.sitting("") as process:
        place.has_opened(process)
        began = time.perf_counter()
        process.wait(LIMIT)
        seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{search.name} fails by itself: {place.output.read_text(errors='replace')[-2000:]}")
    with Store(place.store) as store:
        run_id = store.runs.all()[0].id
    calls = place.calls()
    asked = committed(place, place.answers(), ended=True)
    log_bytes = place.logs[-1].stat().st_size + place.output.stat().st_size
    return Whole(run_id, found(place.store, run_id), asked, len(calls), seconds, log_bytes, place.store.stat().st_size)


def differences(place: Place, reference: Whole, kept: Counter[str]) -> list[str]:
    """Return in what a run that was disturbed differs from the one that was not.

    Args:
        place: where it ended.
        reference: the undisturbed run.
        kept: requests whose answers were committed, over all sittings; each may be there as often as in `reference`.
    """
    now = found(place.store, reference.run_id)
    problems = [f"other {name}" for name, value in reference.found.items() if now[name] != value]
    if twice := sum((kept - reference.asked).values()):
        problems.append(f"{twice} answers were computed though they were known")
    if missing := sum((reference.asked - kept).values()):
        problems.append(f"{missing} answers came from nowhere")
    return problems


def committed(place: Place, n_answers: int, *, ended: bool) -> Counter[str]:
    """Return the requests of the last sitting whose answers were committed, `n_answers` in all.

    Calls are committed one by one and whole, so it is all of them or, unless the search has ended, all but the last.

    Raises:
        ValueError: if it is neither.
    """
    calls = place.calls()
    for n in (len(calls),) if ended else (len(calls), len(calls) - 1):
        if n >= 0 and sum(map(len, calls[:n])) == n_answers:
            return Counter(request for call in calls[:n] for request in call)
    raise ValueError(f"{n_answers} answers were committed in calls of {[len(call) for call in calls]}")


def disturb(place: Place, reference: Whole, rng: random.Random, n_kills: int) -> Case:
    """Sit a search out, kill one of its processes in each of the first `n_kills` sittings, and compare."""
    case, kept = Case(place.search.name), Counter[str]()
    ended = False
    while not ended and case.sittings < 20:
        before = place.answers()
        with place.sitting(reference.run_id) as process:
            case.sittings += 1
            if case.parents + case.workers < n_kills and place.has_opened(process):
                _wait(place, process, reference, 1 - before / reference.asked.total(), rng)
                _kill(process, case, rng)
            try:
                ended = process.wait(LIMIT) == 0
            except subprocess.TimeoutExpired:
                case.failures.append("hangs")
                return case
        if not ended and process.returncode != -signal.SIGKILL and not _ended_in_a_sentence(place):
            case.failures.append(f"ended with {process.returncode}: {place.output.read_text(errors='replace')[-500:]}")
            return case
        try:
            mine = committed(place, place.answers() - before, ended=ended)
        except ValueError as error:
            case.failures.append(str(error))
            return case
        case.recomputed += sum(map(len, place.calls())) - mine.total()
        kept += mine
    case.failures += differences(place, reference, kept) if ended else ["never ends"]
    return case


def _wait(place: Place, process: subprocess.Popen[bytes], reference: Whole, left: float, rng: random.Random) -> None:
    """Wait for a random moment of a sitting that has the share `left` of the search before it.

    Half of the moments are told by the clock, over all of the sitting. Half are told by the calls, since seconds change
    with what else the machine does: somewhere within a random one of the calls that are left.
    """
    seconds = reference.seconds * left
    if rng.getrandbits(1):
        n_calls = rng.randrange(max(1, round(reference.n_calls * left)))
        while process.poll() is None and len(place.calls()) <= n_calls:
            time.sleep(0.002)
        seconds = reference.seconds / reference.n_calls
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0, seconds))


def _kill(process: subprocess.Popen[bytes], case: Case, rng: random.Random) -> None:
    """Kill the search or, if it has one and the coin says so, its engine; count what was killed."""
    if process.poll() is not None:
        return  # it was faster
    workers = psutil.Process(process.pid).children()  # a process that has ended meanwhile is a zombie, and has none
    if workers and rng.getrandbits(1):
        workers[0].kill()
        case.workers += 1
        return
    process.kill()
    if process.wait() == -signal.SIGKILL:
        case.parents += 1
    _, alive = psutil.wait_procs(workers, timeout=30)
    case.failures += [f"the engine {worker.pid} outlives its parent" for worker in alive]


def _ended_in_a_sentence(place: Place) -> bool:
    """Return whether the last sitting said what is wrong instead of breaking down."""
    text = place.output.read_text(errors="replace")
    return "Error: " in text and "Traceback" not in text


def kill(n_scripted: int, n_real: int, model: str, rng: random.Random) -> list[Row]:
    """Return a row for the scripted and one for the real model."""
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        scripted, real = searches(folder / "tasks", model)
        rows = []
        for kind, n, among in (("scripted model", n_scripted, scripted), (model, n_real, real)):
            if n:
                rows.append(_row(kind, *_kill_all(folder / kind, n, among, rng)))
        return rows


def _kill_all(folder: Path, n: int, among: Sequence[Search], rng: random.Random) -> tuple[list[Case], dict[str, Whole]]:
    wholes: dict[str, Whole] = {}
    cases: list[Case] = []
    while (left := n - sum(case.parents + case.workers for case in cases)) > 0 and len(cases) < 20 * n:
        search = among[len(cases) % len(among)]
        if search.name not in wholes:
            wholes[search.name] = whole(search, made(folder / f"whole-{len(wholes)}"))
        place = Place(made(folder / f"{len(cases)}"), search)
        cases.append(disturb(place, wholes[search.name], rng, min(left, rng.randint(1, MOST_A_RUN))))
        print(f"killed {n - left} of {n} ({search.name})", file=sys.stderr, flush=True)
    return cases, wholes


def made(folder: Path) -> Path:
    """Return a folder that is there now."""
    folder.mkdir(parents=True)
    return folder


def _row(kind: str, cases: Sequence[Case], wholes: dict[str, Whole]) -> Row:
    parents, workers = sum(case.parents for case in cases), sum(case.workers for case in cases)
    failures = [f"{case.search}: {failure}" for case in cases for failure in case.failures]
    bad = sum(bool(case.failures) for case in cases)
    seconds = statistics.median(each.seconds for each in wholes.values())
    return Row(
        f"SIGKILL at random moments, {kind}",
        f"{parents + workers} kills ({parents} of the search, {workers} of its engine) in {len(cases)} runs "
        f"of {len(wholes)} searches",
        f"{len(cases) - bad} of {len(cases)} runs end like the undisturbed one (candidates, scores, winner, spend); "
        f"{sum(case.recomputed for case in cases)} answers were lost with a kill",
        "none that was known was computed again, no engine outlived its search",
        failures,
        {
            "parents": parents,
            "workers": workers,
            "runs": len(cases),
            "sittings": sum(case.sittings for case in cases),
            "recomputed": sum(case.recomputed for case in cases),
            "answers_a_run": {name: each.asked.total() for name, each in wholes.items()},
            "median_seconds_of_a_run": seconds,
            "failures": failures,
        },
    )
