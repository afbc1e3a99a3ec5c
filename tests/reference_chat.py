"""The renderer that makers of chat templates write for, in a few lines: the settings of transformers' Jinja.

They are those of `apply_chat_template`: trimmed blocks, loop controls, a `generation` tag whose body is a call block,
`tojson` that escapes and sorts nothing, `raise_exception`, `strftime_now`; `tools` and `documents` are None where there
are none. It knows nothing of the package it judges but the date.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localprompt.engine.chat import DATE


class _Trained(Extension):
    """`{% generation %}`: its body is rendered as the body of a call."""

    tags = frozenset({"generation"})  # type: ignore[assignment]

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Any) -> Any:
        return caller()


def reference(
    source: str, turns: Sequence[dict[str, Any]], variables: Mapping[str, object], *, is_open: bool = True
) -> str:
    """Return what a template writes of turns, each a `role` and a `content`; among the variables may be `tools`.

    Raises:
        jinja2.TemplateError: if the template refuses them.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Trained, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, ensure_ascii=False, indent=None, separators=None, sort_keys=False: (
        json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    )
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = DATE.strftime
    template = environment.from_string(source)
    given: dict[str, object] = {"tools": None, "documents": None, **variables}
    return template.render(messages=list(turns), add_generation_prompt=is_open, **given)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
