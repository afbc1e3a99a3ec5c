"""ProTeGi, prompt optimisation with textual gradients (Pryzant et al. 2023, arXiv 2305.03495). Level 6.

1. Begin with the seed prompts; where these are empty, let `init_prompts` guesses from worked examples race with them.
   Draw one minibatch of train for all prompts of the beam, and answer it with each of them.
2. Cut each prompt's errors into groups; for each group ask the proposer why they happened: the gradients.
3. For each gradient ask for edits: better instructions, given the prompt, the errors and the reason.
4. Ask for paraphrases of the edits and of the prompts themselves.
5. Keep some successors of each prompt, at random.
6. Let successors and beam race on `race_on`; the best are the next beam. Measure the first of it on all of dev.
7. Repeat; at the end measure all of the beam on all of dev, the best first.

Differs from the paper and its code, each on purpose: reasons are sampled one a reply instead of listed in one; nothing
is asked about a prompt without errors; only the instruction is replaced, never text inside a text; the race draws
common examples, by default of dev and not of train; the seeds and each round's best are measured on dev, which chooses
the winner, so that a run cut short has a result; groups of errors are disjoint, unless told otherwise; proposals are
validated. `docs/methods/protegi.md` has all of it beside the paper's and the code's values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import ClassVar, Literal

from localprompt.errors import ConfigError
from localprompt.optimizers import induction
from localprompt.optimizers.induction import Induction, Init
from localprompt.optimizers.mistakes import Case, cases, deal
from localprompt.optimizers.registry import Scales, optimizer
from localprompt.optimizers.settings import NO_TRAIN, AnyCount, Checked, Count, Share, Shown, Weight
from localprompt.optimizers.worked_examples import SETS, Shots, other_way, starts
from localprompt.proposals.metaprompts import MetaPrompt, flat, in_a_row, inputs_of, load, shortened
from localprompt.proposals.parsing import ReplyFormat, common_stop, listed, parse_instruction, tagged, without_chatter
from localprompt.proposals.similarity import normalised
from localprompt.search.filtering import measure_best_first
from localprompt.search.problem import Problem, not_shown
from localprompt.search.proposer import Request, Style, children
from localprompt.search.racing import Pulls, RaceName, race
from localprompt.search.ranking import best_first
from localprompt.search.rewording import reading_of, reworded
from localprompt.types import Candidate, Evaluation, Generation, Prompt, Sampling

_INSTRUCTION, _ERRORS = ("instruction", "errors"), ("errors",)
TEMPLATES = {
    **induction.TEMPLATES,
    "error": ("inputs", "given", "right"),
    "labels": ("labels",),
    "gradient": _INSTRUCTION,
    "gradient_chat": _INSTRUCTION,
    "gradient_empty": _ERRORS,
    "gradient_empty_chat": _ERRORS,
    "edit": (*_INSTRUCTION, "reason"),
    "edit_chat": (*_INSTRUCTION, "reason"),
    "edit_empty": (*_ERRORS, "reason"),
    "edit_empty_chat": (*_ERRORS, "reason"),
    "paraphrase": ("instruction",),
    "paraphrase_chat": ("instruction",),
}
"""Meta-prompt to its slots. In those for a chat the last paragraph is the opening of the answer. `empty`: for a prompt
without an instruction, of which nothing can be said that it leaves out."""
TAG = "instruction"
"""In chats an edited instruction stands in this tag."""
_FEW_CHARS = 80
"""Texts of errors are shortened to this before errors are left out of a request that does not fit."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """Why a prompt made some mistakes, in the proposer's words."""

    parent: Prompt
    errors: Sequence[Case]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Search:
    """What a search knows."""

    problem: Problem
    meta: Mapping[str, MetaPrompt]
    chats: bool

    def template(self, name: str, parent: Prompt | None = None) -> MetaPrompt:
        """Return a meta-prompt for a chat or for plain text, and for a parent with or without an instruction."""
        kind = "" if parent is None or parent.instruction.strip() else "_empty"
        return self.meta[f"{name}{kind}{'_chat' if self.chats else ''}"]


@optimizer("protegi", TEMPLATES)
@dataclass(frozen=True, slots=True)
class ProTeGi(Checked):
    """Hyperparameters of ProTeGi; the defaults spend 1400 short answers on 100 dev rows, 700 on worked examples."""

    rounds: Count = 3
    """Times the beam is expanded (paper and code: 6; the paper saw the best prompts after about 3)."""
    beam: Count = 3
    """Prompts that survive a round (paper and code: 4)."""
    minibatch: Count = 24
    """Train examples per round, the same for all of the beam (paper and code: 64)."""
    groups: Count = 2
    """Groups of errors per prompt (code: 4)."""
    errors: Count = 3
    """Errors per group (paper and code: 4)."""
    gradients: Count = 2
    """Reasons per group (paper: 4, code: 1)."""
    disjoint: bool = True
    """Groups of a prompt share errors only where these are too few, and there are no more groups than errors. False:
    each is drawn from all of them (code), so one error fills all groups."""
    edits: Count = 1
    """New instructions per reason (paper and code: 1)."""
    paraphrases: AnyCount = 1
    """Of each edit and of each prompt of the beam (paper and code: 2)."""
    successors: Count = 6
    """Kept, at random, of what each prompt gave rise to: its edits, and paraphrases of them and of itself (paper and
    code: 8)."""
    spread: bool = True
    """A round with fewer prompts than the beam has places gives each of them as many times more groups and successors.
    Without it a single seed has a third of a round. Paper and code: no."""
    scorer: Literal["exec", "likelihood"] = "exec"
    """What races compare. `exec`: the task's metric. `likelihood`: the mean log-probability of the right answer's
    tokens (code: of its last token; the paper saw no gain); the metric decides at the end all the same."""
    selection: RaceName = "ucb"
    """The race (paper: UCB was best; code: uniform unless told otherwise). See `localprompt/search/racing.py`."""
    race_on: Literal["dev", "train"] = "dev"
    """Whose examples races score on (paper and code: train). Those of dev were not shown to the proposer, and the last
    measurement, on all of dev, needs their scores anyway."""
    evaluations: Count = 180
    """Scores, one per prompt and example, that a race may take (code: 2048; paper: 12 to 50 per prompt)."""
    arms_per_round: Count = 4
    """Prompts per round of `ucb`, `ucb-e` and `thompson` (code: 8)."""
    examples_per_pull: Count = 5
    """Examples per pull of them (code: 32)."""
    exploration: Weight = 1.0
    """Weight of the bonus of `ucb`, `a` of `ucb-e`, in units of the range of scores (paper: 2.0, code: 1.0)."""
    temperature: Weight = 0.9
    """Of gradients, edits and paraphrases (paper: 1.0, code: 0.7)."""
    top_p: Share = 0.95
    """Of them (paper and code: 1): the rare words of a small quantised model are noise."""
    max_tokens: Count = 100
    """Of each of them (code: 1024)."""
    shown_chars: Shown = 300
    """A longer reason or text of an error is shown with its middle left out (paper and code: whole)."""
    style: Style = "auto"
    """How the proposer is asked. `chat`: a question with the opening of the answer written already. `raw`: plain text
    to continue. `auto`: chat where the proposer has a template."""
    init: Init = "auto"
    """Where the first beam comes from. `seeds`: the task (paper and code, which always begin with a prompt by hand).
    `induce`: guesses from worked examples too. `auto`: guesses where all seeds are empty: what is wrong with no prompt
    at all is a question that a small model answers with a wrong theory."""
    init_prompts: Count = 12
    """Guesses."""
    init_demos: Count = 5
    """Worked examples behind a guess."""
    init_tokens: Count = 50
    """Of a guess."""
    shots: Shots = "auto"
    """Worked examples of the prompts that it starts with, besides the seeds: the best of several sets, with the best
    seed's instruction and on their own. `auto`: the best number. New prompts carry their parent's. 0: none (paper)."""
    example_sets: Count = SETS
    """Orders in which train is dealt for such sets; 1 is cheap."""
    templates: Path | None = None
    """Folder with your own meta-prompts: `.txt` files named like the shipped ones, which they replace."""

    REMOVED: ClassVar[Mapping[str, object]] = {"sampling": "random", "rejection_errors": 16, "rejection_pool": 16}
    SCALES: ClassVar[Scales] = {
        "example_sets": (1, 0.5),
        "rounds": (1, 0.5),
        "evaluations": (40, 0.5),
        "init_prompts": (3, 0.5),
    }
    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "shots": 0,
            "rounds": 6,
            "beam": 4,
            "minibatch": 64,
            "groups": 4,
            "errors": 4,
            "gradients": 4,
            "disjoint": False,
            "paraphrases": 2,
            "successors": 8,
            "spread": False,
            "race_on": "train",
            "evaluations": 2048,
            "arms_per_round": 8,
            "examples_per_pull": 32,
            "exploration": 2.0,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 1024,
            "shown_chars": 100_000,
            "init": "seeds",
        }
    }

    def run(self, problem: Problem) -> None:
        """Search for the best instruction; everything stays with `problem`."""
        search = _Search(problem, load("protegi", TEMPLATES, self.templates), problem.proposer.chats(self.style))
        if not problem.train:
            raise ConfigError("protegi learns from errors on training examples and the task has none", NO_TRAIN)
        begun = starts(problem, self.shots, self.example_sets)
        beam = best_first(measure_best_first(problem, begun))[: self.beam]
        if induction.is_wanted(self.init, problem):
            sampling = replace(self._sampling, max_tokens=self.init_tokens)
            guessing = Induction(search.meta, search.template("induce"), self.shown_chars, sampling)
            if found := guessing.first(problem, self.init_prompts, self.init_demos):
                beam = self._select(problem, [*beam, *found])
        for round_ in range(1, self.rounds + 1):
            problem.begin(f"round {round_} of {self.rounds}")
            if problem.evaluate(beam[:1])[0].mean >= 1.0:
                problem.note("nothing to gain, every answer on dev is right")
                return

            if new := self._expanded(search, beam):
                # 6. They race with the beam.
                beam = self._select(problem, [*beam, *new])

        # 7. The last word has the metric, on all of dev.
        measure_best_first(problem, [*beam, *other_way(problem, beam[:1], begun[len(problem.seeds) :])])

    def step(self, problem: Problem, ranked: Sequence[Evaluation]) -> list[Prompt]:
        """Return the successors of the best prompts, the best of which stands first: 1 to 5."""
        search = _Search(problem, load("protegi", TEMPLATES, self.templates), problem.proposer.chats(self.style))
        return self._expanded(search, [each.prompt for each in ranked[: self.beam]])

    def _expanded(self, search: _Search, beam: Sequence[Prompt]) -> list[Prompt]:
        """Return the successors of a beam, recorded."""
        problem = search.problem
        # 1. One minibatch for all of the beam.
        everything = cases(problem, beam, problem.minibatch(self.minibatch, beam))
        mistakes = [[case for case in each if case.is_error] for each in everything]
        if not any(mistakes):
            problem.note("no errors in the minibatch, so there are only paraphrases, no gradients")

        # 2, 3, 4. Gradients, edits, paraphrases: each one call for all of the beam.
        share = math.ceil(self.beam / len(beam)) if self.spread else 1
        gradients = self._gradients(search, self._groups(search, beam, mistakes, self.groups * share))
        edits = self._edits(search, gradients)
        paraphrases = self._paraphrases(search, beam, edits)

        # 5. Successors of each prompt.
        pools = [[new for origin, new in (*edits, *paraphrases) if origin == parent] for parent in beam]
        n = self.successors * share
        return [new for pool in pools for new in (pool if len(pool) <= n else problem.rng.sample(pool, n))]

    def _groups(
        self, search: _Search, beam: Sequence[Prompt], mistakes: Sequence[Sequence[Case]], n: int
    ) -> list[Gradient]:
        """Return at most `n` groups of errors per prompt, of which nothing is said yet."""
        rng, asked = search.problem.rng, list[Gradient]()
        for parent, wrong in zip(beam, mistakes, strict=True):
            if self.disjoint:
                groups = deal((rng.sample(wrong, len(wrong)) for _ in count()), self.errors, min(n, len(wrong)))
            else:
                groups = [rng.sample(wrong, min(self.errors, len(wrong))) for _ in range(n if wrong else 0)]
            asked += [Gradient(parent, group) for group in groups]
        return asked

    def _gradients(self, search: _Search, asked: Sequence[Gradient]) -> list[Gradient]:
        """Return the reasons that the proposer sees for each group of errors.

        Each group is asked about `gradients` times and each reply is one reason: all replies share the work of reading
        the request, and small models repeat themselves in a list. Reasons are no proposals.
        """
        requests = [self._request(search, "gradient", each) for each in asked]
        openings = [search.template("gradient", each.parent).turns[1] if search.chats else "" for each in asked]

        def read(i: int, reply: Generation) -> list[str]:
            return [shortened(flat(text), self.shown_chars) for text in reasons_in(reply, openings[i])]

        sampling = replace(self._sampling, stop=("\n\n",) if search.chats else ("\n",))
        remarks = search.problem.proposer.remarks(requests, sampling, read, n=self.gradients)
        return [
            replace(each, reason=reason)
            for each, found in zip(asked, remarks, strict=True)
            for reason in _different(found.accepted)[: self.gradients]
        ]

    def _edits(self, search: _Search, gradients: Sequence[Gradient]) -> list[tuple[Prompt, Prompt]]:
        """Return new prompts that heed the gradients, each behind the prompt of the beam that it comes from."""
        if not gradients:
            return []
        proposer, texts = search.problem.proposer, [each.parent.instruction for each in gradients]
        readings = [reading_of(text, chats=search.chats, tag=TAG) for text in texts]
        room = proposer.room_to_reword(texts, self.max_tokens)
        requests = [
            Request(self._request(search, "edit", each, room), reading, each.parent)
            for each, reading in zip(gradients, readings, strict=True)
        ]
        sampling = replace(self._sampling, max_tokens=room, stop=() if search.chats else common_stop(readings))
        fixed = "\n".join({search.template("edit", each.parent).fixed: None for each in gradients})
        proposals = proposer.propose(requests, sampling, fixed, n=self.edits)
        pairs = children(requests, proposals)
        search.problem.record([Candidate(new, "edit", (parent.id,)) for parent, new in pairs])
        return pairs

    def _paraphrases(
        self, search: _Search, beam: Sequence[Prompt], edits: Sequence[tuple[Prompt, Prompt]]
    ) -> list[tuple[Prompt, Prompt]]:
        """Return edits and beam in other words, each behind the prompt of the beam that it comes from."""
        origins = {**{prompt.id: prompt for prompt in beam}, **{new.id: parent for parent, new in edits}}
        # No tag: after one that is open already a 1.5B copied half of the sentences it was to say in other words, after
        # an opening in words 1 of 32.
        template, sources = search.template("paraphrase"), [*(new for _, new in edits), *beam]
        pairs = reworded(search.problem, template, sources, self._sampling, self.paraphrases)
        search.problem.record([Candidate(new, "paraphrase", (source.id,)) for source, new in pairs])
        return [(origins[source.id], new) for source, new in pairs]

    def _request(self, search: _Search, name: str, asked: Gradient, room: int | None = None) -> str:
        """Return the request with as much of the errors as fits the context beside `room` tokens to generate."""
        proposer, template = search.problem.proposer, search.template(name, asked.parent)
        values = {"instruction": asked.parent.instruction, "reason": asked.reason}  # not all of them have a place

        def versions() -> Iterator[str]:
            yield proposer.request(template, errors=self._shown(search, asked.errors, self.shown_chars), **values)
            for n in range(len(asked.errors), -1, -1):  # the list of outputs goes last
                few = self._shown(search, asked.errors[: max(n, 1)], _FEW_CHARS, lists=n > 0)
                yield proposer.request(template, errors=few, **values)

        return proposer.first_fitting(versions(), room or self.max_tokens)

    def _shown(self, search: _Search, errors: Sequence[Case], chars: int, *, lists: bool = True) -> str:
        blocks = [
            search.meta["error"].fill(
                inputs=inputs_of(each.example, chars), given=each.given(chars, "(none)"), right=each.right(chars)
            )
            for each in errors
        ]
        if lists and search.problem.outputs:
            blocks.append(search.meta["labels"].fill(labels=in_a_row(search.problem.outputs)))
        return "\n\n".join(blocks)

    def _select(self, problem: Problem, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return the next beam, best first."""
        examples = problem.shuffled(not_shown(problem.train if self.race_on == "train" else problem.dev, prompts))
        pulls = Pulls(self.arms_per_round, self.examples_per_pull, self.exploration)
        rule = race(self.selection, len(prompts), self.beam, self.evaluations, pulls)
        score = problem.likelihood if self.scorer == "likelihood" else problem.evaluate
        return rule.run(score, prompts, examples, problem.rng)[: self.beam]

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.max_tokens, temperature=self.temperature, top_p=self.top_p)


def reasons_in(reply: Generation, opening: str) -> list[str]:
    """Return the reasons that a reply gives: in `<reason>` tags, in a list, or else all of it as one.

    `opening` is the beginning of the reply that stood in the request; it belongs to a reason that is all of the reply.
    Without one, in plain text, a reason is one line.
    """
    found = tagged(reply.text, "reason") or listed(reply.text)
    if not found and normalised(without_chatter(reply.text)):
        whole = f"{opening} {reply.text.lstrip()}" if opening else reply.text
        found = [parse_instruction(replace(reply, text=whole), ReplyFormat("paragraph" if opening else "line"))[0]]
    return [text for text in found if normalised(text)]


def _different(texts: Sequence[str]) -> list[str]:
    """Return the texts that are no near-copies of one before."""
    different: dict[str, str] = {}
    for text in texts:
        different.setdefault(normalised(text), text)
    return list(different.values())
