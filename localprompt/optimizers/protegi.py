"""ProTeGi, prompt optimisation with textual gradients (Pryzant et al. 2023, arXiv 2305.03495). Level 5.

1. Draw one minibatch of train for all prompts of the beam, and answer it with each of them.
2. Cut each prompt's errors into groups; for each group ask the proposer why they happened: the gradients.
3. For each gradient ask for edits: better instructions, given the prompt, the errors and the reason.
4. Ask for paraphrases of the edits and of the prompts themselves.
5. Keep some successors of each prompt, at random or those that do best on its errors.
6. Let successors and beam race on dev; the best are the next beam. Measure the first of it on all of dev.
7. Repeat; at the end measure all of the beam on all of dev.

Differs from the paper and its code, each on purpose: reasons are sampled one a reply instead of listed in one; nothing
is asked about a prompt without errors; only the instruction is replaced, never text inside a text; the race draws
common examples; the seeds and each round's best are measured on dev, so that a run cut short has a result; proposals
are validated. `docs/methods/protegi.md` has all of it beside the paper's and the code's values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from localprompt.errors import ConfigError
from localprompt.metaprompts import MetaPrompt, load, shortened, worked
from localprompt.optimizers.registry import optimizer
from localprompt.problem import Problem
from localprompt.proposing import (
    MAX_CHARS,
    Forbidden,
    Reading,
    instruction_in,
    listed,
    normalised,
    tagged,
    without_chatter,
)
from localprompt.racing import Pulls, RaceName, draw_order, race
from localprompt.selection import Score, rank
from localprompt.types import Candidate, Discard, Example, Generation, Message, Outcome, Prompt, Proposal, Sampling

TEMPLATES = {
    "error": ("inputs", "given", "right"),
    "labels": ("labels",),
    "gradient": ("instruction", "errors"),
    "gradient_chat": ("instruction", "errors"),
    "edit": ("instruction", "errors", "reason"),
    "edit_chat": ("instruction", "errors", "reason"),
    "paraphrase": ("instruction",),
    "paraphrase_chat": ("instruction",),
}
"""Meta-prompt to its slots. In those for a chat the last paragraph is the opening of the answer."""

TAG = "instruction"
"""In chats a new instruction stands in this tag."""
NO_INSTRUCTION = "(There is no instruction yet: the model sees the input alone.)"
"""Shown in place of an empty one."""
INPUTS = MetaPrompt("inputs", "{{inputs}}")
FEW_CHARS = 80
"""Texts of errors are shortened to this before errors are left out of a request that does not fit."""


@dataclass(frozen=True, slots=True)
class _Mistake:
    """A train example that a prompt got wrong."""

    example: Example
    given: str


@dataclass(frozen=True, slots=True)
class _Gradient:
    """Why a prompt made some mistakes, in the proposer's words."""

    parent: Prompt
    mistakes: tuple[_Mistake, ...]
    reason: str


@optimizer("protegi")
@dataclass(frozen=True, slots=True)
class ProTeGi:
    """Hyperparameters of ProTeGi; the defaults spend about 1400 short answers on a dev split of 100 rows."""

    rounds: int = 3
    """Times the beam is expanded (paper and code: 6; the paper saw the best prompts after about 3)."""
    beam: int = 3
    """Prompts that go on after a round (paper and code: 4)."""
    minibatch: int = 24
    """Train examples a round, the same for all of the beam (paper and code: 64)."""
    groups: int = 2
    """Groups of errors a prompt (code: 4)."""
    errors: int = 3
    """Errors a group (paper and code: 4)."""
    gradients: int = 2
    """Reasons a group (paper: 4, code: 1)."""
    edits: int = 1
    """New instructions a reason (paper and code: 1)."""
    paraphrases: int = 1
    """Of each edit and of each prompt of the beam (paper and code: 2)."""
    successors: int = 6
    """Kept of each prompt's edits and their paraphrases (paper and code: 8)."""
    sampling: Literal["random", "rejection"] = "random"
    """How they are kept. `random`: the paper's way. `rejection`: those that do best on the prompt's own errors, the
    code's option."""
    rejection_errors: int = 16
    """Errors, at most, of rejection (code: 16)."""
    rejection_pool: int = 16
    """Successors, drawn at random, that rejection compares at most (code: 16)."""
    spread: bool = True
    """A round with fewer prompts than the beam has places gives each of them as many times more groups and successors.
    Without it a single seed has a third of a round. Paper and code: no."""
    scorer: Literal["exec", "likelihood"] = "exec"
    """What races compare. `exec`: the task's metric. `likelihood`: the mean log-probability of the right answer's
    tokens (code: of its last token; the paper saw no gain); the metric decides at the end all the same."""
    selection: RaceName = "ucb"
    """The race (paper: UCB was best; code: uniform unless told otherwise). See `localprompt/racing.py`."""
    evaluations: int = 180
    """Scores, one a prompt and dev example, that a race may take (code: 2048; paper: 12 to 50 a prompt)."""
    arms_per_round: int = 4
    """Prompts a round of `ucb`, `ucb-e` and `thompson` (code: 8)."""
    examples_per_pull: int = 5
    """Dev examples a pull of them (code: 32)."""
    exploration: float = 1.0
    """Weight of the bonus of `ucb`, `a` of `ucb-e`, in units of the spread of scores (code: 1.0)."""
    temperature: float = 0.9
    """Of gradients, edits and paraphrases (paper: 1.0, code: 0.7)."""
    top_p: float = 0.95
    """Of them (paper and code: 1): the rare words of a small quantised model are noise."""
    max_tokens: int = 100
    """Of each of them (code: 1024)."""
    shown_chars: int = 300
    """A longer reason or text of an error is shown with its middle left out (paper and code: whole)."""
    style: Literal["auto", "raw", "chat"] = "auto"
    """How the proposer is asked. `chat`: a question with the opening of the answer written already. `raw`: plain text
    to continue. `auto`: chat where the proposer has a template."""
    templates: Path | None = None
    """Folder with meta-prompts of your own, `.txt` files named as the shipped ones; missing ones are the shipped."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "rounds": 6,
            "beam": 4,
            "minibatch": 64,
            "groups": 4,
            "errors": 4,
            "gradients": 4,
            "paraphrases": 2,
            "successors": 8,
            "spread": False,
            "evaluations": 2048,
            "arms_per_round": 8,
            "examples_per_pull": 32,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 1024,
            "shown_chars": 100_000,
        }
    }

    def __post_init__(self) -> None:
        counts = ("rounds", "beam", "minibatch", "groups", "errors", "gradients", "edits", "successors", "evaluations")
        more = ("rejection_errors", "rejection_pool", "arms_per_round", "examples_per_pull", "max_tokens")
        for name in (*counts, *more):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("paraphrases", "exploration", "temperature"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        self._require("top_p", 0 < self.top_p <= 1, "above 0 and at most 1")
        self._require("shown_chars", self.shown_chars >= 20, "at least 20")

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ConfigError(
                f"the setting {name} must be {what}, not {getattr(self, name)}", "see the method's settings"
            )

    def run(self, problem: Problem) -> None:
        """Search for the best instruction; everything stays with `problem`."""
        writer = _Writer(problem, load("protegi", TEMPLATES, self.templates), self, self._chats(problem))
        if not problem.train:
            raise ConfigError("protegi learns from errors on train and the task has no train split", "add one")
        problem.observer.plan(self._planned(problem))
        problem.observer.stage(f"measuring {len(problem.seeds)} seed prompts on all of dev")
        beam = rank(problem.evaluate(problem.seeds))[: self.beam]
        for round_ in range(1, self.rounds + 1):
            name = f"round {round_} of {self.rounds}"
            problem.observer.stage(f"{name}: measuring the best of the beam on all of dev")
            if problem.evaluate(beam[:1])[0].mean >= 1.0:
                problem.observer.note(f"{name}: nothing to gain, every answer on dev is right")
                return

            # 1. One minibatch for all of the beam.
            problem.observer.stage(f"{name}: looking for errors of {len(beam)} prompts")
            mistakes = self._mistakes(problem, beam)
            if not any(mistakes):
                problem.observer.note(f"{name}: no error in the minibatch, so there are no gradients, only paraphrases")

            # 2, 3, 4. Gradients, edits, paraphrases: each one call for all of the beam.
            share = math.ceil(self.beam / len(beam)) if self.spread else 1
            gradients = writer.gradients(beam, mistakes, self.groups * share)
            edits = writer.edits(gradients)
            paraphrases = writer.paraphrases(beam, edits)

            # 5, 6. Successors of each prompt race with the beam.
            pools = [[new for new, origin in (*edits, *paraphrases) if origin == parent] for parent in beam]
            successors = self._successors(problem, pools, mistakes, self.successors * share)
            if successors:
                problem.observer.stage(f"{name}: {len(successors)} successors race with the beam of {len(beam)}")
                beam = self._select(problem, [*beam, *successors])

        # 7. The last word has the metric, on all of dev.
        problem.observer.stage(f"measuring {len(beam)} prompts on all of dev")
        problem.evaluate(beam)

    def _mistakes(self, problem: Problem, beam: Sequence[Prompt]) -> list[list[_Mistake]]:
        """Return what each prompt got wrong on one minibatch, in the order of the beam.

        Everything below the full score is wrong: with a metric such as F1 few answers score exactly 0.
        """
        examples = problem.minibatch(self.minibatch)
        return [
            [_mistake(ex, out) for ex, out in zip(examples, evaluation.outcomes, strict=True) if out.score < 1.0]
            for evaluation in problem.evaluate(beam, examples)
        ]

    def _successors(
        self,
        problem: Problem,
        pools: Sequence[Sequence[Prompt]],
        mistakes: Sequence[Sequence[_Mistake]],
        n: int,
    ) -> list[Prompt]:
        """Return at most `n` of each pool, the successors of one prompt."""
        kept: list[Prompt] = []
        for pool, wrong in zip(pools, mistakes, strict=True):
            if len(pool) <= n:
                kept += pool
            elif self.sampling == "random" or not wrong:
                kept += problem.rng.sample(pool, n)
            else:
                tried = problem.rng.sample(pool, min(len(pool), max(n, self.rejection_pool)))
                shown = problem.rng.sample(wrong, min(len(wrong), self.rejection_errors))
                scored = self._score(problem)(tried, [mistake.example for mistake in shown])
                kept += [each.prompt for each in sorted(scored, key=lambda each: -each.mean)[:n]]
        return kept

    def _select(self, problem: Problem, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return the next beam, best first."""
        examples = draw_order(problem.dev, problem.rng, by_label=bool(problem.labels))
        pulls = Pulls(self.arms_per_round, self.examples_per_pull, self.exploration)
        rule = race(self.selection, len(prompts), self.beam, self.evaluations, pulls)
        return rule.rank(self._score(problem), prompts, examples, problem.rng)[: self.beam]

    def _score(self, problem: Problem) -> Score:
        return partial(problem.likelihood, norm="token") if self.scorer == "likelihood" else problem.evaluate

    def _chats(self, problem: Problem) -> bool:
        if self.style == "chat" and not problem.has_chat:
            raise ConfigError("style=chat needs a proposer with a chat template", "use style=raw")
        return self.style == "chat" or (self.style == "auto" and problem.has_chat)

    def _planned(self, problem: Problem) -> int:
        """Return about how many model calls the search takes, for whoever waits."""
        calls, n_parents = len(problem.seeds) * len(problem.dev), min(len(problem.seeds), self.beam)
        for _ in range(self.rounds):
            share = math.ceil(self.beam / n_parents) if self.spread else 1
            n_gradients = n_parents * self.groups * share * self.gradients
            n_edits = n_gradients * self.edits
            calls += n_parents * min(self.minibatch, len(problem.train)) + n_gradients + n_edits
            calls += (n_edits + n_parents) * self.paraphrases
            n_arms = n_parents * (self.successors * share + 1)
            calls += min(max(self.evaluations, n_arms), n_arms * len(problem.dev)) + len(problem.dev)
            n_parents = self.beam
        return calls + (self.beam - 1) * len(problem.dev)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Asks the proposer. Every method makes one call for everything that it is given."""

    problem: Problem
    meta: Mapping[str, MetaPrompt]
    settings: ProTeGi
    chats: bool

    def gradients(
        self, beam: Sequence[Prompt], mistakes: Sequence[Sequence[_Mistake]], n_groups: int
    ) -> list[_Gradient]:
        """Return the reasons that the proposer sees for the mistakes of each prompt, `n_groups` groups a prompt.

        Each group is asked about `gradients` times and each reply is one reason: all replies share the work of reading
        the request, and small models repeat themselves in a list.
        """
        asked = [
            (parent, group)
            for parent, wrong in zip(beam, mistakes, strict=True)
            for group in _groups(self.problem.rng.sample(wrong, len(wrong)), self.settings.errors, n_groups)
        ]
        if not asked:
            return []
        self.problem.observer.stage(f"asking about {len(asked)} groups of errors")
        template = self._template("gradient")
        prompts = [
            self._fitted(template, group, self.settings.max_tokens, instruction=_shown(parent))
            for parent, group in asked
        ]
        opening = template.turns[1] if self.chats else ""
        sampling = self._sampling(("\n\n",) if self.chats else ("\n",))
        found: list[_Gradient] = []
        for (parent, group), replies in zip(
            asked, self.problem.complete(prompts, sampling, n=self.settings.gradients), strict=True
        ):
            reasons = self._reasons(replies, opening)
            found += [_Gradient(parent, tuple(group), reason) for reason in reasons]
        return found

    def edits(self, gradients: Sequence[_Gradient]) -> list[tuple[Prompt, Prompt]]:
        """Return new prompts that heed the gradients, each with the prompt of the beam that it comes from."""
        if not gradients:
            return []
        self.problem.observer.stage(f"asking for {len(gradients) * self.settings.edits} edits")
        template = self._template("edit")
        parents = [gradient.parent for gradient in gradients]
        room = self._room(parents)
        prompts = [
            self._fitted(template, each.mistakes, room, instruction=_shown(each.parent), reason=each.reason)
            for each in gradients
        ]
        proposals = self._proposed(template, prompts, parents, self.settings.edits)
        return self._recorded("edit", proposals, parents, parents)

    def paraphrases(
        self, beam: Sequence[Prompt], edits: Sequence[tuple[Prompt, Prompt]]
    ) -> list[tuple[Prompt, Prompt]]:
        """Return the edits and the beam in other words, each with the prompt of the beam that it comes from."""
        pairs = [*edits, *((prompt, prompt) for prompt in beam if prompt.instruction.strip())]
        if not pairs or not self.settings.paraphrases:
            return []
        self.problem.observer.stage(f"asking for {len(pairs) * self.settings.paraphrases} paraphrases")
        template = self._template("paraphrase")
        sources = [source for source, _ in pairs]
        prompts = [self._rendered(template, instruction=source.instruction) for source in sources]
        proposals = self._proposed(template, prompts, sources, self.settings.paraphrases)
        return self._recorded("paraphrase", proposals, sources, [origin for _, origin in pairs])

    def _reasons(self, replies: Sequence[Generation], opening: str) -> list[str]:
        """Return at most `gradients` different reasons; replies without one are counted as discarded."""
        reasons: dict[str, str] = {}
        for reply in replies:
            found = [shortened(text, self.settings.shown_chars) for text in reasons_in(reply, opening)]
            if not found:
                self.problem.discard(Proposal((), (Discard(reply.text, "no reason"),)))
            for reason in found:
                reasons.setdefault(normalised(reason), reason)
        return list(reasons.values())[: self.settings.gradients]

    def _proposed(
        self, template: MetaPrompt, prompts: Sequence[str], parents: Sequence[Prompt], n: int
    ) -> list[Proposal]:
        """Return one proposal a parent."""
        is_flat = all("\n" not in parent.instruction for parent in parents)
        stop = () if self.chats else ("\n",) if is_flat else ("\n\n",)
        sampling = replace(self._sampling(stop), max_tokens=self._room(parents))
        readings = [self._reading(parent.instruction) for parent in parents]
        forbidden = Forbidden(self.problem.train, self.problem.labels, template.fixed)
        return self.problem.propose(prompts, readings, sampling, forbidden, n=n)

    def _reading(self, instruction: str) -> Reading:
        """Return how a new instruction is read: as many sentences or paragraphs as the old one has are allowed."""
        max_chars = max(MAX_CHARS, 2 * len(instruction))
        if self.chats:
            return Reading("whole" if "\n\n" in instruction else "paragraph", max_chars, tag=TAG)
        # After the sentence that it was asked for, a small model that continues plain text tells a story.
        return Reading("line" if ". " in instruction else "sentence", max_chars)

    def _room(self, parents: Sequence[Prompt]) -> int:
        """Return tokens enough for any new wording of the longest instruction: two characters a token are few."""
        return max(self.settings.max_tokens, max(len(parent.instruction) for parent in parents) // 2)

    def _recorded(
        self, op: str, proposals: Sequence[Proposal], parents: Sequence[Prompt], origins: Sequence[Prompt]
    ) -> list[tuple[Prompt, Prompt]]:
        found = []
        for proposal, parent, origin in zip(proposals, parents, origins, strict=True):
            for text in proposal.accepted:
                prompt = replace(parent, instruction=text)
                self.problem.record([Candidate(prompt, op, (parent.id,))])
                found.append((prompt, origin))
        return found

    def _fitted(self, template: MetaPrompt, mistakes: Sequence[_Mistake], room: int, **values: str) -> str:
        """Return the request with as much of the mistakes as fits the context beside `room` tokens to generate."""

        def versions() -> Iterator[str]:
            yield self._rendered(template, errors=self._errors(mistakes, self.settings.shown_chars), **values)
            for n in range(len(mistakes), 0, -1):
                yield self._rendered(template, errors=self._errors(mistakes[:n], FEW_CHARS), **values)

        return self.problem.first_fitting(versions(), room)

    def _errors(self, mistakes: Sequence[_Mistake], limit: int) -> str:
        names = ", ".join(self.problem.labels)
        blocks = [self.meta["labels"].fill(labels=shortened(names, self.settings.shown_chars))] if names else []
        for mistake in mistakes:
            inputs = worked(INPUTS, mistake.example, "", limit)
            given, right = shortened(mistake.given, limit), shortened(mistake.example.targets[0], limit)
            blocks.append(self.meta["error"].fill(inputs=inputs, given=given, right=right))
        return "\n\n".join(blocks)

    def _template(self, name: str) -> MetaPrompt:
        return self.meta[f"{name}_chat" if self.chats else name]

    def _rendered(self, template: MetaPrompt, **values: str) -> str:
        if not self.chats:
            return template.fill(**values)
        user, opening = template.turns
        return self.problem.chat([Message("user", user.fill(**values))], opening)

    def _sampling(self, stop: tuple[str, ...]) -> Sampling:
        settings = self.settings
        return Sampling(settings.max_tokens, temperature=settings.temperature, top_p=settings.top_p, stop=stop)


def reasons_in(reply: Generation, opening: str) -> list[str]:
    """Return the reasons that a reply gives: in `<reason>` tags, in a list, or else all of it as one.

    `opening` is the beginning of the reply that stood in the request; it belongs to a reason that is all of the reply.
    """
    found = tagged(reply.text, "reason") or listed(reply.text)
    if not found and normalised(without_chatter(reply.text)):
        whole = f"{opening} {reply.text.lstrip()}" if opening else reply.text
        found = [instruction_in(replace(reply, text=whole), Reading("paragraph"))[0]]
    return [text for text in found if normalised(text)]


def _mistake(example: Example, outcome: Outcome) -> _Mistake:
    return _Mistake(example, outcome.prediction if outcome.prediction is not None else "(none)")


def _groups(wrong: Sequence[_Mistake], size: int, n: int) -> list[list[_Mistake]]:
    """Return up to `n` groups, at most one an error, that share errors only where there are not enough of them."""
    n, size = min(n, len(wrong)), min(size, len(wrong))
    around = [*wrong] * (n * size // max(1, len(wrong)) + 1)
    return [around[i * size : (i + 1) * size] for i in range(n)]


def _shown(prompt: Prompt) -> str:
    return prompt.instruction if prompt.instruction.strip() else NO_INSTRUCTION
