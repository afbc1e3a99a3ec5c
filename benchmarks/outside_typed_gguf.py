"""typed-gguf as a contender of `peers.py`: in an environment that has it, nothing of localprompt is imported.

    TYPED_GGUF_RUNTIME_DIR=FOLDER python benchmarks/outside_typed_gguf.py --contender typed-gguf < JOB

FOLDER has libllama.so: that of llama-cpp-python will do. A review is a state, which is decoded once, and the
instructions are questions about it: what it is made for, and its plain template with the label read at the end of the
question (cue `shipped`, format `answer_sheet`), the shape with the fewest tokens. The model is loaded once; each state
has a context of its own, as in its own server. Labels are compared by the sum of log-probabilities.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from apart import Job, be_contender
from typed_gguf import schema
from typed_gguf.engine import decide, prompt, session

OPTIONS = {"template": "plain", "chat_format": "answer_sheet", "cue": "shipped", "length_norm": 0.0}


def typed_gguf(job: Job) -> dict[str, Any]:
    """All instructions for each review; scores and texts come an instruction at a time, as the prompts of others."""
    labels = [label.strip() for label in job["labels"]]
    tokens: list[int] = []
    handle = session.open_model(job["model"], fit_disabled=True, cpu_only=True)
    instructions = {str(k): text for k, text in enumerate(job["instructions"])}

    def answers(state: str) -> tuple[Mapping[str, Any], dict[str, str]]:
        asked = {
            key: {"type": "choice", "instructions": text, "criteria": dict.fromkeys(labels)}
            for key, text in instructions.items()
        }
        options = {**OPTIONS, "threads": job["threads"]}
        request = schema.parse_request({"state": state, "questions": asked, "options": options})
        plan = decide.plan_context(request, handle)
        with session.ModelSession(handle, plan, decode_spy=lambda batch: tokens.append(batch.n_tokens)) as opened:
            found = decide.DecisionEngine(opened).decide(request, plan=plan)
        return found.answers, {
            question.id: prompt.build_prefix(state) + prompt.question_block(question) for question in request.questions
        }

    answers("It has been raining for days.")
    tokens.clear()
    began = time.perf_counter()
    found = [answers(review) for review in job["reviews"]]
    seconds = time.perf_counter() - began
    each = [(told[key]["probabilities"], texts[key]) for key in instructions for told, texts in found]
    scores = [[math.log(max(told[label], 1e-300)) for label in labels] for told, _ in each]
    return {"seconds": seconds, "scores": scores, "computed": sum(tokens), "texts": [text for _, text in each]}


if __name__ == "__main__":
    be_contender({"typed-gguf": typed_gguf})
