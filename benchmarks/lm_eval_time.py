"""How long does the LM evaluation harness take for a task: through its own path to a GGUF, and through the adapter?

    bash scripts/setup.sh --outside
    python benchmarks/lm_eval_time.py [--model qwen2.5-coder-0.5b-instruct] [--rows 4] [--repeats 3]

The task is a local file of the harness's, made from `examples/support-routing`: a description that all rows share (80
tokens), a customer's message, five labels to choose from. Side by side, in turn, on the same rows:

    localprompt    `localprompt.adapters.lm_eval`: all requests of the task in one call, each beginning computed once
    gguf           the harness's `--model gguf` against llama-cpp-python's server with `logits_all`, as the harness's
                   documents have it: a request a label, one after the other; the server keeps the beginning that a
                   request shares with the one before it

- Seconds are those of `simple_evaluate`; loading and a request of a few words as a warm-up are not timed. Same file,
  threads and passive waiting of threads; a process for each measurement.
- The server sorts the whole vocabulary for each token of each prompt, which is most of its time: so few rows are asked
  by default, each of them five requests of about 100 tokens. Nobody has timed a run at rest.
- Scores are compared, not taken to be equal: "nats apart" is the largest difference of a log-probability of a label,
  "same answer" the share of rows whose likeliest label is the same. `gguf` returns three things, by the vocabulary:
  without BOS (Qwen, SmolLM2) llama-cpp-python judges each token by the logits behind it, and labels of one token get 0:
  no scores at all; with BOS and a space before the text (SentencePiece of Llama 2) the offsets are one too large, so
  the last token of the context is scored with the label; with BOS alone (`--model gemma-3-270m`) they are the scores
  of the labels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from apart import OUTSIDE, has, measured, packages, print_table, spread

from localprompt.engine.settings import default_threads
from localprompt.lm.local import load_model

HERE = Path(__file__).absolute().parent
EXAMPLE = HERE.parent / "examples" / "support-routing"
TASK = "support_routing"
N_CTX = 4096
CONTENDERS = ("localprompt", "gguf")


def write_task(folder: Path) -> None:
    """Write the task and its rows."""
    task = yaml.safe_load((EXAMPLE / "task.yaml").read_text(encoding="utf-8"))
    fields = {
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(EXAMPLE / "data.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "description": f"{task['description'].strip()} {task['prompts'][0]}\n\n",
        "doc_to_text": "Message: {{message}}\nTeam:",
        "doc_to_choice": task["labels"],
        "doc_to_target": "team",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / f"{TASK}.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")


def row_of(name: str, turns: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return a contender's row; its scores are those of the first turn."""
    found, ours = turns[0][name], turns[0]["localprompt"]
    pairs = list(zip(found["scores"], ours["scores"], strict=True))
    apart = max(abs(theirs - mine) for row in pairs for theirs, mine in zip(*row, strict=True))
    same = [theirs.index(max(theirs)) == mine.index(max(mine)) for theirs, mine in pairs]
    return {
        "model of the harness": name,
        "rows": len(pairs),
        "seconds": spread([turn[name]["seconds"] for turn in turns]),
        "localprompt is": spread([turn[name]["seconds"] / turn["localprompt"]["seconds"] for turn in turns]) + " x",
        "accuracy": f"{found['accuracy']:.3f}",
        "nats apart": f"{apart:.3g}",
        "same answer": f"{sum(same) / len(same):.0%}",
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct", help="a model card's name or a GGUF file")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    if not (has(OUTSIDE, "lm_eval") and has(OUTSIDE, "sse_starlette")):
        parser.error("the harness and the packages of the server are missing: `bash scripts/setup.sh --outside`")
    with load_model(options.model, n_threads=options.threads, n_ctx=N_CTX) as lm:  # pulls and tunes before all else
        path = lm.path
    with tempfile.TemporaryDirectory() as folder:
        write_task(Path(folder))
        job = {
            "model": str(path),
            "folder": folder,
            "task": TASK,
            "rows": options.rows,
            "threads": options.threads,
            "n_ctx": N_CTX,
            "inside": packages(),
        }
        script = HERE / "outside_lm_eval.py"
        turns = [{name: measured(OUTSIDE, script, name, job) for name in CONTENDERS} for _ in range(options.repeats)]
    print_table([row_of(name, turns) for name in CONTENDERS])
    ours = turns[0]["localprompt"]
    print(f"\n{path.name}, {options.threads} threads; seconds are medians of {options.repeats} turns [least, most].")
    print(f"localprompt computed {ours['computed']} of {ours['requested']} tokens, those of the warm-up included.")
    if options.json:
        options.json.write_text(
            json.dumps({"model": path.name, "threads": options.threads, "turns": turns}, indent=1), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
