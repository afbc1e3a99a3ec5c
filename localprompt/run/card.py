"""A result as a small static piece of HTML, for notebooks. Level 7. Model text is shown as text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from localprompt.search.observer import pluralize
from localprompt.types import Prompt

_PRE = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;margin:.2em 0 .6em;text-align:left"


def card(heading: str, prompts: Iterable[tuple[str, Prompt]], facts: Iterable[tuple[str, str]]) -> str:
    """Return the card: a heading, prompts under their titles with their worked examples folded away, and facts by name.

    It has no script, asks nothing of any network, and takes its colours from the page that it stands in.
    """
    boxes = "".join(_prompt(title, prompt) for title, prompt in prompts)
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in facts
    )
    made = (
        '<div style="border:1px solid;border-radius:4px;padding:.6em .8em;max-width:60em">'
        f'<p style="margin:0 0 .4em"><strong>{escape(heading)}</strong></p>{boxes}<table>{rows}</table></div>'
    )
    return made.encode("utf-8", "backslashreplace").decode()  # half a character is no text that a notebook can keep


def demos_text(prompt: Prompt) -> str:
    """Return the worked examples of a prompt, a blank line between them; empty where it has none."""
    return "\n\n".join(
        "\n".join([*(f"{name}: {value}" for name, value in demo.inputs.items()), f"=> {demo.output}"])
        for demo in prompt.demos
    )


def _prompt(title: str, prompt: Prompt) -> str:
    text = escape(prompt.instruction) if prompt.instruction else "<em>(no instruction)</em>"
    demos = demos_text(prompt)
    folded = f'<pre style="{_PRE}">{escape(demos)}</pre></details>' if demos else ""
    summary = f"<details><summary>{pluralize(len(prompt.demos), 'worked example')}</summary>" if demos else ""
    return f'<div>{escape(title)}</div><pre style="{_PRE}">{text}</pre>{summary}{folded}'
