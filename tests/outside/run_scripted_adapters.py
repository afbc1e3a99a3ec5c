"""Asks adapters whose model is scripted; prints what came of each question as JSON.

python run_scripted_adapters.py FOLDER
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import dspy
import inside  # noqa: F401
import mlflow
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, GenerateConfig
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import ConfigurableField
from lm_eval.api.instance import Instance

import localprompt
from localprompt.adapters.dspy import LocalPromptEngine
from localprompt.adapters.inspect import LocalPromptAPI
from localprompt.adapters.langchain import ChatLocalPrompt
from localprompt.adapters.lm_eval import LocalPromptLM
from localprompt.adapters.mlflow import log_run
from localprompt.adapters.waves import SHARED, key_of

sys.path.append(str(Path(__file__).parents[1]))
import toy

REFUSED: dict[str, Any] = {"best_of": 2, "extra_body": {"n": 2}}


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / "replies.json").write_text('{"replies": {"": "yes"}}', encoding="utf-8")
    picture = [ContentText(text="What is this?"), ContentImage(image="data:image/png;base64,AA")]
    print(json.dumps(asked(folder, picture)))
    print(json.dumps(asked(folder, "x", prompt_logprobs=1)))
    found = localprompt.optimize(toy.task(), toy.model(), method="manual", store=folder / "store.db")
    with mlflow.start_run() as own:
        logged = log_run(found)
    parent = mlflow.get_run(logged.run_id).data.tags["mlflow.parentRunId"]
    print(json.dumps({"below": parent == own.info.run_id, "problem": logged.problem}))
    print(json.dumps(chosen()))
    print(json.dumps({name: asked(folder, "x", **{name: value})["error"] for name, value in REFUSED.items()}))
    print(json.dumps(chained()))
    print(json.dumps({"draws": drawn("Q:", "Q:", "Why?", "Q:")}))
    print(json.dumps(cached()))


def asked(folder: Path, content: Any, **settings: Any) -> dict[str, Any]:
    """What Inspect's provider returns, or raises."""
    provider = LocalPromptAPI(f"scripted:{folder / 'replies.json'}")
    question = provider.generate([ChatMessageUser(content=content)], [], "none", GenerateConfig(**settings))
    try:
        choice = asyncio.run(question).choices[0]
    except localprompt.LocalPromptError as error:
        return {"error": error.message}
    return {"text": choice.message.text}


def chosen() -> dict[str, Any]:
    """What Inspect gets for several choices, and how many of them are computed."""
    model = localprompt.ScriptedLM(answer=lambda prompt, seed: f"draw{seed}")
    localprompt.register_scheme("drawn", lambda text, **engine: model)
    texts = []
    for heat in (1.0, 0.0):
        config = GenerateConfig(num_choices=3, temperature=heat)
        output = asyncio.run(LocalPromptAPI("drawn:x").generate([ChatMessageUser(content="x")], [], "none", config))
        texts.append([choice.message.text for choice in output.choices])
    return {"texts": texts, "computed": model.n_generated, "calls": SHARED[key_of("drawn:x", {})].sizes}


def chained() -> dict[str, Any]:
    """What LangChain gets for a stop string, for parts and for calls, and how often it opens a model."""
    opened: list[dict[str, object]] = []
    refused = ""

    def load(text: str, **engine: object) -> localprompt.ScriptedLM:
        opened.append(engine)
        return localprompt.ScriptedLM(answer=lambda prompt, seed: f"{prompt} in Norway, not {engine}.")

    localprompt.register_scheme("mine", load)
    chat = ChatLocalPrompt(model="mine:it")
    set_llm_cache(InMemoryCache())
    settings = [ChatLocalPrompt(model="mine:it", engine={"kv_type": name}).invoke("x") for name in ("f16", "q8_0")]
    set_llm_cache(None)
    configured = chat.configurable_fields(temperature=ConfigurableField(id="heat"))
    for heat in (0.0, 0.5):
        configured.invoke("x", config={"configurable": {"heat": heat}})
    try:
        chat.invoke([AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])])
    except localprompt.LocalPromptError as error:
        refused = error.message
    return {
        "stopped": [chat.invoke("x", stop=stop).content for stop in ("No", ["No"])],
        "parts": chat.invoke([HumanMessage([{"type": "text", "text": "a"}, "b"])], stop=" in").content,
        "refused": refused,
        "opened": opened,
        "cached": settings[0].content == settings[1].content,
    }


def cached() -> dict[str, list[str]]:
    """What DSPy gives for one request again and again, and under one name for another model."""
    one = localprompt.ScriptedLM(answer=lambda prompt, seed: f"a{seed}")
    other = localprompt.ScriptedLM(answer=lambda prompt, seed: f"b{seed}")
    lm, again = (dspy.LM("localprompt/one", engine=LocalPromptEngine(model), temperature=1.0) for model in (one, other))
    rolled = [lm("x", rollout_id=number) for number in (1, 2)]
    return {"again": [*lm("x"), *lm("x"), *again("x")], "rolled": [text for (text,) in rolled]}


def drawn(*contexts: str) -> list[str]:
    """What the harness gets for contexts, of which it repeats those of a task with `repeats`."""
    how = {"do_sample": True, "temperature": 0.7, "seed": 5}
    asked = [Instance("generate_until", {}, (context, how), 0) for context in contexts]
    return LocalPromptLM(localprompt.ScriptedLM(answer=lambda prompt, seed: f"{prompt}{seed}")).generate_until(asked)


if __name__ == "__main__":
    main()
