"""Chat templates with the features of today's families of models, in words of our own (`tests/chat_templates/`).

Control tokens, roles, order, what is refused, and how thoughts are opened and closed are as in the families; the
makers' own templates have more (tools, images) and other words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

BOS, EOS = "<s>", "</s>"
_FOLDER = Path(__file__).parent / "chat_templates"


@dataclass(frozen=True)
class Family:
    """A template, and what a chat with it should be."""

    name: str
    """The file's, without `.jinja`."""
    tokens: str
    """Control tokens of the vocabulary."""
    told: Mapping[str, object] = field(default_factory=dict)
    """What the template has to be told for an answer without thoughts."""
    then: str = ""
    """What stands behind that which it writes."""
    folds_system: bool = False
    """The system text has to stand in the first user turn."""
    as_parts: bool = False
    """Contents have to be lists of parts."""

    @property
    def template(self) -> str:
        """The template's text."""
        return (_FOLDER / f"{self.name}.jinja").read_text(encoding="utf-8")

    @property
    def control(self) -> tuple[str, ...]:
        """The control tokens, one by one."""
        return tuple(self.tokens.split())


_CHATML = "<|im_start|> <|im_end|>"
_GEMMA = "<bos> <start_of_turn> <end_of_turn>"
_MISTRAL = "<s> </s> [INST] [/INST] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [THINK] [/THINK]"
_DEEPSEEK = "<｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜>"
_GRANITE = "<|start_of_role|> <|end_of_role|> <|end_of_text|>"
_COMMAND = (
    "<BOS_TOKEN> <|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> <|SYSTEM_TOKEN|> <|USER_TOKEN|> <|CHATBOT_TOKEN|> "
    "<|START_THINKING|> <|END_THINKING|> <|START_RESPONSE|> <|END_RESPONSE|>"
)
_QUIET = {"enable_thinking": False}

FAMILIES = (
    Family("qwen2.5", _CHATML),
    Family("qwen3", _CHATML, told=_QUIET),
    Family("qwen3.5", _CHATML, told=_QUIET),
    Family("llama-3.x", "<|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|>"),
    Family("gemma-2", _GEMMA, folds_system=True),
    Family("gemma-3", _GEMMA),
    Family("gemma-4", "<bos> <|turn> <turn|> <|channel> <channel|> <|think|>", told=_QUIET),
    Family("mistral-v3", _MISTRAL, folds_system=True),
    Family("mistral-v7", _MISTRAL),
    Family("mistral-with-efforts", _MISTRAL, told={"reasoning_effort": "none"}),
    Family("phi-3", "<|system|> <|user|> <|assistant|> <|end|> </s>"),
    Family("phi-4", "<|im_start|> <|im_end|> <|im_sep|>"),
    Family(
        "gpt-oss",
        "<|start|> <|message|> <|end|> <|channel|> <|return|> <|constrain|> <|call|>",
        told={"reasoning_effort": "low"},
        then="<|channel|>final<|message|>",
    ),
    Family("deepseek-r1", _DEEPSEEK, then="\n</think>\n\n"),
    Family("deepseek-v3.1", _DEEPSEEK, told={"thinking": False}),
    Family("granite-3.3", _GRANITE, told={"thinking": False}),
    Family("granite-4", _GRANITE),
    Family("smollm2", _CHATML),
    Family("smollm3", _CHATML, told=_QUIET),
    Family("lfm2", "<s> <|im_start|> <|im_end|>"),
    Family("falcon-h1", "<s> <|im_start|> <|im_end|>"),
    Family("command-r7b", _COMMAND, told={"reasoning": False}, then="<|START_RESPONSE|>"),
    Family("command-r", _COMMAND),
    Family("olmo-2", "<s> </s> <|system|> <|user|> <|assistant|>"),
    Family("nemotron-nano", "<SPECIAL_10> <SPECIAL_11> <SPECIAL_12>", told=_QUIET),
    Family("jamba", "<s> <|bom|> <|eom|> <|system|> <|user|> <|assistant|>"),
    Family("glm-4.5", "[gMASK] <sop> <|system|> <|user|> <|assistant|> /nothink", told=_QUIET),
    Family("yi", _CHATML),
    Family("internlm", "<s> <|im_start|> <|im_end|>"),
    Family("chatml-that-never-opens-a-turn", _CHATML, then="<|im_start|>assistant\n"),
    Family("smolvlm", "<|im_start|> <end_of_utterance> <image>", as_parts=True),
    Family("seed-oss", "<s> </s>", told={"thinking_budget": 0}),
    Family(
        "kimi-k2-thinking",
        "<|im_system|> <|im_user|> <|im_assistant|> <|im_middle|> <|im_end|>",
        then="<think></think>",
    ),
)
