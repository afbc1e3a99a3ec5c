"""Whether the installed llama.cpp computes what it should. Level 2.

Beside the layout of its structs, which is compared each time a model is loaded, its numbers are: a tiny model with
random F32 weights scores one sentence, and the result is held to what the formulas of the architecture give. A build
with other fields at the same places, or for another processor, would otherwise be taken for a bad model.
"""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path

import platformdirs

from localprompt.engine.cachefile import write_atomic
from localprompt.engine.process import EngineProcess
from localprompt.engine.settings import EngineSettings
from localprompt.engine.tuning import machine
from localprompt.errors import ModelError

SELFTEST = Path(__file__).with_name("selftest.gguf")
"""Written by `scripts/write_selftest.py`, which computes the number below without llama.cpp."""
SENTENCE = b"Two and two are four."
"""Each byte is a token, with BOS before them."""
EXPECTED = -152.393220
"""Log-probability of the sentence, in nats."""
TOLERANCE = 1e-3
"""In F32 throughout; seen: below 1e-5."""


def check_build() -> None:
    """Try once for each build and processor whether the tiny model has its score; then it is remembered.

    Raises:
        ModelError: if it has another one, or none.
    """
    known = ""
    name = " ".join(machine()) + "\n"
    memory = Path(platformdirs.user_cache_dir("localprompt")) / "builds.txt"
    with suppress(OSError, ValueError):  # it only saves work
        known = memory.read_text()
    if name in known.splitlines(keepends=True):
        return
    found = score()
    if not abs(found - EXPECTED) < TOLERANCE:
        raise ModelError(
            f"this llama.cpp gives a model of known numbers {found:.6f} nats where {EXPECTED:.6f} are right",
            "install llama-cpp-python again, built for this processor",
        )
    write_atomic(memory, known + name)


def score() -> float:
    """Return the log-probability of the sentence, in nats."""
    settings = EngineSettings(
        n_ctx=64, n_ubatch=64, n_seq_max=4, lanes=2, n_threads=1, flash_attn=False, kv_type="f32", n_gpu_layers=0
    )
    with closing(EngineProcess(SELFTEST, settings)) as engine:
        ((found, *_),) = engine.call("score", requests=[[[1, *(3 + byte for byte in SENTENCE)], 1]])
    return float(found)
