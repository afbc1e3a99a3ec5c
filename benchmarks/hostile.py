"""Hostile files and texts, made from honest ones; and what the header validator does with 20,000 of the files.

    python benchmarks/hostile.py MODEL.gguf... [--mutants 5000] [--load 0] [--seed 0]

Each mutant is the header of a model with one to three damages, in a sparse file of the model's size: flipped bits,
absurd lengths and counts, wrong types, doubled and swapped records, cut ends. The validator has to answer each with a
header or a `ModelError` of one line, within seconds and 200 MB. With `--load`, that many of the accepted mutants are
really loaded (meant for small models): their worker may die, this process may not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import resource
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from localprompt.engine.gguf_reader import read_header
from localprompt.engine.gguf_validator import validate
from localprompt.engine.process import EngineProcess
from localprompt.engine.settings import EngineSettings
from localprompt.errors import ModelError, WorkerDied

NUMBERS = (0, 1, 2, 3, 7, 8, 31, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, (1 << 64) - 1)
_NAME = re.compile(rb"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)+")


def mutants(header: bytes, rng: random.Random) -> Iterator[bytes]:
    """Yield damaged copies of a GGUF header for ever; one that is shorter than `header` is a file cut off there."""
    places = _places(header)
    damages: list[Callable[[bytearray, int, random.Random], None]] = [
        _flip, _flip, _number, _number, _noise, _drop, _double, _swap, _kind,
    ]  # fmt: skip
    while True:
        mutant = bytearray(header)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            draw = rng.random()
            near = rng.choice(places) + rng.randrange(-8, 48) if draw < 0.7 else rng.randrange(len(header))
            at = rng.randrange(24) if draw > 0.97 else min(max(near, 0), len(header) - 1)
            rng.choice(damages)(mutant, at, rng)
        if rng.random() < 0.05:
            del mutant[rng.randrange(len(mutant)) :]
        yield bytes(mutant)


def _places(header: bytes) -> list[int]:
    """Where the names of keys and tensors begin: a dotted word after its own length."""
    found = [m.start() for m in _NAME.finditer(header) if header[m.start() - 8 : m.start()] == _u64(len(m[0]))]
    return found or [0]


def _u64(number: int) -> bytes:
    return struct.pack("<Q", number)


def _flip(mutant: bytearray, at: int, rng: random.Random) -> None:
    mutant[at] ^= 1 << rng.randrange(8)


def _number(mutant: bytearray, at: int, rng: random.Random) -> None:
    size = rng.choice((4, 8))
    mutant[at : at + size] = _u64(rng.choice(NUMBERS))[:size]


def _kind(mutant: bytearray, at: int, rng: random.Random) -> None:
    """Another type for the value of the next key."""
    match = _NAME.search(mutant, at, at + 4096)
    if match:
        mutant[match.end() : match.end() + 4] = struct.pack("<I", rng.randrange(14))


def _noise(mutant: bytearray, at: int, rng: random.Random) -> None:
    n = rng.randrange(1, 24)
    mutant[at : at + n] = rng.randbytes(n)


def _drop(mutant: bytearray, at: int, rng: random.Random) -> None:
    n = rng.randrange(1, 64)
    mutant += bytes(len(mutant[at : at + n]))
    del mutant[at : at + n]


def _double(mutant: bytearray, at: int, rng: random.Random) -> None:
    n = rng.randrange(1, 64)
    mutant[at:at] = mutant[at : at + n]


def _swap(mutant: bytearray, at: int, rng: random.Random) -> None:
    n, other = rng.randrange(1, 32), rng.randrange(len(mutant))
    mutant[at : at + n], mutant[other : other + n] = mutant[other : other + n], mutant[at : at + n]


FRAGMENTS = (
    "", " ", "\n", "\x00", "\ud800", "\udfff\ud800", "\ufeff", "\u2028", "\r\n\t\x0b\x1b[31m\x1b]0;title\x07", "\x9b2J",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|fim_prefix|>", "<s>", "</s>", "<unk>", "[INST]",
    "<start_of_turn>", "<think>", "</think>", "<prompt>", "</prompt>", "[MASK]", "{{instruction}}", "{{input}}",
    "{{ messages }}", "{% for x in y %}", "{# #}", "{0.__class__.__mro__}", "{}", "%s%n%(x)s", "${HOME}",
    "$(touch /tmp/owned)", "`id`", "; rm -rf x", "../../etc/passwd", "C:\\nul", "'; DROP TABLE runs; --",
    "=1+1|' /C calc'!A0", "<script>alert(1)</script>", "\u202egnirts sdrawkcab\u202c", "مرحبا بالعالم", "שלום",
    "你好，世界。", "ไทยไม่มีช่องว่าง", "e\u0301\u0327" + "\u0300" * 40, "👩‍👩‍👧‍👦🏳️‍🌈", "\ue000", "\u2581",
    "ﬁ①Å", "1e999", "-0", "null", "NaN", "\\u0000\\n",
    "Question: what?\nAnswer:", "Input: x\nOutput: y\n\n", "a" * 500, "中" * 300, " " * 300, "\n" * 200, "🦙" * 100,
)  # fmt: skip
LONG = ("a", " ", "\n", "中", "1", "ab ", "<|im_end|>", "{{input}}", "\u0300", "🦙", "\x00", "!?", "\ud800")


def hostile_texts(rng: random.Random) -> Iterator[str]:
    """Yield texts for ever that a careless program interprets, drops or chokes on; 1 in 50 has 100,000 characters."""
    for number in itertools.count():
        if number % 50 == 49:
            piece = rng.choice(LONG)
            yield (piece * (100_000 // len(piece) + 1))[:100_000]
        else:
            yield "".join(rng.choice(FRAGMENTS) for _ in range(rng.randrange(1, 8)))


def write(path: Path, mutant: bytes, header: bytes, file_size: int) -> None:
    """Write a mutant as a sparse file of the model's size, or as short as it was cut."""
    with path.open("wb") as file:
        file.write(mutant)
        if len(mutant) >= len(header):
            file.truncate(max(file_size, len(mutant)))


@dataclass
class Tried:
    """What became of the mutants of one model."""

    model: str
    mutants: int = 0
    refused: int = 0
    accepted: int = 0
    crashes: list[str] = field(default_factory=list)
    """Anything else than a `ModelError` of one line."""
    slowest_s: float = 0.0
    """CPU time of one answer."""
    peak_mb: int = 0
    """Of the whole process, model headers included."""
    loads: dict[str, int] = field(default_factory=dict)
    """What became of the accepted mutants that were really loaded."""


def try_mutants(model: Path, n: int, rng: random.Random, *, n_load: int = 0) -> Tried:
    """Validate `n` mutants of a model's header, and load up to `n_load` of those that are accepted."""
    size, header_size = model.stat().st_size, read_header(model).data_offset
    with model.open("rb") as file:
        header = file.read(header_size)
        weights = file.read() if n_load else b""
    tried = Tried(model.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant.gguf"
        for mutant in itertools.islice(mutants(header, rng), n):
            write(path, mutant, header, size)
            accepted = _validate(path, tried)
            if accepted and sum(tried.loads.values()) < n_load and len(mutant) == len(header) and mutant != header:
                path.write_bytes(mutant + weights)
                end = load(path)
                tried.loads[end] = tried.loads.get(end, 0) + 1
    tried.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return tried


def _validate(path: Path, tried: Tried) -> bool:
    tried.mutants += 1
    began = time.process_time()
    try:
        validate(path)
    except ModelError as error:
        tried.refused += 1
        if "\n" in error.message:
            tried.crashes.append(f"several lines: {error.message[:200]!r}")
        return False
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        kept = Path(tempfile.gettempdir()) / f"crash-{tried.model}-{tried.mutants}.gguf"
        path.replace(kept)
        tried.crashes.append(f"{type(error).__name__}: {error} ({kept})")
        return False
    finally:
        tried.slowest_s = max(tried.slowest_s, time.process_time() - began)
    tried.accepted += 1
    return True


def load(path: Path) -> str:
    """Load a file and score with it; return what became of it, in one word or two."""
    settings = EngineSettings(n_ctx=256, n_ubatch=64, n_seq_max=8, lanes=4, n_threads=1)
    try:
        engine = EngineProcess(path, settings)
    except ModelError as error:
        return "died while loading" if "died while" in error.message else "refused by llama.cpp"
    try:
        (tokens,) = engine.map("encode", [["the answer <|im_end|> is\u00e9", None]])
        engine.map("score", [[tokens or [0, 0], 1]])
    except WorkerDied:
        return "died at work"
    except ModelError:
        return "failed at work"
    finally:
        engine.close()
    return "works"


def main() -> None:
    """Print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--mutants", type=int, default=5000)
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for model in options.models:
        tried = try_mutants(model, options.mutants, random.Random(options.seed), n_load=options.load)
        print(json.dumps(asdict(tried)), flush=True)


if __name__ == "__main__":
    main()
