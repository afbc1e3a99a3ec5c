"""Reasoning models asked to answer at once: what their chat templates are told, and how the answer is opened. Level 2.

Scores and short answers are those of the first tokens of an answer, so no thought may come before it. Templates have
variables against thoughts, each family its own. Some open a thought all the same, and some leave it to the model to
choose between thought and answer (harmony's channels): what they write before an answer that is already there says how
an answer begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from localprompt.engine.thoughts import close, has_mark, reply_mark

_OFF: Mapping[str, object] = {
    "enable_thinking": False,
    "thinking": False,
    "reasoning": False,
    "thinking_budget": 0,
    "thinking_mode": "disabled",
    "thinking_option": "off",
}
_EFFORTS = ("none", "no_think", "minimal", "low")
"""From the least: names of efforts that templates compare with."""
_EFFORT = "reasoning_effort"
_TAG = re.compile(r"\{[{%][^{}]*[%}]\}")
_MAX_OPENING = 200
"""Characters between the opening of a turn and an answer."""


def without_thoughts(source: str) -> dict[str, object]:
    """Return values of the variables by which chat templates are asked for an answer without thoughts.

    Args:
        source: the template; an effort is the least that it names beside `reasoning_effort`, else `low`.
    """
    tags = "".join(tag for tag in _TAG.findall(source) if _EFFORT in tag)
    named = [effort for effort in _EFFORTS if f"'{effort}'" in tags or f'"{effort}"' in tags]
    return {**_OFF, _EFFORT: named[0] if named else "low"}


def answer_opening(opened: str, answered: str, control: re.Pattern[str]) -> str:
    """Return what must stand after a turn's opening so that an answer comes next; empty if that is nothing.

    It is never blank space alone, which would be a token of its own where the answer brings it along (` Yes`).

    Args:
        opened: what a template writes to have a turn continued.
        answered: what it writes before the answer in a turn that has one, the messages before being the same.
        control: matches control tokens.
    """
    closed = close(opened)
    if answered.startswith(closed):
        rest = answered.removeprefix(closed)
        return rest if len(rest) <= _MAX_OPENING and (control.search(rest) or has_mark(rest)) else ""
    reply = reply_mark(answered)  # the answer has no thought before it, and the opened turn has
    there = next(n for n in range(len(reply), -1, -1) if closed.endswith(reply[:n]))
    return reply[there:]
