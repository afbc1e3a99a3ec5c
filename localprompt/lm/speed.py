"""How fast a local model is here: plainly, as llama-bench measures it, and as this project asks it. Level 3.

    pp512        512 arbitrary tokens of one sequence, logits for the last, an empty cache
    tg128        128 arbitrary tokens of one sequence, one a decode, logits for each, an empty cache
    scoring      two labels after each of many messages under a few instructions: distinct token prefixes per second
    generation   as many completions at once as the engine has lanes: tokens drawn per second

Source: `llama-bench` (llama.cpp, tools/llama-bench) for the first two: a warm-up of each, then repetitions, whose mean
and sample standard deviation are stated. Differs: the repetitions of all four take turns, so that their ratios hold
where a machine is busy now and then; settings and context are those that a search has.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from localprompt.engine import memory, placement
from localprompt.engine.device_list import visible
from localprompt.engine.settings import EngineSettings
from localprompt.engine.tuning import Trial
from localprompt.lm.base import LanguageModel
from localprompt.lm.local import LocalModel, load_model
from localprompt.types import Sampling

N_PROMPT, N_GENERATED = 512, 128
_N_MESSAGES = 16
_DRAWN = 16
"""Tokens of each completion."""

_INSTRUCTIONS = (
    "Say whether the review is positive or negative.",
    "Read what a guest wrote about a stay and decide whether the guest liked it: positive or negative.",
    "Classify the sentiment.",
    "Would the writer of this text come back? Answer positive for yes and negative for no.",
)
_OPENINGS = ("The room was", "Our waiter was", "I found the film", "The delivery was", "Frankly, the whole trip was")
_VERDICTS = (
    "spotless and quiet",
    "late, cold and rude",
    "far better than I had hoped",
    "a waste of an evening",
    "fine",
)
_ENDINGS = (
    "and I have told all my friends so.",
    "although the price had promised something else entirely.",
    "which surprised nobody who had been there before.",
    "so we left after an hour and did not look back.",
)


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens per second, by repetition."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Their sample standard deviation; 0 for one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def over(self, other: Rate) -> float:
        """Return the median of the ratios, repetition by repetition."""
        return statistics.median(a / b for a, b in zip(self.values, other.values, strict=True))


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured of one model."""

    prompt: Rate
    """pp512."""
    single: Rate
    """tg128."""
    scoring: Rate
    generation: Rate
    load: float | None
    """Processes that wanted the machine in the minute before, on average; None where the system does not say."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory of a loaded model: what one engine needs by the header, and what all of them occupy."""

    host: memory.MemoryNeed
    """Of the machine's memory."""
    gpus: memory.MemoryNeed | None
    """Of the GPUs' memory; None where no layer is there."""
    shares_ram: bool
    """What the GPUs have is the machine's, and a part of `host`."""
    held: Mapping[str, int]
    """Bytes of weights on each GPU by what llama.cpp said; empty where there are none."""
    occupied: memory.Occupied | None
    """Of the machine's memory; None where the system does not say."""

    @classmethod
    def of(cls, lm: LocalModel) -> Footprint:
        """Return that of a model as it is now."""
        header, settings = lm.engine.header, lm.engine.settings
        found = lm.on_gpus
        gpus = placement.used(settings, visible()) if found else ()
        return cls(
            placement.on_host(header, settings, visible() if found else ()),
            placement.on_gpus(header, settings, placement.n_layers(header, settings)) if found else None,
            any(gpu.shares_ram for gpu in gpus),
            {name: round(size * 2**20) for name, size in found["mebibytes"].items()} if found else {},
            memory.occupied([engine.pid for engine in lm.engine.members]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        now = self.occupied
        away = None if self.gpus is None else {**asdict(self.gpus), "total": self.gpus.total, "held": dict(self.held)}
        return {
            **asdict(self.host),
            "total": self.host.total,
            "gpus": away,
            "own": now and now.own,
            "mapped": now and now.mapped,
            "peak": now and now.peak,
        }


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A model's speed and memory on this machine, with the settings that a search would have."""

    model: str
    path: str
    settings: EngineSettings
    trials: tuple[Trial, ...]
    """What the open choices gave when they were measured: those that were taken, and the others."""
    speed: Speed
    memory: Footprint
    """When all had been measured."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        speed = self.speed
        rates = {
            "pp512": (speed.prompt, None),
            "tg128": (speed.single, None),
            "scoring": (speed.scoring, speed.prompt),
            "generation": (speed.generation, speed.single),
        }
        return {
            "model": self.model,
            "path": self.path,
            "engine": asdict(self.settings),
            "trials": [asdict(trial) for trial in self.trials],
            "rates": [
                {
                    "name": name,
                    "mean": rate.mean,
                    "deviation": rate.deviation,
                    "n": len(rate.values),
                    "ratio": None if plain is None else rate.over(plain),
                }
                for name, (rate, plain) in rates.items()
            ],
            "load": speed.load,
            "memory": self.memory.to_json(),
        }


def benchmark(
    name_or_path: str,
    engine: Mapping[str, Any],
    repetitions: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Benchmark:
    """Return how fast a model is here and what it occupies, with settings as a search would have them.

    Args:
        name_or_path: a card, pulled if it is missing, or a file.
        engine: settings that are given, by name.
        repetitions: of each measurement, at least 1.
        progress: called with (measurements done, in all).

    Raises:
        ConfigError: for an unknown setting or model name, with the nearest known one.
        ModelError: if the file is missing, malformed or cannot be loaded.
    """
    with load_model(name_or_path, **engine) as lm:
        speed = measured_speed(lm, repetitions, progress)
        return Benchmark(lm.name, str(lm.path), lm.settings, lm.trials, speed, Footprint.of(lm))


def measured_speed(
    lm: LocalModel, repetitions: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> Speed:
    """Return the four rates of a loaded model, each measured so many times, by turns, after a warm-up of each."""
    pairs = requests()
    measurements: Sequence[Callable[[], float]] = (
        lambda: lm.prefill_rate(N_PROMPT),
        lambda: lm.generation_rate(N_GENERATED),
        lambda: scoring_rate(lm, pairs),
        lambda: drawing_rate(lm, lm.settings.lanes, _DRAWN),
    )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    lm.prefill_rate(N_PROMPT)
    lm.generation_rate(1)
    scoring_rate(lm, pairs[:2])
    drawing_rate(lm, 2, 2)
    values: list[list[float]] = [[] for _ in measurements]
    for turn in range(repetitions):
        for number, measurement in enumerate(measurements):
            values[number].append(measurement())
            progress(turn * len(measurements) + number + 1, repetitions * len(measurements))
    prompt, single, scoring, generation = (Rate(tuple(each)) for each in values)
    return Speed(prompt, single, scoring, generation, load)


def requests(n_messages: int = _N_MESSAGES, seed: int = 0) -> list[tuple[str, str]]:
    """Return (context, continuation) pairs as a search has them: every instruction, every message, two labels."""
    rng = random.Random(seed)
    reviews = [
        f"{rng.choice(_OPENINGS)} {rng.choice(_VERDICTS)}, {rng.choice(_ENDINGS)} Visit number {rng.randrange(1000)}."
        for _ in range(n_messages)
    ]
    return [
        (f"{instruction}\n\nReview: {review}\nSentiment:", f" {label}")
        for instruction in _INSTRUCTIONS
        for review in reviews
        for label in ("positive", "negative")
    ]


def scoring_rate(lm: LocalModel, pairs: Sequence[tuple[str, str]]) -> float:
    """Return distinct token prefixes per second of scoring, the time of tokenising and of the pipe included."""
    before, began = lm.stats.tokens_decoded, time.perf_counter()
    lm.loglikelihood(pairs)
    return (lm.stats.tokens_decoded - before) / (time.perf_counter() - began)


def drawing_rate(lm: LanguageModel, n_lanes: int, n_each: int) -> float:
    """Return tokens per second of drawing `n_each` tokens for each of `n_lanes` completions, all at once."""
    prompts = ["Once upon a time"] * n_lanes  # the same, so it is read once: reading has a rate of its own
    began = time.perf_counter()
    drawn = lm.generate(prompts, Sampling(max_tokens=n_each, temperature=1.0), list(range(n_lanes)))
    seconds = time.perf_counter() - began
    # The token that ends a completion is drawn like the others, so a model that says nothing has a rate too. The first
    # of each comes with the prompt; of few tokens it would be a large part.
    n_drawn = sum(each.n_tokens + (each.finish_reason == "stop") for each in drawn)
    return (n_drawn - n_lanes or n_drawn) / seconds
