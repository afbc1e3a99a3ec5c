"""How many tokens a second does the engine write, beside itself without streams, a plain loop, and llama.cpp's server?

    python benchmarks/generation.py [--model qwen2.5-coder-0.5b-instruct] [--cases 64x200,24x300,64x8] [--repeats 3]
    python benchmarks/generation.py --gsm8k DATA    # 24 problems under one prompt; streams and cells

A case `64x200` is 64 prompts that share their first 290 tokens or so and end in a line of their own, each continued by
200 tokens, greedily. By

    streams      the engine as it is: long completions have a stream of cells each, short ones share all cells
    cells        the engine without streams (stream_ctx=0): all completions share the cells of n_ctx
    loop         no engine: llama.cpp's C API. The shared beginning is decoded once and copied to all, then one
                 llama_decode a token for all completions, argmax in numpy; a stream of cells each
    loop-cells   the same with cells that all share; by default where completions are short
    server       llama.cpp's server (`pip install xllamacpp`), 8 slots, 8 requests at a time, cached prefixes
    server-all   the same with as many slots as prompts
    batching     llama-cpp-python's newer batching server, as many sequences as prompts, all asked at once: with
                 --batching-server FILE, `examples/server/server.py` of its source distribution; no wheel has it
    llama        llama-cpp-python's Llama.create_completion, a few prompts (--subset) one after the other

- Nobody is told to ignore the end of a text: a token counts when it is drawn, all contenders are given the same tokens,
  and the prompts are such that they go on. "to the end" is the share of completions that were as long as they could be.
- "same text" is the share of completions equal to the loop's, "alike" the share of them, in characters, before the
  first difference. Numbers differ by rounding with what is computed together, and after a near tie two greedy texts go
  different ways: on quantised models these columns show gross errors only. On an F32 file the texts should be the same.
- "streams is" compares turn by turn: median [least, most]. Seconds are those of the whole call, the prompts included,
  after a warm-up request of two tokens; streams and the loop make their memory within them.
- Same file, threads, memory layout of the weights as localprompt measured it (the server and `llama` have their
  default), and passive waiting of threads. A process for each measurement, the contenders in turn. The server is
  another build of llama.cpp: the CPU features of each build are printed.
- --stream-ctx and --n-ctx are the engine's settings; with few cells it has fewer completions in the making at once.
- With --gsm8k DATA (a folder with gsm8k/dev.jsonl, as `methods.py` has it) completions end by themselves, after 400
  tokens at most.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from apart import INSIDE, OUTSIDE, Job, be_contender, has, measured, print_table, spread
from plain_loop import PADDING, with_loop

CASES = "64x200,24x300,64x8"
AIMS = {("cells", "64x200"): 2.2, ("cells", "24x300"): 1.15, ("cells", "64x8"): 1.0, ("cells", "gsm8k"): 1.25}
"""Of "streams is", by contender and case."""
AIMS_OF_ALL = {"loop": 0.92, "loop-cells": 0.92, "server": 1.0, "server-all": 1.0, "batching": 1.0, "llama": 1.0}
SHORT = 32
"""New tokens up to which the loop is also tried with shared cells."""
OUTSIDERS = {
    "server": ("outside_llama_server.py", "xllamacpp"),
    "server-all": ("outside_llama_server.py", "xllamacpp"),
    "batching": ("outside_batching.py", "safetensors"),
}
"""Name to script, and a package that must be in its environment."""

OPENING = (
    "This is the log of the lighthouse on Gull Island. Each keeper writes an entry for each night: first the weather, "
    "then the ships that passed, then what was repaired, then a remark. No entry is shorter than two pages.\n\n"
    "Night 1. Wind from the north-west, strong, with rain until four in the morning; after that it was clear and cold. "
    "Two fishing boats passed at nine, and a collier from the south at half past two, and signalled that all was well. "
    "The clockwork of the lamp was oiled, and the third pane on the east side, which had been cracked since the storm "
    "in October, was replaced. My remark is that the oil will last for another three weeks and no longer.\n\n"
    "Night 2. Calm, with fog that lay on the water until sunrise. The horn was sounded every two minutes. No ship was "
    "seen, but one was heard to the west at about one o'clock, and it answered the horn. The stairs were swept, the "
    "brass was polished, and the rope of the bell was spliced where it had begun to fray. The boat from the "
    "mainland, which was due in the afternoon, did not come, so there is no fresh bread, and the letters have to wait "
    "until the fog is gone. My remark is that a man who hears nothing but a horn for nine hours begins to "
    "count the seconds.\n\n"
)
WEATHERS = (
    "Heavy snow",
    "A warm wind",
    "Thunder in the east",
    "A clear sky",
    "Hail",
    "Thick fog",
    "Light rain",
    "Frost",
)
SHIPS = (
    "a steamer",
    "three trawlers",
    "a naval cutter",
    "the mail boat",
    "an empty barge",
    "no ship at all",
    "a schooner",
)


def prompts_of(n: int) -> list[str]:
    """Return prompts that begin alike and end in a line of their own; a model goes on with the log."""
    lines = [f"{weather}, and {ship} before midnight" for ship in SHIPS for weather in WEATHERS]
    return [f"{OPENING}Night {3 + i}. {lines[i % len(lines)]}." for i in range(n)]


# Contenders. Each returns the seconds it took, the texts, the tokens drawn for each, and what else there is to tell.


def with_engine(job: Job) -> dict[str, Any]:
    """All prompts in one call; the job says how many cells there are for streams."""
    from localprompt.lm.local import load_model  # noqa: PLC0415 - the server's environment has no localprompt
    from localprompt.types import Sampling  # noqa: PLC0415

    settings = {"n_threads": job["threads"], "n_ctx": job["n_ctx"], "stream_ctx": job["stream_ctx"]}
    with load_model(job["model"], **settings) as lm:
        lm.generate(["Once upon a time"], Sampling(max_tokens=2), [0])
        before, began = lm.stats.tokens_decoded, time.perf_counter()
        found = lm.generate(job["texts"], Sampling(max_tokens=job["n_new"]), [0] * len(job["texts"]))
        seconds = time.perf_counter() - began
        computed = lm.stats.tokens_decoded - before
    drawn = [each.n_tokens + (each.finish_reason == "stop") for each in found]
    return {"seconds": seconds, "texts": [each.text for each in found], "drawn": drawn, "computed": computed}


def with_llama(job: Job) -> dict[str, Any]:
    """A few prompts one after the other."""
    from llama_cpp import Llama  # noqa: PLC0415

    prompts = job["prompts"][: job["subset"]]
    longest = max(map(len, prompts)) + job["n_new"]
    threads = {"n_threads": job["threads"], "n_threads_batch": job["threads"]}
    llama: Any = Llama(job["model"], n_ctx=longest, verbose=False, **threads)
    llama.create_completion(prompts[0][:8], max_tokens=2, temperature=0.0)
    began = time.perf_counter()
    answers = [llama.create_completion(prompt, max_tokens=job["n_new"], temperature=0.0) for prompt in prompts]
    seconds = time.perf_counter() - began
    drawn = [answer["usage"]["completion_tokens"] for answer in answers]
    return {"seconds": seconds, "texts": [answer["choices"][0]["text"] for answer in answers], "drawn": drawn}


CONTENDERS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "streams": with_engine,
    "cells": with_engine,
    "loop": lambda job: with_loop(job, streams=True),
    "loop-cells": lambda job: with_loop(job, streams=False),
    "llama": with_llama,
}
OF_GSM8K = ("streams", "cells")


def job_of(name: str, job: Job, slots: int) -> dict[str, Any]:
    """Return the job of one contender."""
    if name == "cells":
        return {**job, "stream_ctx": 0}
    if name in OUTSIDERS:
        n_slots = slots if name == "server" else len(job["prompts"])
        length = -(-(max(map(len, job["prompts"])) + job["n_new"]) // PADDING) * PADDING
        return {**job, "slots": n_slots, "n_ctx": n_slots * length, "unified": False}
    return dict(job)


def turn(names: Sequence[str], job: Job, slots: int) -> dict[str, dict[str, Any]]:
    """Return what each contender measured, one after the other."""
    found = {}
    for name in names:
        given = job_of(name, job, slots)
        if name in OUTSIDERS:
            script = Path(__file__).absolute().with_name(OUTSIDERS[name][0])
            found[name] = measured(OUTSIDE, script, "writing", given)
        else:
            found[name] = measured(INSIDE, Path(__file__).absolute(), name, given)
    return found


def rate(run: Mapping[str, Any]) -> float:
    """Return tokens per second."""
    return float(sum(run["drawn"]) / run["seconds"])


def valid(text: str) -> str:
    """Return a text without the marks of invalid bytes: contenders differ in what they make of these."""
    return text.replace("\ufffd", "")


def alike_of(a: str, b: str) -> float:
    """Return how much of two texts comes before their first difference, as a share of the longer one."""
    longest = max(len(a), len(b), 1)
    return next((k for k in range(longest) if a[k : k + 1] != b[k : k + 1]), longest) / longest


def row_of(case: str, name: str, turns: Sequence[Mapping[str, Any]], n_new: int) -> dict[str, object]:
    """Return a contender's row."""
    runs = [each[name] for each in turns]
    loops = [each for each in ("loop", "loop-cells", "streams") if each in turns[0]]
    right = turns[0][loops[0]]["texts"]
    pairs = [(valid(mine), valid(theirs)) for mine, theirs in zip(runs[0]["texts"], right, strict=False)]
    same = statistics.fmean(mine == theirs for mine, theirs in pairs)
    alike = statistics.fmean(alike_of(*pair) for pair in pairs)
    aim = AIMS.get((name, case), AIMS_OF_ALL.get(name))
    return {
        "case": case,
        "contender": name,
        "tokens/s": spread([rate(run) for run in runs]),
        "streams is": spread([rate(each["streams"]) / rate(each[name]) for each in turns]) + " x",
        "aim": "" if aim is None else f"{aim} x",
        "tokens drawn": sum(runs[0]["drawn"]),
        "to the end": f"{statistics.fmean(n == n_new for n in runs[0]['drawn']):.0%}",
        f"same text as {loops[0]}": f"{same:.0%}",
        "alike": f"{alike:.0%}",
    }


def gsm8k(data: Path, n_rows: int) -> list[str]:
    """Return the problems, one prompt for all."""
    lines = (data / "gsm8k" / "dev.jsonl").read_text(encoding="utf-8").splitlines()[:n_rows]
    problems = [json.loads(line)["input"] for line in lines]
    return [f"Solve the problem step by step and end with the number that answers it.\n\n{each}" for each in problems]


def main() -> None:
    """Run the benchmark."""
    from localprompt.engine.settings import EngineSettings, default_threads  # noqa: PLC0415
    from localprompt.lm.local import load_model  # noqa: PLC0415
    from localprompt.types import Message  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct", help="a model card's name or a GGUF file")
    parser.add_argument("--cases", default=CASES, help="prompts x new tokens of each")
    parser.add_argument("--gsm8k", type=Path, metavar="DATA", help="problems instead of cases")
    parser.add_argument("--rows", type=int, default=24, help="of GSM8K")
    parser.add_argument("--max-tokens", type=int, default=400, help="of an answer to a problem of GSM8K")
    parser.add_argument(
        "--contenders",
        help="by default all but server-all, and batching where it is given; with --gsm8k streams and cells",
    )
    parser.add_argument("--batching-server", type=Path, metavar="FILE")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--subset", type=int, default=2, help="prompts for llama")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--n-ctx", type=int, default=EngineSettings().n_ctx)
    parser.add_argument("--stream-ctx", type=int, default=EngineSettings().stream_ctx)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    every = [*CONTENDERS, *OUTSIDERS]
    unusual = {"server-all"} | (set() if options.batching_server else {"batching"})
    usual = OF_GSM8K if options.gsm8k else [name for name in every if name not in unusual]
    names = options.contenders.split(",") if options.contenders else [*usual]
    if not {"streams"} <= set(names) <= set(every):
        parser.error(f"--contenders: streams and any of {', '.join(every)}")
    if "batching" in names and not options.batching_server:
        parser.error("batching needs --batching-server FILE")
    missing = [name for name in names if name in OUTSIDERS and not has(OUTSIDE, OUTSIDERS[name][1])]
    for name in missing:
        print(f"{name} is left out: `bash scripts/setup.sh --outside` brings {OUTSIDERS[name][1]}")
    names = [name for name in names if name not in missing]
    engine = {"n_threads": options.threads, "n_ctx": options.n_ctx}
    cases: dict[str, tuple[list[str], int]]
    with load_model(options.model, **engine) as lm:  # pulls and measures settings before all else
        if options.gsm8k:
            asked: list[str] = [lm.chat([Message("user", each)]) for each in gsm8k(options.gsm8k, options.rows)]
            cases = {"gsm8k": (asked, int(options.max_tokens))}
        else:
            sizes = {case: [*map(int, case.split("x"))] for case in options.cases.split(",")}
            cases = {case: (prompts_of(n), n_new) for case, (n, n_new) in sizes.items()}
        settings, path = lm.settings, lm.path
        tokens = {case: lm.tokenize(texts) for case, (texts, _) in cases.items()}
    common = {
        "model": str(path),
        "threads": options.threads,
        "n_ctx": options.n_ctx,
        "stream_ctx": options.stream_ctx,
        "n_ubatch": settings.n_ubatch,
        "use_extra_bufts": settings.use_extra_bufts,
        "subset": options.subset,
        "batching_server": str(options.batching_server),
        "inside": [str(Path(__file__).parents[1]), sysconfig.get_path("purelib")],
    }
    results: dict[str, list[dict[str, dict[str, Any]]]] = {}
    rows = []
    for case, (texts, n_new) in cases.items():
        job = {**common, "texts": texts, "prompts": tokens[case], "n_new": n_new}
        here = [name for name in names if options.contenders or name != "loop-cells" or n_new <= SHORT]
        results[case] = [turn(here, job, options.slots) for _ in range(options.repeats)]
        rows += [row_of(case, name, results[case], n_new) for name in here]
    print_table(rows)
    print(f"\n{path.name}, {options.threads} threads, medians of {options.repeats} turns [least, most]")
    for case, each in tokens.items():
        print(f"{case}: prompts of {statistics.fmean(map(len, each)):.0f} tokens on average")
    import llama_cpp  # noqa: PLC0415

    ours = llama_cpp.llama_print_system_info().decode()
    builds = {name: run.get("build", ours) for runs in results.values() for name, run in runs[0].items()}
    for name, build in builds.items():
        print(f"{name} was built for {' '.join(re.findall('([A-Z0-9_]+) = 1', build))}")
    if options.json:
        options.json.write_text(json.dumps({"job": common, "slots": options.slots, "turns": results}, indent=1))


if __name__ == "__main__":
    if not be_contender(CONTENDERS):
        main()
