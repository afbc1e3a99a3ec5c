"""How many prompts a second does localprompt score, against other ways to get label probabilities from the same GGUF?

    python benchmarks/peers.py [--model qwen2.5-coder-0.5b-instruct] [--labels words] [--reviews 48] [--repeats 3]

The work: 4 instructions x 48 short reviews = 192 prompts; for each, how probable are the labels? With `--labels words`
" positive" and " negative", one token each, which suits the others best; with `--labels phrases` " worth watching" and
" a waste of time", as labels of most tasks have several tokens. By

    localprompt    load_model(...).loglikelihood, all requests in one call
    server-8       llama.cpp's server (`pip install xllamacpp`), 8 slots, 8 requests at a time, cached prefixes
    server-1       the same with one slot and one request at a time
    completion     llama-cpp-python's Llama.create_completion(logprobs=N, max_tokens=1)
    echo           the same with echo=True, one call a label: how a text is scored with it; by default with phrases only

- The server computes no log-probabilities of a given text: it gives the N most probable next tokens, as `completion`
  does here (--n-probs; 1,000 cost the server some milliseconds a prompt). So both are asked once for every beginning of
  a label, the prompt cached, and score only what is among the N: "all labels" says how often that was everything.
  "same label" is the share of those prompts where the more probable label is localprompt's; near ties differ by
  rounding. `echo` scores any label, but llama-cpp-python shifts its log-probabilities by one token for models without
  BOS: there its labels mean nothing.
- `completion` and `echo` do a few prompts only (--subset), neighbours of one instruction, whose prefix they reuse;
  their prompts/s is extrapolated from these.
- With `--battery FILE` the prompts and labels are those that `benchmarks/sensitivity.py --battery FILE` wrote: a prompt
  in many wordings on many rows. --reviews then limits the rows: the first so many prompts are asked.
- The words of a label must be one token each, else the server's answers are no words; this is checked first.
- "computed" is the tokens that went through the model for each prompt: what sharing saves, whatever the build. The
  prompts come an instruction at a time, the best order for the others' caches; for localprompt any order is the same.
- The server is another build of llama.cpp: on Linux its wheel leaves out AVX-512, so one built on the machine may be
  faster. The CPU features of each build are printed. localprompt measures which memory layout of the weights is
  fastest; the others have their default.
- Same file, threads, and passive waiting of threads; 4096 KV cells (`completion`, `echo`: 512). A process for each
  measurement, the contenders in turn; loading and a warm-up request are not timed.
- Peak memory is ru_maxrss of the contender's process plus that of its largest child (localprompt's engine is one), so
  an upper bound; it counts the mapped pages of the model file. Not on Windows.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from localprompt.engine.settings import default_threads
from localprompt.lm.local import load_model

INSTRUCTIONS = (
    "Decide whether the review of the film is positive or negative.",
    "Read what a viewer wrote about a film. Answer with one word: positive if they liked it, negative if they did not.",
    "Would the author of this review recommend the film to a friend? Say positive for yes and negative for no.",
    "Classify the sentiment. Mind irony, and judge the film as a whole, not one scene of it.",
)
LABELS: Mapping[str, tuple[str, ...]] = {
    "words": (" positive", " negative"),
    "phrases": (" worth watching", " a waste of time"),
}
"""Choice of `--labels` to the labels. Each word is a token with the space before it."""
CUES = {"words": "Sentiment:", "phrases": "In short, the film is"}
"""The same to what stands before the label."""
Next = Callable[[str], Mapping[str, float]]
"""The most probable next tokens of a text, with their log-probabilities."""
WARM_UP = "Is the weather good or bad?\n\nIt has been raining for days.\nAnswer:"
N_CTX = 4096

SUBJECTS = ("the plot", "the acting", "the music", "the camera work", "the ending", "the dialogue", "the humour")
VERDICTS = (
    ("is a delight", "kept me awake and happy", "is better than I dared to hope", "stays with you for days"),
    ("is a mess", "put me to sleep", "is worse than I feared", "would embarrass a school play"),
)


def workload(n_reviews: int, cue: str) -> list[str]:
    """Return the prompts, an instruction's next to each other; each ends in `cue`."""
    rng = random.Random(0)
    reviews = []
    for _ in range(n_reviews):
        (what, also), (verdict, other) = rng.sample(SUBJECTS, 2), rng.sample(rng.choice(VERDICTS), 2)
        reviews.append(f"In the film that we saw, {what} {verdict}, and {also} {other}.")
    return [f"{instruction}\n\nReview: {review}\n{cue}" for instruction in INSTRUCTIONS for review in reviews]


def work_of(options: argparse.Namespace) -> tuple[list[str], tuple[str, ...]]:
    """Return the prompts and the labels."""
    if options.battery is None:
        return workload(options.reviews, CUES[options.labels]), LABELS[options.labels]
    battery = json.loads(options.battery.read_text(encoding="utf-8"))
    return battery["prompts"][: options.reviews], tuple(battery["labels"])


def words_of(label: str) -> list[str]:
    """Return the words of a label, each with the space before it."""
    return re.findall(" [^ ]+", label)


def stepwise(ask: Next, prompt: str, labels: Sequence[str]) -> list[float | None]:
    """Return the log-probability of each label by asking for the next token of every beginning of it, each once."""
    known: dict[str, Mapping[str, float]] = {}
    scores: list[float | None] = []
    for label in labels:
        logprobs, before = [], ""
        for word in words_of(label):
            if before not in known:
                known[before] = ask(prompt + before)
            logprobs.append(known[before].get(word))
            before += word
        found = [logprob for logprob in logprobs if logprob is not None]
        scores.append(sum(found) if len(found) == len(logprobs) else None)
    return scores


# Contenders. Each returns the scores of the prompts (a log-probability for each label, None where it gives none), the
# tokens computed for them, the seconds it took, and what its llama.cpp was built for if it is not llama-cpp-python's.


@dataclass(frozen=True, slots=True)
class Work:
    """What every contender is given."""

    model: str
    prompts: Sequence[str]
    labels: tuple[str, ...]
    threads: int
    n_probs: int


def with_localprompt(work: Work) -> dict[str, Any]:
    """All (prompt, label) requests in one call."""
    with load_model(work.model, n_threads=work.threads, n_ctx=N_CTX) as lm:
        lm.loglikelihood([(WARM_UP, label) for label in work.labels])
        before, began = lm.stats.tokens_decoded, time.perf_counter()
        answers = lm.loglikelihood([(prompt, label) for prompt in work.prompts for label in work.labels])
        seconds = time.perf_counter() - began
        computed = lm.stats.tokens_decoded - before
    scores = list(zip(*[(answer.logprob for answer in answers)] * len(work.labels), strict=True))
    return {"scores": scores, "computed": computed, "seconds": seconds}


def with_server(work: Work, *, slots: int) -> dict[str, Any]:
    """As many prompts at a time as the server has slots."""
    import xllamacpp  # noqa: PLC0415

    params = xllamacpp.CommonParams()
    params.model.path = work.model
    params.n_ctx, params.n_parallel, params.kv_unified = N_CTX, slots, True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = work.threads
    params.port, params.verbosity = 0, -1
    server = xllamacpp.Server(params)
    computed = []

    def ask(prompt: str) -> Mapping[str, float]:
        body = {"prompt": prompt, "n_predict": 1, "n_probs": work.n_probs, "temperature": 0, "cache_prompt": True}
        url, headers = f"{server.listening_address}/completion", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as response:
            answer = json.load(response)
        computed.append(answer["timings"]["prompt_n"])
        return {each["token"]: each["logprob"] for each in answer["completion_probabilities"][0]["top_logprobs"]}

    ask(WARM_UP)
    computed.clear()
    began = time.perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        scores = list(pool.map(lambda prompt: stepwise(ask, prompt, work.labels), work.prompts))
    seconds = time.perf_counter() - began
    build = xllamacpp.get_system_info()
    return {"scores": scores, "computed": sum(computed), "seconds": seconds, "build": build}


def with_llama(work: Work, *, echo: bool) -> dict[str, Any]:
    """One request at a time. `logprobs` needs `logits_all`, which keeps a row of logits for each of n_ctx tokens."""
    from llama_cpp import Llama  # noqa: PLC0415

    threads: dict[str, Any] = {"n_threads": work.threads, "n_threads_batch": work.threads}
    llama: Any = Llama(work.model, n_ctx=512, logits_all=True, verbose=False, **threads)
    evaluate, lengths = llama.eval, []

    def counted(tokens: Sequence[int]) -> None:
        lengths.append(len(tokens))
        evaluate(tokens)

    def ask(prompt: str) -> Mapping[str, float]:
        answer = llama.create_completion(prompt, max_tokens=1, temperature=0.0, logprobs=work.n_probs)
        (top,) = answer["choices"][0]["logprobs"]["top_logprobs"] or [{}]  # none where the model ends the text at once
        return {token: float(logprob) for token, logprob in top.items()}

    def echoed(prompt: str) -> list[float | None]:
        scores: list[float | None] = []
        for label in work.labels:
            answer = llama.create_completion(prompt + label, max_tokens=1, temperature=0.0, logprobs=1, echo=True)
            told = answer["choices"][0]["logprobs"]
            pairs = zip(told["token_logprobs"], told["text_offset"], strict=True)
            scores.append(float(sum(logprob for logprob, at in pairs if len(prompt) <= at < len(prompt + label))))
        return scores

    def score(prompt: str) -> list[float | None]:
        return echoed(prompt) if echo else stepwise(ask, prompt, work.labels)

    score(WARM_UP)
    llama.eval = counted
    began = time.perf_counter()
    scores = [score(prompt) for prompt in work.prompts]
    seconds = time.perf_counter() - began
    return {"scores": scores, "computed": sum(lengths), "seconds": seconds}


CONTENDERS: Mapping[str, Callable[[Work], dict[str, Any]]] = {
    "localprompt": with_localprompt,
    "server-8": partial(with_server, slots=8),
    "server-1": partial(with_server, slots=1),
    "completion": partial(with_llama, echo=False),
    "echo": partial(with_llama, echo=True),
}


def measure_here(options: argparse.Namespace) -> dict[str, Any]:
    """Return one contender's measurement, made in this process."""
    n_prompts = options.subset if options.only in ("completion", "echo") else None
    prompts, labels = work_of(options)
    prompts = prompts[:n_prompts]
    work = Work(options.model, prompts, labels, options.threads, options.n_probs)
    result = CONTENDERS[options.only](work)
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / unit
    return {"name": options.only, "prompts": len(prompts), "peak_mib": round(peak), **result}


def measure_elsewhere(name: str, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return one contender's measurement, made in a process of its own."""
    kept = {key: getattr(options, key) for key in ("labels", "reviews", "subset", "threads", "n_probs")}
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in kept.items()]
    arguments += [] if options.battery is None else [f"--battery={options.battery}"]
    command = [sys.executable, __file__, f"--only={name}", f"--model={model}", *arguments]
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}  # what localprompt gives its engine
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(run.stdout.splitlines()[-1]))


def row_of(runs: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one contender's row; `reference` are the runs of localprompt."""
    rates, ours = ([run["prompts"] / run["seconds"] for run in each] for each in (runs, reference))
    rate, spread = statistics.median(rates), f" [{min(rates):.3g}, {max(rates):.3g}]" if rates[1:] else ""
    both = [pair for pair in zip(runs[0]["scores"], reference[0]["scores"], strict=False) if None not in pair[0]]
    agree = [theirs.index(max(theirs)) == mine.index(max(mine)) for theirs, mine in both]
    return {
        "contender": runs[0]["name"],
        "prompts": runs[0]["prompts"],
        "prompts/s": f"{rate:.3g}{spread}",
        "localprompt is": f"{statistics.median(ours) / rate:.1f} x",
        "computed": f"{runs[0]['computed'] / runs[0]['prompts']:.1f}",
        "peak MiB": max(run["peak_mib"] for run in runs),
        "all labels": f"{len(both) / runs[0]['prompts']:.0%}",
        "same label": f"{sum(agree) / len(agree):.0%}" if agree else "",
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct", help="a model card's name or a GGUF file")
    parser.add_argument("--labels", choices=LABELS, default="words")
    parser.add_argument("--contenders", help="by default all, echo only with phrases")
    parser.add_argument("--reviews", type=int, default=48, help="there are 4 prompts for each; of a battery: prompts")
    parser.add_argument("--battery", type=Path, help="prompts and labels of a battery")
    parser.add_argument("--subset", type=int, default=6, help="prompts for completion and echo")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--n-probs", type=int, default=100)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure_here(options)))
        return
    usual = ["localprompt", "server-8", "server-1", "completion", *(["echo"] if options.labels == "phrases" else [])]
    names = options.contenders.split(",") if options.contenders else usual
    if not {"localprompt"} <= set(names) <= set(CONTENDERS):
        parser.error(f"--contenders: localprompt and any of {', '.join(CONTENDERS)}")
    if importlib.util.find_spec("xllamacpp") is None:
        print("llama.cpp's server is left out: `pip install xllamacpp` brings it")
        names = [name for name in names if not name.startswith("server")]
    with load_model(options.model, n_threads=options.threads, n_ctx=N_CTX) as lm:  # pulls and tunes before all else
        path, labels = lm.path, work_of(options)[1]
        answers = lm.loglikelihood([(WARM_UP, label) for label in labels])
    asks_for_words = not set(names) <= {"localprompt", "echo"}
    if asks_for_words and any(a.n_tokens != len(words_of(label)) for a, label in zip(answers, labels, strict=True)):
        parser.error(f"not every word of {labels} is one token of this model: only localprompt and echo can score them")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(options.repeats):
        for name in names:
            runs[name].append(measure_elsewhere(name, path, options))
    rows = [row_of(of_one, runs["localprompt"]) for of_one in runs.values()]
    for cells in (rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows)):
        print("|", " | ".join(map(str, cells)), "|")
    print(f"\n{path.name}, {options.threads} threads, labels{' or'.join(labels)}")
    print(f"The rates are medians of {options.repeats} runs [least, most].")
    import llama_cpp  # noqa: PLC0415 - here, where it adds to no contender's memory

    llama_cpp_python = llama_cpp.llama_print_system_info().decode()
    for name, (first, *_) in runs.items():
        print(f"{name} was built for {' '.join(re.findall('([A-Z0-9_]+) = 1', first.get('build', llama_cpp_python)))}")
    if options.json:
        options.json.write_text(
            json.dumps({"model": path.name, "labels": labels, "threads": options.threads, "runs": runs}, indent=1)
        )


if __name__ == "__main__":
    main()
