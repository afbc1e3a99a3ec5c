"""APE, Automatic Prompt Engineer (Zhou et al. 2022, arXiv 2211.01910). Level 6.

1. Draw `queries` sets of `demos` worked examples from train; let the proposer guess the instruction behind each
   set, `per_query` times.
2. Clean and validate the guesses; count what is discarded by its reason.
3. Score all candidates on growing subsets of dev common to all, the seeds beside them; the best share goes on.
4. Measure the finalists and the seeds with the task's metric on all of dev.
5. If wanted, ask for `variants` of each of the `resample_keep` best with the same meaning, send them through 3 and 4
   against the incumbents, and repeat while the best score rises.

Differs from the paper and its code, each on purpose: the seeds take part, so the result is never worse on dev than they
are; candidates are compared on the same examples; scoring is greedy (the code samples at 0.7); the last word on dev has
the metric, also where log-probabilities chose the finalists, and these count a space that is a token before the answer;
proposals are validated, and a set of examples none of whose guesses can be used is asked about once more.
`docs/methods/ape.md` has all of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from localprompt.errors import ConfigError
from localprompt.optimizers import induction
from localprompt.optimizers.induction import Induction
from localprompt.optimizers.registry import Scales, optimizer
from localprompt.optimizers.settings import NO_TRAIN, AnyCount, Checked, Count, Must, Share, Shown, StageSizes, Weight
from localprompt.optimizers.worked_examples import SETS, Shots, other_way, starts
from localprompt.proposals.metaprompts import MetaPrompt, load
from localprompt.proposals.similarity import normalised
from localprompt.search.filtering import Score, Stages, filter_in_stages, measure_best_first
from localprompt.search.problem import Problem
from localprompt.search.proposer import Style
from localprompt.search.racing import Bandit, Pulls, ucb
from localprompt.search.ranking import search_key
from localprompt.search.rewording import reworded
from localprompt.types import Candidate, Evaluation, Example, Prompt, Sampling

Mode = Literal["forward", "fim", "cloze", "sir", "auto"]

TEMPLATES = {
    **induction.TEMPLATES,
    "fim": ("blank", "demos"),
    "cloze": ("demos",),
    "resample": ("instruction",),
    "resample_chat": ("instruction",),
}
"""Meta-prompt to its slots. In those for a chat the last paragraph is the opening of the answer."""

_FIM_PROBE = (
    ("She was born in the city of ", ", not far from the Eiffel Tower, and grew up in France.", "paris"),
    ("His favourite animal is the ", ", because it barks, guards the house and fetches sticks.", "dog"),
    ("They sell every fruit but the ", ", which is long and yellow and which monkeys love to peel.", "banana"),
)
"""Prefix, suffix and the word between them, which the suffix alone tells."""


@optimizer("ape", TEMPLATES)
@dataclass(frozen=True, slots=True)
class APE(Checked):
    """Hyperparameters of APE; the defaults spend about 800 short answers on 100 dev rows, 800 on worked examples."""

    SCALES: ClassVar[Scales] = {
        "example_sets": (1, 0.5),
        "queries": (2, 0.5),
        "per_query": (2, 0.5),
        "finalists": (1, 0.5),
    }
    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "shots": 0,
            "queries": 5,
            "per_query": 10,
            "demos": 5,
            "demo_chars": 100_000,
            "temperature": 0.9,
            "top_p": 0.9,
            "max_tokens": 50,
            "variants": 1,
            "tiebreak": False,
        }
    }
    """What paper or code state and can be set; sizes and threshold of the filter are stated by neither."""

    mode: Mode = "forward"
    """Where the instruction is guessed. `forward`: after the examples, the paper's way for its main results and the
    default here too, because every model can do it. `fim`: before them, with native fill-in-the-middle tokens, refused
    where a probe shows that the model cannot. `cloze`: before them, asked for in a chat. `sir`: forward guesses
    resampled by how well they explain other examples. `auto`: fim if the probe passes, else sir."""
    style: Style = "auto"
    """How forward and resampling ask. `raw`: plain text to continue, as the paper did. `chat`: a question with the
    opening of the answer written already. `auto`: chat where the proposer has a template. On a 1.5B model the guesses
    for antonyms scored .30 on average by chat and .12 raw: continuing plain text, a small model drifts into a story."""
    queries: Count = 8
    """Sets of demos. The code has 5 with 50 guesses each; more sets and fewer guesses give more variety for less."""
    per_query: Count = 6
    """Guesses per set: 48 in all, near the paper's 50."""
    demos: Count = 5
    """Worked examples per set, drawn without replacement (paper and code: 5); all of train where it has fewer."""
    demo_chars: Shown = 300
    """A longer text is shown with its middle left out: small models lose the question behind long examples."""
    shots: Shots = "auto"
    """Worked examples that candidates carry: the few-shot setting of paper and code (5 where its template has the slot,
    one set drawn by chance). Sets of them race first, with the best seed's instruction and alone. A number: every guess
    carries the best set of so many. `auto`: as many as are best; guesses are filtered without, which is cheap, and the
    finalists are measured with the best set too. 0: none, the paper's main results."""
    example_sets: Count = SETS
    """Orders in which train is dealt for such sets; 1 is cheap."""
    temperature: Weight = 0.9
    """Of the proposer; code: 0.9."""
    top_p: Share = 0.9
    """Of the proposer; code: 0.9."""
    max_tokens: Count = 50
    """A guess cut here is cut back to its last whole sentence or discarded; the code (50) keeps the fragment."""
    scoring: Literal["exec", "logprob"] = "exec"
    """`exec`: the task's metric, the paper's default, closer to test scores. `logprob`: log p(target), one prefill and
    no decoding; it chooses the finalists, the metric then decides among them."""
    norm: Literal["token", "sequence"] = "token"
    """Of logprob: the mean over the target's tokens (code) or their sum (paper)."""
    selection: Literal["filter", "ucb"] = "filter"
    """`filter`: stages of growing size. `ucb`: a bandit, the code's other option."""
    stages: StageSizes = (6, 18)
    """Fresh dev examples of each filter stage. The paper gives no sizes."""
    tiebreak: bool = True
    """Of candidates that the metric finds equal where the stage cuts, keep those under which the right answers are most
    probable. Not in the paper, which has hundreds of calls more to tell them apart."""
    keep: Share = 0.25
    """Share of the candidates that a stage lets through. The paper has a threshold and does not state it."""
    finalists: Count = 3
    """Candidates measured on all of dev."""
    ucb_rounds: AnyCount = 9
    """Rounds after every candidate was pulled once (code: 5 or 20, the first included)."""
    ucb_arms: Count = 4
    """Candidates pulled in a round (code: a third of them, or 50)."""
    ucb_examples: Count = 8
    """Dev examples per pull (code: 5 or 50)."""
    ucb_exploration: Weight = 1.0
    """Weight of the exploration bonus (code: 1.0), in units of the range: 1, or the spread seen for nats."""
    sir_examples: Count = 8
    """Train examples, not shown to the proposer where train is large enough, whose targets weigh the guesses."""
    sir_keep: Count = 24
    """Guesses resampled, without replacement."""
    sir_temperature: Annotated[float, Must("above 0", lambda value: value > 0)] = 0.25
    """Divides the mean token log-probability before it becomes a weight; lower trusts it more."""
    resample_rounds: AnyCount = 0
    """Maximum number of rounds of variants, while they help (paper: off by default, about 3 until nothing changes).
    Off: with a 1.5B on two tasks, two rounds cost 60 % more and gained nothing on test."""
    resample_keep: Count = 2
    """Best prompts that get variants."""
    variants: Count = 4
    """Variants of each of them."""
    templates: Path | None = None
    """Folder with your own meta-prompts: `.txt` files named like the shipped ones, which they replace."""

    def run(self, problem: Problem) -> None:
        """Search for the best instruction; everything stays with `problem`."""
        meta = load("ape", TEMPLATES, self.templates)
        if not problem.train:
            raise ConfigError("ape shows the proposer training examples and the task has none", NO_TRAIN)
        dev = problem.shuffled(problem.dev)
        seeds = starts(problem, self.shots, self.example_sets, dev)
        examples = seeds[len(problem.seeds) :]

        # 1, 2. Propose and validate.
        found = self._propose(problem, meta, examples)

        # 3, 4. Score on growing subsets, then the finalists on all of dev.
        finalists = self._select(problem, found, dev, beside=seeds)
        ranked = self._measure(problem, [*seeds, *finalists, *other_way(problem, finalists, examples)])

        # 5. Vary the best, while that helps.
        for round_ in range(self.resample_rounds):
            best = ranked[0][1]
            if best >= 1.0:
                break
            problem.begin(f"round {round_ + 1} of {self.resample_rounds}")
            incumbents = [prompt for prompt, _ in ranked]
            variants = self._resample(problem, meta, incumbents[: self.resample_keep])
            if not variants:
                break
            # Among themselves: the incumbents won on the very examples that the first stage would compare them on.
            finalists = self._select(problem, variants, dev)
            ranked = self._measure(problem, [*finalists, *other_way(problem, finalists, examples), *incumbents])
            if ranked[0][1] <= best:
                break

    def step(self, problem: Problem, ranked: Sequence[Evaluation]) -> list[Prompt]:
        """Return variants of the best prompts with an instruction, of which the best is first: the proposals of 5."""
        with_words = [each.prompt for each in ranked if each.prompt.instruction.strip()]
        return self._resample(problem, load("ape", TEMPLATES, self.templates), with_words[: self.resample_keep])

    def guesses(self, problem: Problem, examples: Sequence[Prompt] = ()) -> list[Prompt]:
        """Return usable guesses of the instruction behind worked examples of train: 1 and 2."""
        return self._propose(problem, load("ape", TEMPLATES, self.templates), examples)

    def _propose(self, problem: Problem, meta: dict[str, MetaPrompt], examples: Sequence[Prompt]) -> list[Prompt]:
        """Return the usable guesses, recorded; where `shots` is a number they carry the best of `examples`."""
        chats = problem.proposer.chats(self.style)
        mode = self._possible_mode(problem)
        asking = meta[mode if mode in ("fim", "cloze") else "induce_chat" if chats else "induce"]
        shown = [problem.minibatch(self.demos) for _ in range(self.queries)]
        drawn = [[(example, problem.rng.choice(example.targets)) for example in group] for group in shown]
        demos = examples[0].demos if examples and self.shots != "auto" else ()
        guessing = Induction(meta, asking, self.demo_chars, self._sampling, self.per_query)
        found = [child for _, child in guessing.guesses(problem, drawn, [Prompt("", demos)] * len(drawn))]
        problem.record([Candidate(prompt, mode) for prompt in found])
        if mode == "sir":
            found = self._importance_resampled(problem, found, shown)
        return found

    def _possible_mode(self, problem: Problem) -> Mode:
        """Return the mode, `auto` decided; refuse what the proposer cannot do."""
        if self.mode == "cloze" and not problem.proposer.has_chat:
            raise ConfigError("mode=cloze needs a proposer with a chat template", "use mode=forward")
        if self.mode not in ("fim", "auto"):
            return self.mode
        if problem.proposer.has_fim and fills_blanks(problem):
            return "fim"
        if self.mode == "auto":
            return "sir"
        has_tokens = problem.proposer.has_fim
        reason = "could not fill the blank in plain sentences" if has_tokens else "has no fill-in-the-middle tokens"
        raise ConfigError(f"mode=fim is not possible: the proposer {reason}", "use mode=sir or mode=forward")

    def _importance_resampled(
        self, problem: Problem, found: list[Prompt], shown: Sequence[Sequence[Example]]
    ) -> list[Prompt]:
        """Return `sir_keep` of the guesses, drawn without replacement, those that explain more examples more often.

        An instruction before its examples has probability p(instruction) p(examples | instruction). Forward guesses
        stand in for draws from the first factor; the second, the mean token log-probability of targets that the
        proposer was not shown, divided by `sir_temperature`, is the log-weight. It is taken from the task LM, which has
        to follow the instruction, also where another model proposes. The ratio of the two proposal distributions is
        left out. Gumbel noise on log-weights and keeping the largest is drawing without replacement
        (Efraimidis & Spirakis 2006).
        """
        if not found:
            return []
        seen = {example.id for group in shown for example in group}
        unseen = [example for example in problem.train if example.id not in seen]
        pool = unseen if len(unseen) >= self.sir_examples else problem.train
        examples = problem.rng.sample(pool, min(self.sir_examples, len(pool)))
        keys = [each.mean / self.sir_temperature + _gumbel(problem) for each in problem.likelihood(found, examples)]
        order = sorted(range(len(found)), key=lambda i: -keys[i])[: self.sir_keep]
        return [found[i] for i in sorted(order)]

    def _resample(self, problem: Problem, meta: dict[str, MetaPrompt], parents: Sequence[Prompt]) -> list[Prompt]:
        template = meta["resample_chat" if problem.proposer.chats(self.style) else "resample"]
        pairs = reworded(problem, template, parents, self._sampling, self.variants)
        problem.record([Candidate(child, "resample", (parent.id,)) for parent, child in pairs])
        return [child for _, child in pairs]

    def _select(
        self, problem: Problem, prompts: Sequence[Prompt], dev: Sequence[Example], *, beside: Sequence[Prompt] = ()
    ) -> list[Prompt]:
        """Return the finalists of `prompts`; the filter scores those `beside` them in every stage too."""
        likelihood: Score = partial(problem.likelihood, norm=self.norm)
        score = likelihood if self.scoring == "logprob" else problem.evaluate
        if self.selection == "filter":
            stages = Stages(self.stages, self.keep, self.finalists, likelihood if self.tiebreak else None)
            return filter_in_stages(score, prompts, dev, stages, protected=beside)
        bandit = Bandit(ucb, self.ucb_rounds, Pulls(self.ucb_arms, self.ucb_examples, self.ucb_exploration))
        return bandit.run(score, prompts, dev, problem.rng)[: self.finalists]

    def _measure(self, problem: Problem, prompts: Sequence[Prompt]) -> list[tuple[Prompt, float]]:
        """Return the prompts with their dev means, best first, each once.

        The seeds are given first, so that a search cut short by its budget is never worse than they are.
        """
        unique = list({prompt.id: prompt for prompt in prompts}.values())
        return [(each.prompt, each.mean) for each in sorted(measure_best_first(problem, unique), key=search_key)]

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.max_tokens, temperature=self.temperature, top_p=self.top_p)


def fills_blanks(problem: Problem) -> bool:
    """Return whether the proposer fills at least two of three blanks in plain sentences.

    Vocabularies carry fill-in-the-middle tokens also where the model was never trained on them; what it writes then is
    noise.
    """
    if problem.is_rehearsal:
        return True
    prompts = [problem.proposer.fim(prefix, suffix) for prefix, suffix, _ in _FIM_PROBE]
    replies = problem.proposer.complete(prompts, Sampling(max_tokens=12))
    hits = [word in normalised(reply[0].text).split() for reply, (_, _, word) in zip(replies, _FIM_PROBE, strict=True)]
    return sum(hits) >= 2


def _gumbel(problem: Problem) -> float:
    return -math.log(max(problem.rng.expovariate(1.0), 1e-300))
