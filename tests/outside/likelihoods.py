"""Nats of pairs of context and continuation with one model, JSON in and out: the model is named by OUTSIDE_MODEL."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import localprompt


def main() -> None:
    with localprompt.load_model(os.environ["OUTSIDE_MODEL"], tune=False, n_ctx=2048, n_threads=1) as lm:
        found = lm.loglikelihood([(context, continuation) for context, continuation in json.load(sys.stdin)])
    print(json.dumps([each.logprob for each in found]))


if __name__ == "__main__":
    main()
