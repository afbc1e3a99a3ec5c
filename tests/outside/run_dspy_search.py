"""Compiles programs of DSPy with searches of localprompt; prints as JSON what came out.

python run_dspy_search.py scripted|real MODEL ROWS.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parent))
import dspy
import inside  # noqa: F401

import localprompt
from localprompt.adapters.dspy import LocalPromptEngine
from localprompt.adapters.dspy_optimizer import LocalPromptOptimizer
from localprompt.errors import ConfigError

BEST = "Turn every alpha into the omega that has its number."
ROWS = [dspy.Example(word=f"alpha{i}", found=f"omega{i}").with_inputs("word") for i in range(36)]


def right(gold: Any, pred: Any, trace: object = None) -> bool:
    return bool(gold.found == pred.found)


def in_its_form(prompt: str, fields: dict[str, str]) -> str:
    if "JSON object" in prompt:
        return json.dumps(fields)
    return "".join(f"[[ ## {name} ## ]]\n{text}\n\n" for name, text in fields.items()) + "[[ ## completed ## ]]"


def scripted(program: Any, adapter: Any, store: Path) -> dict[str, Any]:
    """What a search finds for a program whose model obeys, and whether DSPy asks and finds the same."""
    prompts: list[str] = []

    def answer(prompt: str, seed: int) -> str:
        prompts.append(prompt)
        if "[[ ## word ## ]]" not in prompt:
            return f" {BEST}"
        number = prompt.rpartition("alpha")[2].split(maxsplit=1)[0]
        found = f"omega{number}" if "into the omega" in prompt.lower() else f"alpha{number}"
        return in_its_form(prompt, {"reasoning": "so", "found": found} if "reasoning" in prompt else {"found": found})

    model = localprompt.ScriptedLM(answer=answer, name="words")
    lm = dspy.LM("localprompt/words", engine=LocalPromptEngine(model), cache=False, max_tokens=32)
    with dspy.context(lm=lm, adapter=adapter):
        optimizer = LocalPromptOptimizer(right, max_calls=300, store=store)
        compiled = optimizer.compile(program, trainset=ROWS[:12], valset=ROWS[12:])
        asked = set(prompts)
        prompts.clear()
        evaluate = dspy.Evaluate(devset=ROWS[13::2], metric=right, num_threads=4, display_progress=False)
        scores = [evaluate(each).score / 100 for each in (program, compiled)]
    (predictor,) = compiled.predictors()
    return {
        "instruction": predictor.signature.instructions,
        "before": program.predictors()[0].signature.instructions,
        "test": [compiled.detailed_results.test.seed.mean, compiled.detailed_results.test.best.mean],
        "dspy": scores,
        "asked": len(prompts),
        "asked_before": sum(prompt in asked for prompt in prompts),
    }


def judged_in_threads(store: Path) -> dict[str, Any]:
    """What a search finds by a metric that has two threads ask the same model, and what else it was asked."""
    heard: list[str] = []

    def answer(prompt: str, seed: int) -> str:
        heard.append(prompt)
        return in_its_form(prompt, {"found": "yes"}) if "found" in prompt else f" {BEST}"

    engine = LocalPromptEngine(localprompt.ScriptedLM(answer=answer, name="judge"))
    lm = dspy.LM("localprompt/judge", engine=engine, cache=False, max_tokens=32)
    judge = dspy.Predict("answer -> found")

    def metric(gold: Any, pred: Any, trace: object = None) -> bool:
        judges = dspy.Parallel(num_threads=2, disable_progress_bar=True)
        return all(each.found == "yes" for each in judges([(judge, {"answer": pred.found})] * 2))

    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        optimizer = LocalPromptOptimizer(metric, max_calls=40, method="ape", store=store)
        compiled = optimizer.compile(dspy.Predict("word -> found"), trainset=ROWS[:9])
    return {"test": compiled.detailed_results.test.best.mean, "judged": any("answer" in each for each in heard)}


class Two(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = dspy.Predict("word -> found"), dspy.Predict("word -> found")


def refusals() -> list[str]:
    model = localprompt.ScriptedLM(answer=lambda prompt, seed: "", name="nothing")
    mine, drawing = (
        dspy.LM("localprompt/nothing", engine=LocalPromptEngine(model), temperature=temperature)
        for temperature in (None, 1.0)
    )
    plain, said = dspy.Predict("word -> found"), []
    unlabelled = [dspy.Example(word="a").with_inputs("word")] * 9
    for lm, program, rows, arguments in (
        (mine, Two(), ROWS, {}),
        (mine, plain, ROWS, {"teacher": plain}),
        (mine, plain, ROWS[:3], {}),
        (mine, plain, unlabelled, {}),
        (mine, dspy.Predict("word, hint -> found"), ROWS, {}),
        (drawing, plain, ROWS, {}),
        (dspy.LM("openai/else", api_key="none"), plain, ROWS, {}),
    ):
        try:
            with dspy.context(lm=lm):
                LocalPromptOptimizer(right).compile(program, trainset=rows, **arguments)
        except ConfigError as error:
            said.append(str(error))
    try:
        LocalPromptOptimizer(right, objective="robust")
    except ConfigError as error:
        said.append(str(error))
    return said


def real(name: str, rows: Path, store: Path) -> dict[str, Any]:
    """What a search finds with a real model, held to the form of answers."""
    data = [dspy.Example(**json.loads(line)).with_inputs("message") for line in rows.read_text("utf-8").splitlines()]
    teams = tuple(sorted({row.team for row in data}))
    fields = {"message": (str, dspy.InputField()), "team": (Literal[teams], dspy.OutputField())}
    program = dspy.Predict(dspy.Signature(fields, "Name the team that answers the message."))

    def metric(gold: Any, pred: Any, trace: object = None) -> bool:
        return bool(gold.team == getattr(pred, "team", None))

    with localprompt.load_model(name, tune=False, n_ctx=2048, n_threads=2) as model:
        lm = dspy.LM("localprompt/it", engine=LocalPromptEngine(model), cache=False, max_tokens=16)
        with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
            optimizer = LocalPromptOptimizer(metric, max_calls=24, store=store)
            compiled = optimizer.compile(program, trainset=data[:4], valset=data[4:12])
            held = dspy.Evaluate(devset=data[5:12:2], metric=metric, num_threads=8, display_progress=False)(compiled)
    test = compiled.detailed_results.test.best
    return {"n": test.n, "test": test.mean, "dspy": held.score / 100, "instruction": compiled.signature.instructions}


def main() -> None:
    which, model, rows = sys.argv[1:]
    store = Path("store.db").absolute()
    if which == "real":
        print(json.dumps(real(model, Path(rows), store)))
        return
    shown = dspy.Predict(dspy.Signature("word -> found", "Say\nwhat it is."))
    shown.demos = [dspy.Example(word="beta1", found="gamma1")]
    for program in (shown, dspy.ChainOfThought("word -> found")):
        for adapter in (dspy.ChatAdapter(), dspy.JSONAdapter()):
            print(json.dumps(scripted(program, adapter, store)))
    print(json.dumps({"refused": refusals()}))
    print(json.dumps(judged_in_threads(store)))


if __name__ == "__main__":
    main()
