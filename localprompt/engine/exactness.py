"""Whether scores of a model are equal bit for bit whatever is computed with them. Level 2, runs in the worker.

llama.cpp chooses its kernels by the number of rows and of rows with logits, and some of them round otherwise. In exact
mode no batch crosses the numbers at which it changes its mind on x86 (see `EngineSettings.exact`); whether that is
enough on this machine, for this model, is tried here and not assumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from localprompt.engine.completions import GenerateRequest
from localprompt.engine.engine import Engine, ScoreRequest
from localprompt.types import Sampling

_LONG, _SHORT, _SCORED = 180, 24, 6


def find_difference(engine: Engine, n_vocab: int, longest: int) -> str:
    """Return why the scores of a text are not always equal, or "" if they are in all company that is tried.

    Args:
        engine: in exact mode.
        n_vocab: tokens of the vocabulary, of which texts are drawn at random.
        longest: most tokens of a text.
    """
    if engine.copies_whole:
        return "the states of recurrent layers are computed for several texts at once"
    rng = np.random.Generator(np.random.PCG64(0))

    def text(n: int) -> tuple[int, ...]:
        return tuple(rng.integers(0, n_vocab, n).tolist())

    long, short = text(min(_LONG, longest - _SCORED)), text(_SHORT)
    tails = [text(_SCORED) for _ in range(3)]
    probes = [ScoreRequest(stem + tail, len(stem)) for stem in (long, short) for tail in tails]
    others = [ScoreRequest(text(n), n // 2) for n in (5, 9, 17, 33, 47, 61)]
    beside = [ScoreRequest(stem[: len(stem) // 2] + text(7), len(stem) // 2) for stem in (long, short)]
    alone = [engine.score([probe])[0].logprob for probe in probes]
    companies = {
        "with texts that begin alike": probes,
        "among other texts": [*others[:3], *probes, *others[3:]],
        "where it branches off the middle of another": [*beside, *probes],
        "in another order": [*probes[::-1], *others],
    }
    for where, requests in companies.items():
        if _scores(engine, requests, probes) != alone:
            return f"a text has another score {where} than alone"
    engine.generate([GenerateRequest(short, Sampling(max_tokens=2), 0)])
    return "" if _scores(engine, probes, probes) == alone else "a text has another score after something was generated"


def _scores(engine: Engine, requests: Sequence[ScoreRequest], probes: Sequence[ScoreRequest]) -> list[float]:
    found = dict(zip(requests, engine.score(requests), strict=True))
    return [found[probe].logprob for probe in probes]
