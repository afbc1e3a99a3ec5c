"""A store that several processes fill at once, that meets a full disk, or that cannot be written.

Run as a process of its own it is one of the writers, the one without room or the one without rights:

    python benchmarks/ordeals/stores.py write STORE WHO N | fill FOLDER N SEED | touch FOLDER
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgpack

from localprompt.errors import StoreError
from localprompt.store import Store
from ordeals.kills import LIMIT, Case, Place, Whole, committed, differences, made, whole
from ordeals.report import Row
from ordeals.searches import searches

CHUNK = 256
"""Answers of one commit, as `CachedLM` has it."""
SHARED = 4
"""One key in so many is one that all writers write."""
NOBODY = 65534
TMPFS = 4 << 20
"""Bytes of the file system that is filled."""


def key(who: int, number: int) -> bytes:
    """Return the key of a writer's answer; some belong to all writers."""
    return hashlib.sha256(f"{'all' if number % SHARED == 0 else who}:{number}".encode()).digest()


def value(who: int, number: int) -> bytes:
    """Return the answer that a writer has for a key."""
    packed: bytes = msgpack.packb([-1.5, who, False, number])
    return packed


# Writers


def write(path: Path, who: int, n: int) -> None:
    """Put `n` answers, and print a hash of what the store then says the shared ones are."""
    agreed = hashlib.sha256()
    with Store(path) as store:
        run = store.runs.create({"identity": who}, task="t", model="m", proposer="p", method="ape", seed=0)
        for start in range(0, n, CHUNK):
            numbers = range(start, min(start + CHUNK, n))
            keys = [key(who, number) for number in numbers]
            known = store.answers.get(keys, run.id)
            rows = [(k, "score", value(who, i)) for k, i, v in zip(keys, numbers, known, strict=True) if v is None]
            store.answers.put(rows, run.id)
            after = store.answers.get(keys, run.id)
            for number, before, now in zip(numbers, known, after, strict=True):
                if now is None or (before is not None and before != now):
                    raise AssertionError(f"answer {number} of writer {who} was lost or changed")
                agreed.update(now if number % SHARED == 0 else b"")
    print(agreed.hexdigest())


def concurrent(n_writers: int, n_answers: int) -> Row:
    """Return the row about processes that write into one store at once."""
    with tempfile.TemporaryDirectory(prefix="writers-") as name:
        path = Path(name) / "store.sqlite"
        began = time.perf_counter()
        writers = [
            subprocess.Popen(
                [sys.executable, __file__, "write", str(path), str(who), str(n_answers)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
            )
            for who in range(n_writers)
        ]
        outputs = [writer.communicate() for writer in writers]
        seconds = time.perf_counter() - began
        failures = [error.decode()[-300:] for _, error in outputs if error]
        if len({output for output, _ in outputs}) > 1:
            failures.append("the writers do not agree on the answers that all of them wrote")
        expected = {key(who, number): number for who in range(n_writers) for number in range(n_answers)}
        with Store(path) as store:
            found = store.answers.get(list(expected))
            failures += store.check()
        lost = sum(each is None for each in found)
        changed = sum(
            each is not None and msgpack.unpackb(each)[3] != number
            for each, number in zip(found, expected.values(), strict=True)
        )
        kept = _count(path, "SELECT count(*) FROM answers")
        uses = _count(path, "SELECT count(*) FROM run_answers")
    if (lost, changed, kept, uses) != (0, 0, len(expected), n_writers * n_answers):
        failures.append(f"{lost} answers lost, {changed} changed, {kept} kept and {uses} uses of {len(expected)}")
    return Row(
        "writers side by side",
        f"{n_writers} processes, {n_answers:,} answers each, one in {SHARED} of them the same for all",
        f"{kept:,} of {len(expected):,} different answers kept, {lost} lost, "
        f"{kept - len(expected)} too many; {seconds:.1f} s",
        "all writers read the same",
        failures,
        {"seconds": seconds, "kept": kept, "expected": len(expected), "lost": lost, "uses": uses},
    )


def _count(path: Path, query: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(query).fetchone()[0])


# No room


@dataclass
class Tries:
    """What came out of a number of tries."""

    n: int = 0
    errors: int = 0
    """Tries that ended in a StoreError of one sentence."""
    failures: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """The different sentences, without the path."""

    def hear(self, error: StoreError, path: Path) -> None:
        """Count an error."""
        self.errors += 1
        sentence = error.message.replace(str(path), "PATH")
        if "\n" in sentence:
            self.failures.append(f"several lines: {sentence!r}")
        if sentence not in self.said:
            self.said.append(sentence)


def fill(folder: Path, n: int, seed: int) -> Tries:
    """Fill a small file system `n` times from a random amount of free space, and look at the store afterwards."""
    rng, tries = random.Random(seed), Tries()
    for number in range(n):
        path, ballast = folder / f"{number}" / "store.sqlite", folder / "ballast"
        tries.n += 1
        before = [(rng.randbytes(32), "score", value(1, i)) for i in range(500)]
        after = [(rng.randbytes(32), "score", value(2, i)) for i in range(30_000)]
        with Store(path) as store:
            store.answers.put(before)
        _occupy(ballast, folder, rng.randrange(1 << 10, 1 << 20))
        done = 0
        try:
            with Store(path) as store:
                for done in range(0, len(after), CHUNK):
                    store.answers.put(after[done : done + CHUNK])
        except StoreError as error:
            tries.hear(error, path)
        ballast.unlink()
        with Store(path) as store:
            whole_ones = store.answers.get([row[0] for row in [*before, *after[:done]]])
            partial = [each for each in store.answers.get([row[0] for row in after[done : done + CHUNK]]) if each]
            problems = store.check()
            store.answers.put(after[done : done + CHUNK])
        if whole_ones != [row[2] for row in [*before, *after[:done]]] or partial or problems:
            tries.failures.append(f"try {number}: {problems}, {whole_ones.count(None)} lost, {len(partial)} half kept")
        shutil.rmtree(path.parent)
    return tries


def _occupy(ballast: Path, folder: Path, left: int) -> None:
    free = shutil.disk_usage(folder).free
    with ballast.open("wb") as file:
        file.write(bytes(max(0, free - left)))


def no_room(n: int, rng: random.Random) -> Row:
    """Return the row about disks that fill up: under a whole search, by a limit, and in truth where that can be had."""
    with tempfile.TemporaryDirectory(prefix="full-") as name:
        folder = Path(name)
        cases = _limited(folder, n, rng)
        (folder / "mount").mkdir()
        tries = _mounted(folder / "mount", n, rng)
    failures = [f"{case.search}: {failure}" for case in cases for failure in case.failures]
    stopped = sum(case.sittings > 1 for case in cases)
    tried = f"{len(cases)} searches whose files may not grow beyond a random size"
    result = f"{stopped} searches ended for lack of room"
    claim = "each with one sentence; resumed with room they end like the undisturbed one"
    if tries is None:
        tried += "; a file system that is full: not tried, which needs the right to mount one"
    else:
        failures += tries.failures
        tried += f"; {tries.n} fillings of a file system of {TMPFS >> 20} MB"
        result += f", {tries.errors} fillings did"
        claim += "; every answer of before is kept, and none by half"
        if tries.errors < tries.n:
            failures.append("a file system took more than it has room for")
    return Row("no room", tried, result, claim, failures, {"searches": len(cases), "said": tries.said if tries else []})


def _limited(folder: Path, n: int, rng: random.Random) -> list[Case]:
    scripted, _ = searches(folder / "tasks", "")
    search = scripted[0]
    reference = whole(search, made(folder / "whole"))
    least = reference.log_bytes + (8 << 10)  # what the driver writes itself must find room
    most = max(reference.store_bytes, least + 1)
    return [
        _without_room(Place(made(folder / f"{number}"), search), reference, rng.randrange(least, most))
        for number in range(n)
    ]


def _without_room(place: Place, reference: Whole, max_bytes: int) -> Case:
    """Sit a search out, first with little room, then with enough."""
    case, kept = Case(place.search.name), Counter[str]()
    for allowed in (max_bytes, 0):
        before = place.answers()
        with place.sitting(reference.run_id, allowed) as process:
            case.sittings += 1
            ended = process.wait(LIMIT) == 0
        kept += committed(place, place.answers() - before, ended=ended)
        if ended:
            case.failures += differences(place, reference, kept)
            return case
        said = place.output.read_text(errors="replace")
        if said.count("Error: the store") != 1 or "Traceback" in said:
            case.failures.append(f"no sentence at {allowed} bytes: {said[-600:]!r}")
    return replace(case, failures=[*case.failures, "does not end"])


def _mounted(folder: Path, n: int, rng: random.Random) -> Tries | None:
    """Fill a small file system that only the process which does it can see; None where this user may not."""
    mount = f'mount -t tmpfs -o size={TMPFS} tmpfs "$0" && exec "$@"'
    me = [sys.executable, __file__, "fill", str(folder), str(n), str(rng.randrange(1 << 30))]
    try:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", mount, str(folder), *me],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
    except FileNotFoundError:
        return None
    if done.returncode and "Traceback" not in done.stderr:
        return None
    return Tries(**json.loads(done.stdout)) if done.stdout else Tries(failures=[done.stderr[-500:]])


# No rights


def touch(folder: Path) -> Tries:
    """Use stores that cannot be used, as a user who may not write them; then look at what they hold as one who may."""
    tries = Tries()
    stores = {name: folder / name / "store.sqlite" for name in ("folder", "file")}
    for path in stores.values():
        with Store(path) as store:
            store.answers.put([(key(1, i), "score", value(1, i)) for i in range(500)])
        path.parent.chmod(0o555 if path.parent.name == "folder" else 0o777)
    stores["folder"].chmod(0o444)
    stores["file"].chmod(0o444)
    (folder / "text").write_text("this is no database. " * 500)
    (folder / "cut").write_bytes(stores["file"].read_bytes()[:5000])
    contents = {path: path.read_bytes() for path in (*stores.values(), folder / "text", folder / "cut")}
    (folder / "locked").mkdir(mode=0o555)
    targets = [*stores.values(), folder / "folder" / "new", folder / "locked" / "new" / "store", folder / "file"]
    targets += [folder / "text", folder / "cut", folder / "text" / "store"]
    with _as_nobody():
        for path in targets:
            tries.n += 1
            try:
                with Store(path) as store:
                    store.answers.put([(b"new", "score", value(0, 0))])
                tries.failures.append(f"{path} was written")
            except StoreError as error:
                tries.hear(error, path)
    for path, content in contents.items():
        if path.read_bytes() != content:
            tries.failures.append(f"{path} was changed")
    for path in stores.values():
        path.parent.chmod(0o755)
        path.chmod(0o644)
        with Store(path) as store:
            kept = store.answers.get([key(1, i) for i in range(500)])
            if kept != [value(1, i) for i in range(500)] or store.check():
                tries.failures.append(f"{path} lost something")
    return tries


@contextlib.contextmanager
def _as_nobody() -> Any:
    """File permissions do not bind root."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def no_rights() -> Row:
    """Return the row about stores that cannot be written, or are none."""
    folder = Path(tempfile.mkdtemp(prefix="rights-"))
    folder.chmod(0o777)
    done = subprocess.run(
        [sys.executable, __file__, "touch", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    tries = Tries(**json.loads(done.stdout)) if done.stdout else Tries(failures=[done.stderr[-500:]])
    for each in (folder, *folder.rglob("*")):
        each.chmod(0o755)
    shutil.rmtree(folder)
    return Row(
        "read-only, not a store, damaged",
        f"{tries.n} stores that cannot be written or read",
        f"{tries.errors} errors of one sentence",
        "all files unchanged, everything still there once the rights are back",
        tries.failures,
        {"said": tries.said},
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def _main(what: str, path: str, *numbers: str) -> None:
    if what == "write":
        write(Path(path), *map(int, numbers))
        return
    tries = fill(Path(path), *map(int, numbers)) if what == "fill" else touch(Path(path))
    print(json.dumps({name: getattr(tries, name) for name in ("n", "errors", "failures", "said")}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
