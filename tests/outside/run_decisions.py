"""Asks a server three questions through DSPy's client `typesafe`; prints values and probabilities as JSON.

python run_decisions.py URL MODEL
"""

from __future__ import annotations

import json
import sys

from dspy._vendor.lm15.providers.typesafe import TypeSafeLM
from dspy._vendor.lm15.types import Config, Message, Request

QUESTIONS = {
    "refund": {"type": "boolean", "description": "Is it about a refund?"},
    "team": {"enum": ["billing", "shipping"], "description": "Who answers?"},
    "anger": {"type": "integer", "enum": [0, 1, 2], "description": "How angry?"},
}


def main() -> None:
    url, name = sys.argv[1:]
    schema = {"type": "object", "properties": QUESTIONS, "required": list(QUESTIONS), "additionalProperties": False}
    form = Config(response_format={"type": "json_schema", "schema": schema})
    asked = Request(model=name, messages=(Message.user("the ticket is about a refund"),), config=form)
    part = TypeSafeLM(api_key="none", base_url=url).complete(asked).message.parts[0]
    print(json.dumps({"value": part.value, "probabilities": part.probabilities}))


if __name__ == "__main__":
    main()
