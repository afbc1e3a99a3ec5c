"""How many prompts a second does localprompt score, against other ways to get label probabilities from the same GGUF?

    python benchmarks/peers.py [--model qwen2.5-coder-0.5b-instruct] [--labels words] [--reviews 48] [--repeats 3]

The work: 4 instructions x 48 short reviews = 192 prompts; for each, how probable are the labels? With `--labels words`
" positive" and " negative", one token each, which suits the others best; with `--labels phrases` " worth watching" and
" a waste of time", as labels of most tasks have several tokens. By

    localprompt         load_model(...).loglikelihood, all requests in one call
    server-8            llama.cpp's server (xllamacpp), 8 slots, 8 requests at a time, cached prefixes
    server-1            the same with one slot and one request at a time
    typed-gguf          typed-gguf 0.3 on llama-cpp-python's libraries: the reviews are its states, the instructions its
                        questions; what comes first is decoded once, here too
    localprompt-typed   localprompt on the very texts that typed-gguf makes
    lm-eval             the LM evaluation harness with the adapter of this project
    lm-eval-gguf        the same with its own model `gguf`, through llama-cpp-python's server
    batching            llama-cpp-python's newer batching server, 8 sequences, 8 requests at a time, of its source
                        distribution: --batching-server FILE (`examples/server/server.py` there; no wheel has it)
    completion          llama-cpp-python's Llama.create_completion(logprobs=N, max_tokens=1)
    echo                the same with echo=True, one call a label; by default with phrases only

- The server computes no log-probabilities of a given text: it gives the N most probable next tokens, as `completion`
  does here (--n-probs; 1,000 cost the server some milliseconds a prompt). So both are asked once for every beginning of
  a label, the prompt cached, and score only what is among the N: "all labels" says how often that was everything.
- "same label" is the share of those prompts where the more probable label is localprompt's, for `typed-gguf`
  localprompt-typed's; near ties differ by rounding. `echo` and `lm-eval-gguf` score any label, but llama-cpp-python
  shifts its log-probabilities by one token for models without BOS: there their labels mean nothing, and those of one
  token get 0 from `lm-eval-gguf`.
- typed-gguf writes texts of its own (the review before the instruction, the labels listed), so it is compared twice:
  with localprompt on the same texts, and with localprompt on the prompts of the others, the layout that suits each.
- llama.cpp's server cannot be the harness's `gguf`: it gives no log-probabilities of a prompt.
- `completion`, `echo` and `lm-eval-gguf` do a few prompts only (--subset), neighbours of one instruction, whose prefix
  they reuse; their prompts/s is extrapolated from these.
- With `--battery FILE` the prompts and labels are those that `benchmarks/sensitivity.py --battery FILE` wrote: a prompt
  in many wordings on many rows. --reviews then limits the rows: the first so many prompts are asked.
- The words of a label must be one token each, else the server's answers are no words; this is checked first.
- "computed" is the tokens that went through the model for each prompt: what sharing saves, whatever the build. The
  prompts come an instruction at a time, the best order for the others' caches; for localprompt any order is the same.
- "localprompt is" compares turn by turn, median [least, most]; "aim" is what was aimed for.
- The server is another build of llama.cpp: on Linux its wheel leaves out AVX-512, so one built on the machine may be
  faster. The CPU features of each build are printed. localprompt measures which memory layout of the weights is
  fastest; the others have their default.
- Same file, threads, and passive waiting of threads; 4096 KV cells (`completion`, `echo`: 512; typed-gguf: what a
  request needs). A process for each measurement, the contenders in turn; loading and a warm-up request are not timed.
- Whoever is not in the environment of this project runs in `.venv-outside`, which `bash scripts/setup.sh --outside`
  makes; OUTSIDE_PYTHON names another.
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
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from apart import INSIDE, OUTSIDE, Job, be_contender, has, measured, print_table, spread
from stepwise import stepwise, words_of

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
WARM_UP = "Is the weather good or bad?\n\nIt has been raining for days.\nAnswer:"
N_CTX = 4096

SUBJECTS = ("the plot", "the acting", "the music", "the camera work", "the ending", "the dialogue", "the humour")
VERDICTS = (
    ("is a delight", "kept me awake and happy", "is better than I dared to hope", "stays with you for days"),
    ("is a mess", "put me to sleep", "is worse than I feared", "would embarrass a school play"),
)


def reviews_of(n: int) -> list[str]:
    """Return the reviews."""
    rng = random.Random(0)
    reviews = []
    for _ in range(n):
        (what, also), (verdict, other) = rng.sample(SUBJECTS, 2), rng.sample(rng.choice(VERDICTS), 2)
        reviews.append(f"In the film that we saw, {what} {verdict}, and {also} {other}.")
    return reviews


def work_of(options: argparse.Namespace) -> tuple[list[str], tuple[str, ...]]:
    """Return the prompts, an instruction's next to each other, and the labels."""
    if options.battery is None:
        cue, reviews = CUES[options.labels], reviews_of(options.reviews)
        prompts = [f"{instruction}\n\nReview: {review}\n{cue}" for instruction in INSTRUCTIONS for review in reviews]
        return prompts, LABELS[options.labels]
    battery = json.loads(options.battery.read_text(encoding="utf-8"))
    return battery["prompts"][: options.reviews], tuple(battery["labels"])


# Contenders. Each returns the scores of the prompts (a log-probability for each label, None where it gives none), the
# tokens computed for them, the seconds it took, and what its llama.cpp was built for if it is not llama-cpp-python's.


def with_localprompt(job: Job) -> dict[str, Any]:
    """All (prompt, label) requests in one call."""
    with load_model(job["model"], n_threads=job["threads"], n_ctx=N_CTX) as lm:
        lm.loglikelihood([(WARM_UP, label) for label in job["labels"]])
        before, began = lm.stats.tokens_decoded, time.perf_counter()
        answers = lm.loglikelihood([(prompt, label) for prompt in job["prompts"] for label in job["labels"]])
        seconds = time.perf_counter() - began
        computed = lm.stats.tokens_decoded - before
    scores = list(zip(*[(answer.logprob for answer in answers)] * len(job["labels"]), strict=True))
    return {"scores": scores, "computed": computed, "seconds": seconds}


def with_llama(job: Job, *, echo: bool) -> dict[str, Any]:
    """One request at a time. `logprobs` needs `logits_all`, which keeps a row of logits for each of n_ctx tokens."""
    from llama_cpp import Llama  # noqa: PLC0415

    threads: dict[str, Any] = {"n_threads": job["threads"], "n_threads_batch": job["threads"]}
    llama: Any = Llama(job["model"], n_ctx=512, logits_all=True, verbose=False, **threads)
    evaluate, lengths = llama.eval, []

    def counted(tokens: Sequence[int]) -> None:
        lengths.append(len(tokens))
        evaluate(tokens)

    def ask(prompt: str) -> Mapping[str, float]:
        answer = llama.create_completion(prompt, max_tokens=1, temperature=0.0, logprobs=job["n_probs"])
        (top,) = answer["choices"][0]["logprobs"]["top_logprobs"] or [{}]  # none where the model ends the text at once
        return {token: float(logprob) for token, logprob in top.items()}

    def echoed(prompt: str) -> list[float | None]:
        scores: list[float | None] = []
        for label in job["labels"]:
            answer = llama.create_completion(prompt + label, max_tokens=1, temperature=0.0, logprobs=1, echo=True)
            told = answer["choices"][0]["logprobs"]
            pairs = zip(told["token_logprobs"], told["text_offset"], strict=True)
            scores.append(float(sum(logprob for logprob, at in pairs if len(prompt) <= at < len(prompt + label))))
        return scores

    def score(prompt: str) -> list[float | None]:
        return echoed(prompt) if echo else stepwise(ask, prompt, job["labels"])

    score(WARM_UP)
    llama.eval = counted
    began = time.perf_counter()
    scores = [score(prompt) for prompt in job["prompts"]]
    seconds = time.perf_counter() - began
    return {"scores": scores, "computed": sum(lengths), "seconds": seconds}


CONTENDERS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "localprompt": with_localprompt,
    "localprompt-typed": with_localprompt,
    "completion": partial(with_llama, echo=False),
    "echo": partial(with_llama, echo=True),
}
HERE = Path(__file__).absolute()
OUTSIDERS = {
    "server-8": ("outside_llama_server.py", "scoring", "xllamacpp"),
    "server-1": ("outside_llama_server.py", "scoring", "xllamacpp"),
    "typed-gguf": ("outside_typed_gguf.py", "typed-gguf", "typed_gguf"),
    "batching": ("outside_batching.py", "scoring", "safetensors"),
    "lm-eval": ("outside_lm_eval.py", "localprompt", "lm_eval"),
    "lm-eval-gguf": ("outside_lm_eval.py", "gguf", "sse_starlette"),
}
"""Name to script, what it is called there, and a package that must be in its environment."""
ORDER = (
    "localprompt",
    "server-8",
    "server-1",
    "typed-gguf",
    "localprompt-typed",
    "lm-eval",
    "lm-eval-gguf",
    "batching",
    "completion",
    "echo",
)
FEW = ("completion", "echo", "lm-eval-gguf")
"""Who is asked a few prompts only."""
ASK_FOR_WORDS = ("server-8", "server-1", "batching", "completion")
AIMS = {
    ("server-8", "words"): "2.5 x",
    ("server-8", "phrases"): "5 x",
    ("typed-gguf", "words"): "5 x, on the same texts 2 x",
    ("typed-gguf", "phrases"): "5 x, on the same texts 2 x",
}


def job_of(name: str, job: Job, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the job of one contender; `found` is what those before it in the same turn measured."""
    if name == "localprompt-typed":  # the labels come after a line break there
        labels = [label.strip() for label in job["labels"]]
        return {**job, "prompts": found["typed-gguf"]["texts"], "labels": labels}
    prompts = job["prompts"][: job["subset"]] if name in FEW else job["prompts"]
    return {**job, "prompts": prompts, "slots": 1 if name == "server-1" else 8, "unified": True}


def turn(names: Sequence[str], job: Job) -> dict[str, dict[str, Any]]:
    """Return what each contender measured, one after the other."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        script, called, _ = OUTSIDERS.get(name, (HERE.name, name, ""))
        python = OUTSIDE if name in OUTSIDERS else INSIDE
        given = job_of(name, job, found)
        found[name] = {"name": name, **measured(python, HERE.with_name(script), called, given)}
    return found


def rate(run: Mapping[str, Any]) -> float:
    """Return prompts per second."""
    return float(len(run["scores"]) / run["seconds"])


def row_of(name: str, turns: Sequence[Mapping[str, Any]], labels: str) -> dict[str, object]:
    """Return one contender's row."""
    runs = [each[name] for each in turns]
    n, first = len(runs[0]["scores"]), runs[0]
    right = "localprompt-typed" if "typed" in name and "localprompt-typed" in turns[0] else "localprompt"
    both = [pair for pair in zip(first["scores"], turns[0][right]["scores"], strict=False) if None not in pair[0]]
    agree = [theirs.index(max(theirs)) == mine.index(max(mine)) for theirs, mine in both]
    ours = spread([rate(each["localprompt"]) / rate(each[name]) for each in turns]) + " x"
    if name == "typed-gguf" and right != "localprompt":
        ours += f", on the same texts {spread([rate(each[right]) / rate(each[name]) for each in turns])} x"
    return {
        "contender": name,
        "prompts": n,
        "prompts/s": spread([rate(run) for run in runs]),
        "localprompt is": ours,
        "aim": AIMS.get((name, labels), ""),
        "computed": "" if first["computed"] is None else f"{first['computed'] / n:.1f}",
        "peak MiB": max(run["peak_mib"] or 0 for run in runs),
        "all labels": f"{len(both) / n:.0%}",
        "same label": f"{sum(agree) / len(agree):.0%}" if agree else "",
    }


def contenders_of(options: argparse.Namespace) -> list[str]:
    """Return who is asked for, as far as there is a Python that has them.

    Raises:
        ValueError: in words, for names that there are none of.
    """
    unusual = {"echo"} if options.labels == "words" else set()
    unusual |= set() if options.batching_server else {"batching"}
    usual = [name for name in ORDER if name not in unusual]
    wanted = options.contenders.split(",") if options.contenders else usual
    if not {"localprompt"} <= set(wanted) <= set(ORDER):
        raise ValueError(f"--contenders: localprompt and any of {', '.join(ORDER)}")
    if "batching" in wanted and not options.batching_server:
        raise ValueError("batching needs --batching-server FILE")
    if options.battery and (mine := {"typed-gguf", "localprompt-typed"} & set(wanted)):
        print(f"{' and '.join(sorted(mine))} left out: the texts of a battery are not in states and questions")
        wanted = [name for name in wanted if name not in mine]
    missing = [name for name in wanted if name in OUTSIDERS and not has(OUTSIDE, OUTSIDERS[name][2])]
    for name in missing:
        print(f"{name} is left out: `bash scripts/setup.sh --outside` brings {OUTSIDERS[name][2]}")
    if "typed-gguf" in missing or "typed-gguf" not in wanted:
        missing.append("localprompt-typed")
    return [name for name in ORDER if name in wanted and name not in missing]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct", help="a model card's name or a GGUF file")
    parser.add_argument("--labels", choices=LABELS, default="words")
    parser.add_argument("--contenders", help="by default all, echo only with phrases")
    parser.add_argument("--reviews", type=int, default=48, help="there are 4 prompts for each; of a battery: prompts")
    parser.add_argument("--battery", type=Path, help="prompts and labels of a battery")
    parser.add_argument("--batching-server", type=Path, metavar="FILE")
    parser.add_argument("--subset", type=int, default=6, help="prompts for completion, echo and lm-eval-gguf")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--n-probs", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        names = contenders_of(options)
    except ValueError as error:
        parser.error(str(error))
    prompts, labels = work_of(options)
    with load_model(options.model, n_threads=options.threads, n_ctx=N_CTX) as lm:  # pulls and tunes before all else
        path = lm.path
        answers = lm.loglikelihood([(WARM_UP, label) for label in labels])
    of_several = any(a.n_tokens != len(words_of(label)) for a, label in zip(answers, labels, strict=True))
    if of_several and set(names) & set(ASK_FOR_WORDS):
        parser.error(f"not every word of {labels} is one token of this model: leave out {', '.join(ASK_FOR_WORDS)}")
    llama_cpp = importlib.util.find_spec("llama_cpp")
    if llama_cpp is None or llama_cpp.origin is None:
        parser.error("llama-cpp-python is missing")
    package = Path(llama_cpp.origin).parent
    os.environ["TYPED_GGUF_RUNTIME_DIR"] = str(package / "lib")
    job = {
        "model": str(path),
        "prompts": prompts,
        "labels": labels,
        "instructions": INSTRUCTIONS,
        "reviews": reviews_of(options.reviews),
        "threads": options.threads,
        "n_probs": options.n_probs,
        "n_ctx": N_CTX,
        "subset": options.subset,
        "batching_server": str(options.batching_server),
        "inside": [str(HERE.parents[1]), str(package.parent)],
    }
    turns = [turn(names, job) for _ in range(options.repeats)]
    print_table([row_of(name, turns, "" if options.battery else options.labels) for name in names])
    print(f"\n{path.name}, {options.threads} threads, labels{' or'.join(labels)}")
    print(f"The rates are medians of {options.repeats} turns [least, most].")
    import llama_cpp as ours  # noqa: PLC0415 - here, where it adds to no contender's memory

    llama_cpp_python = ours.llama_print_system_info().decode()
    for name in names:
        build = turns[0][name].get("build", llama_cpp_python)
        print(f"{name} was built for {' '.join(re.findall('([A-Z0-9_]+) = 1', build))}")
    if options.json:
        runs = {name: [each[name] for each in turns] for name in names}
        options.json.write_text(
            json.dumps({"model": path.name, "labels": labels, "threads": options.threads, "runs": runs}, indent=1)
        )


if __name__ == "__main__":
    if not be_contender(CONTENDERS):
        main()
