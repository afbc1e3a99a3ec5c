"""Asks models of localprompt through DSPy; prints as JSON what it answered, and how many requests each call had.

python run_dspy_adapter.py MODEL ROWS.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).parent))
import cloudpickle
import dspy
import inside  # noqa: F401

import localprompt
from localprompt.adapters.dspy import LocalPromptEngine

FIELDS = "[[ ## team ## ]]\nbilling\n\n[[ ## completed ## ]]"


class Route(dspy.Module):  # type: ignore[misc]
    """Asks for the team in a chat of one turn."""

    def forward(self, message: str) -> object:
        text = f"Which team answers this message? {message}"
        return dspy.Prediction(team=dspy.settings.lm(messages=[{"role": "user", "content": text}])[0])


def main() -> None:
    name, rows = sys.argv[1:]
    documents = [json.loads(line) for line in Path(rows).read_text(encoding="utf-8").splitlines()]
    data = [dspy.Example(**each).with_inputs("message") for each in documents]
    answers: dict[str, str] = {}

    def heard(example: dspy.Example, found: dspy.Prediction, trace: object = None) -> float:
        answers[example.message] = found.team
        return 1.0

    with localprompt.load_model(name, tune=False, n_ctx=1024, n_threads=1) as model:
        engine = LocalPromptEngine(model)
        dspy.configure(lm=dspy.LM("localprompt/it", engine=engine, cache=False, max_tokens=4, temperature=0.0))
        dspy.Evaluate(devset=data, metric=heard, num_threads=16, display_progress=False)(Route())
        print(json.dumps({"answers": [answers[each["message"]] for each in documents], "calls": engine.waves.sizes}))
        dspy.configure(lm=dspy.LM("localprompt/it", engine=engine, cache=False, max_tokens=20))
        teams = tuple(sorted({each["team"] for each in documents}))
        signature = dspy.Signature({"message": (str, dspy.InputField()), "team": (Literal[teams], dspy.OutputField())})
        found = [dspy.Predict(signature)(message=each["message"]).team for each in documents[:3]]
        print(json.dumps({"known": teams, "typed": found}))

    scripted = localprompt.ScriptedLM(answer=lambda prompt, seed: FIELDS, name="fields")
    dspy.configure(lm=dspy.LM("localprompt/fields", engine=LocalPromptEngine(scripted), cache=False))
    found = dspy.Predict("message -> team")(message="my card was charged twice")
    usage = dspy.settings.lm.history[-1]["usage"]
    print(json.dumps({"team": found.team, "drawn": dict(usage)["completion_tokens"]}))
    request = dspy.lm15.Request(
        model="fields",
        messages=[dspy.lm15.Message.user("Which team?")],
        config=dspy.lm15.Config(response_format={"type": "json_object"}),
    )
    dropped = LocalPromptEngine(scripted).complete(request).adaptations
    print(json.dumps({"dropped": [each.field for each in dropped]}))

    drawn = localprompt.ScriptedLM(answer=lambda prompt, seed: f"number {seed}", name="numbers")
    numbers = dspy.LM("localprompt/numbers", engine=LocalPromptEngine(drawn), cache=False, temperature=1.0)
    print(json.dumps({"several": numbers("draw", n=3), "again": numbers("draw", seed=7)}))

    saved = dspy.LM("localprompt/it", engine=LocalPromptEngine(name, n_ctx=512)).dump_state()
    print(json.dumps({"saved": saved["engine"]["state"] if isinstance(saved.get("engine"), dict) else str(saved)}))
    program = dspy.Predict("message -> team")
    program.set_lm(dspy.LM("localprompt/it", engine=LocalPromptEngine(name, n_ctx=512)))
    copied, pickled = program.deepcopy(), cloudpickle.loads(cloudpickle.dumps(program))
    copied.demos = [dspy.Example(message="m", team="t")]
    kept = {"demos": len(program.demos), "pickled": pickled.lm.engine.dump_state()}
    print(json.dumps({"same": copied.lm.engine is program.lm.engine, **kept}))
    for refused in ({"logprobs": True}, {"frequency_penalty": 1.0}):
        try:
            numbers("draw", **refused)
        except dspy.LMError as error:
            print(json.dumps({"refused": list(refused), "as": type(error).__name__, "says": str(error)}))


if __name__ == "__main__":
    main()
