"""Asks a model of localprompt through LangChain; prints as JSON what it answered.

python run_langchain_adapter.py MODEL ROWS.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import inside  # noqa: F401
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

import localprompt
from localprompt.adapters.langchain import ChatLocalPrompt
from localprompt.errors import ConfigError


def main() -> None:
    name, rows = sys.argv[1:]
    documents = [json.loads(line) for line in Path(rows).read_text(encoding="utf-8").splitlines()]
    prompt = ChatPromptTemplate([("user", "Which team answers this message? {message}")])
    with localprompt.load_model(name, tune=False, n_ctx=1024, n_threads=1) as model:
        chat = ChatLocalPrompt(model=model, max_tokens=4)
        answers = (prompt | chat | StrOutputParser()).batch([{"message": each["message"]} for each in documents])
        print(json.dumps({"answers": answers}))
    chat = ChatLocalPrompt(model=localprompt.ScriptedLM(answer=lambda prompt, seed: f"{prompt}:{seed} and more"))
    found = chat.invoke([("system", "be brief"), ("user", "hello")], stop=[" and"], seed=5)
    print(json.dumps({"text": found.content, "usage": dict(found.usage_metadata), "meta": found.response_metadata}))
    try:
        chat.invoke("hello", tools=[])
    except ConfigError as error:
        print(json.dumps({"refused": str(error)}))


if __name__ == "__main__":
    main()
