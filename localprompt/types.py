"""Shared records. Level 0.

All records are frozen. A list of results always has the order and length of the list of requests it answers.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Literal

from localprompt.errors import ConfigError

FinishReason = Literal["stop", "length", "failed"]
"""failed: the request killed the engine and has no answer."""
LabelScore = Literal["sum", "token", "byte", "prefix", "calibrated", "batch"]
"""How the log-likelihoods of labels are compared."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task."""

    id: str
    """Stable within the task: split and row number, such as `train:17`. An id without its split gets it in front."""
    inputs: Mapping[str, str]
    """Slot name to text."""
    targets: tuple[str, ...]
    """All acceptable answers, the preferred one first. Never empty."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A worked example inside a prompt."""

    inputs: Mapping[str, str]
    output: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an optimiser searches for: an instruction and, optionally, worked examples."""

    instruction: str
    demos: tuple[Demo, ...] = ()

    @property
    def id(self) -> str:
        """Hash of the content, 16 hexadecimal digits: equal prompts have equal ids in every process."""
        if not self.demos:
            return _id_of_instruction(self.instruction)
        return _hash([self.instruction, [[sorted(d.inputs.items()), d.output] for d in self.demos]])


@functools.lru_cache(maxsize=1024)
def _id_of_instruction(instruction: str) -> str:
    """Return the id of a prompt without demos; a search asks for those of the same prompts again and again."""
    return _hash([instruction, []])


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt with its lineage."""

    prompt: Prompt
    op: str
    """How it came about: `seed`, `forward`, `fim`, `cloze`, `sir`, `resample`, ..."""
    parents: tuple[str, ...] = ()
    """Ids of the prompts it was made from."""
    is_proposed: bool = True
    """False for a prompt that somebody gave: nobody proposed it, so it counts in no share of proposals."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One prompt on one example."""

    example_id: str
    prediction: str | None
    """The parsed answer; None where the completion had none, which scores 0 and is counted."""
    score: float
    """The task's metric in [0, 1]; nats (at most 0) where the evaluation was by log-likelihood of the target."""
    margin: float | None = None
    """Nats between the right label and the best wrong one; None for generated answers."""
    failed: bool = False
    """True if the model was not to be asked: the request kills the engine or is longer than the context. Scores 0, or
    as improbable as anything where the score is in nats."""
    completion: str | None = None
    """What the model wrote, out of which `prediction` was taken; None where a label was chosen by likelihood."""

    @property
    def written(self) -> str | None:
        """What the model wrote as people and proposers should see it, reasoning included; the label that was chosen.

        None where there is nothing to be seen.
        """
        return (self.completion or "").strip() or self.prediction


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One prompt on several examples; `outcomes` has the order and length of the examples."""

    prompt: Prompt
    outcomes: tuple[Outcome, ...]

    @property
    def scores(self) -> tuple[float, ...]:
        """Scores, same order and length as `outcomes`."""
        return tuple(outcome.score for outcome in self.outcomes)

    @property
    def mean(self) -> float:
        """Mean score."""
        return math.fsum(self.scores) / len(self.outcomes)

    @property
    def dev_scores(self) -> tuple[float, ...]:
        """Scores on examples of dev."""
        return tuple(outcome.score for outcome in self.outcomes if outcome.example_id.startswith("dev:"))

    @property
    def n_failed(self) -> int:
        """Examples that the model could not be asked about."""
        return sum(outcome.failed for outcome in self.outcomes)

    @property
    def n_unparsed(self) -> int:
        """Completions that held no answer; where there was none at all that is something else."""
        return sum(outcome.prediction is None and not outcome.failed for outcome in self.outcomes)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63  # the engine is told no more


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


_OF_SAMPLING: Sequence[tuple[str, Callable[[object], bool], str]] = (
    *((name, _is_whole, "a whole number below 2^63") for name in ("max_tokens", "top_k")),
    *((name, _is_number, "a finite number") for name in ("temperature", "top_p", "min_p")),
    ("stop", lambda stop: isinstance(stop, tuple) and all(isinstance(text, str) for text in stop), "a list of texts"),
    ("grammar", lambda grammar: isinstance(grammar, str), "text"),
)
"""Field, test and what it must be."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn. `temperature` 0 is greedy decoding; `top_k` 0, `top_p` 1 and `min_p` 0 mean no cut."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these strings, also where it lies across token borders."""
    grammar: str = ""
    """A regular expression that the whole completion matches; empty = free. Syntax of Rust's `regex`, Unicode, no
    look-around. Generation ends ("stop") where nothing can follow or, where the text may end, the model ends it. What a
    stop string, `max_tokens` or a vocabulary that lacks the bytes cuts off matches only as far as it goes. What begins
    with `{`, as no expression does, is a JSON schema that the completion follows."""

    def __post_init__(self) -> None:
        stop: object = self.stop
        if isinstance(stop, list):
            object.__setattr__(self, "stop", tuple(stop))
        for name, is_kind, kind in _OF_SAMPLING:
            if not is_kind(getattr(self, name)):
                raise ConfigError(f"{name} of a Sampling is {getattr(self, name)!r:.100}, not {kind}")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, not {self.max_tokens}")
        if not self.temperature >= 0:
            raise ConfigError(f"temperature must be at least 0, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must lie in (0, 1], not {self.top_p}")
        if not 0 <= self.min_p < 1:
            raise ConfigError(f"min_p must lie in [0, 1), not {self.min_p}")
        if self.top_k < 0:
            raise ConfigError(f"top_k must be at least 0, not {self.top_k}")
        if any(not stop for stop in self.stop):
            raise ConfigError("a stop string must not be empty")


@dataclass(frozen=True, slots=True)
class Loglikelihood:
    """How probable a continuation is after its context."""

    logprob: float
    """Nats, summed over the tokens that reach into the continuation."""
    n_tokens: int
    greedy: bool
    """True if each of these tokens was the most probable one."""
    failed: bool = False
    """True if the request killed the engine; then the other fields say nothing."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A completion. `text` holds neither the stop string nor half a UTF-8 character; it is empty where it failed."""

    text: str
    n_tokens: int
    """Tokens drawn, the end-of-generation token not counted."""
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Cumulative work of an engine."""

    tokens_requested: int = 0
    """Tokens that one-request-at-a-time evaluation would have decoded."""
    tokens_decoded: int = 0
    """Rows that went through the model: each token prefix once."""
    output_rows: int = 0
    """Rows whose logits were computed."""
    decode_calls: int = 0
    seconds: float = 0.0
    """Seconds inside score and generate."""
    tokens_reused: int = 0
    """Rows that did not go through the model because an earlier call had left them in the memory."""
    tokens_drafted: int = 0
    """Rows that were guesses what a completion says."""
    tokens_accepted: int = 0
    """Of these, the tokens that it did say: so many rows of one completion needed no decode call of their own."""

    def __add__(self, other: EngineStats) -> EngineStats:
        return EngineStats(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; its role is held to the three, since templates write roles as control tokens.

    Raises:
        ConfigError: for another role, or a content that is no text.
    """

    role: Literal["system", "user", "assistant"]
    content: str

    def __post_init__(self) -> None:
        if self.role not in ("system", "user", "assistant"):
            raise ConfigError(f"the role of a message is {self.role!r:.100}, not system, user or assistant")
        if not isinstance(self.content, str):
            raise ConfigError(f"the content of a message is {self.content!r:.100}, not text")


@dataclass(frozen=True, slots=True)
class Spend:
    """What a run has used so far. Counted logically: a cached answer costs what it cost."""

    tokens_requested: int = 0
    """As one-at-a-time evaluation would decode them."""
    tokens_decoded: int = 0
    """What the engine did: nothing for an answer that was known, and a prefix again where a call is cut in chunks."""
    calls: int = 0
    """Model calls: one for each (prompt, example) evaluated or text asked for."""
    seconds: float = 0.0
    answers: int = 0
    """Single answers of a model: each label's probability is one, each completion is one."""
    answers_cached: int = 0
    """Answers that were known already and computed nothing."""
    tokens_computed: int = 0
    """Each distinct prefix of a call once, and what was drawn: a pure function of the requests. 0 in runs of before."""

    def __add__(self, other: Spend) -> Spend:
        return Spend(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def hit_rate(self) -> float:
        """Share of the answers that were known already; 0.0 where there were none."""
        return self.answers_cached / self.answers if self.answers else 0.0


@dataclass(frozen=True, slots=True)
class Discard:
    """A proposal that was not used, and why."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The best prompt so far, from some point of a search on."""

    tokens_requested: int
    """What the search had spent then."""
    prompt_id: str
    mean: float
    """Its score on dev then."""
    n: int
    """Dev examples behind the score."""
    tokens_computed: int = 0
    """As in `Spend`."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of an operator: some new prompts and the race that they were in."""

    operator: str
    tokens: int
    """Computed, as in `Spend`."""
    proposals: int
    """New prompts that took part in the race."""
    gain: float
    """By how much the best mean score on dev rose."""


@dataclass(frozen=True, slots=True)
class OperatorTotal:
    """What the turns of an operator were together."""

    operator: str
    turns: int
    proposals: int
    tokens: int
    share: float
    """Of the tokens of all turns."""
    gain: float
    """Sum of the gains of its turns."""

    @staticmethod
    def of(turns: Sequence[Turn]) -> list[OperatorTotal]:
        """Return the totals of all operators, by first turn."""
        spent = sum(turn.tokens for turn in turns)
        totals = []
        for name in dict.fromkeys(turn.operator for turn in turns):
            mine = [turn for turn in turns if turn.operator == name]
            tokens, proposals = sum(turn.tokens for turn in mine), sum(turn.proposals for turn in mine)
            gain = math.fsum(turn.gain for turn in mine)
            totals.append(OperatorTotal(name, len(mine), proposals, tokens, tokens / spent if spent else 0.0, gain))
        return totals


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the proposer was asked, and its replies as it wrote them."""

    prompt: str
    replies: tuple[str, ...]
    kind: str = ""
    """Name of the meta-prompt; empty where it is not known."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What became of the replies to one request for prompts."""

    accepted: tuple[str, ...] = ()
    discarded: tuple[Discard, ...] = field(default=())
