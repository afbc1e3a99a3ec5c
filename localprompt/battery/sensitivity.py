"""Sensitivity of models to the wording of a prompt, from a user's arguments to the result. Level 8.

Models are measured one after another; only one is in memory. The first one writes the variants that a model writes, and
all are asked the same ones. Every answer is in the store, so whoever calls again after an interruption, with the same
arguments, waits for what is missing and gets what an undisturbed call would have given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from localprompt.battery.analyse import analyse, rank_agreement
from localprompt.battery.ask import Size, ask, expected, find_size, make_variants
from localprompt.battery.results import ModelSensitivity, Sensitivity, VariantText
from localprompt.battery.scorers import Scorer, scorers_of
from localprompt.battery.verdict import verdict
from localprompt.errors import ConfigError, TaskError, nearest
from localprompt.interface.arguments import checked
from localprompt.run.measuring import MeasuringCost, begun, check_models, cost_of, identity_of, told_apart
from localprompt.run.models import Named
from localprompt.run.results import Split
from localprompt.run.session import Session, StoreSource, open_session, opened_store
from localprompt.run.spec import TaskSource, check_count, loaded_task, order_of, rows_of
from localprompt.search.observer import Observer, SilentObserver, pluralize
from localprompt.stats.power import smallest_detectable_gain
from localprompt.stats.variance import VarianceShares, variance_shares
from localprompt.tasks import Task
from localprompt.tasks.copies import inputs_of, n_different, numbered
from localprompt.types import Prompt
from localprompt.variants.families import FAMILIES, find_families
from localprompt.variants.given import Given
from localprompt.variants.variant import Family, Variant

KIND = "sensitivity"
"""Of study in the store."""


@dataclass(frozen=True, slots=True)
class Battery:
    """What is measured, the models apart."""

    task: Task
    """With one seed prompt, the original, and the rows as `test`."""
    split: Split
    size: str
    sizes: Size
    families: tuple[Family, ...]
    scorers: tuple[Scorer, ...]
    seed: int
    unlabelled: bool

    @property
    def most_variants(self) -> int:
        """As many as the size allows, and all prompts that were given."""
        given = sum(len(family.prompts) for family in self.families if isinstance(family, Given))
        return self.sizes.variants + given


@checked
def sensitivity(  # noqa: PLR0913 - options of a user
    task: TaskSource,
    models: Sequence[Named],
    *,
    prompts: Sequence[str | Prompt] = (),
    size: str = "standard",
    families: Sequence[str | Family] | None = None,
    scorers: Sequence[str] | None = None,
    split: Split = "test",
    seed: int = 0,
    unlabelled: bool = False,
    engine: Mapping[str, object] = MappingProxyType({}),
    allow_code: bool = False,
    store: StoreSource = None,
    use_cache: bool = True,
    observer: Observer | None = None,
) -> Sensitivity:
    """Return how far changes of a prompt that should not matter move the answers of models.

    Args:
        task: a task file or a loaded task.
        models: by card name, path, or loaded; what is loaded here is closed here. The first writes what a model writes.
        prompts: the original, by default the task's first seed prompt, and others that mean the same: variants too.
        size: `quick`, `standard` or `full`: 12, 30 or 100 variants on 60, 200 or 500 rows.
        families: of variants, by name or your own; None: all that apply.
        scorers: ways to take answers, by name; the task's own is always the first. None: all of the size.
        split: whose rows are measured.
        seed: of everything random.
        unlabelled: the rows have no right answers, or they are not to be used: flips, consistency, entropy and POSIX.
        engine: settings of the engine, by name; where models are loaded here.
        allow_code: permits a task file to name a metric in Python, which runs code.
        store: where answers and the result are kept: open, by path, or the default one.
        use_cache: False: compute everything, and touch no store; the result has no id.
        observer: told what happens.

    Raises:
        ConfigError, TaskError: for unknown names, a task without such rows, models without names; before anything is
            loaded.
        ModelError: if a model cannot be found, loaded or run.
        ContextOverflow: if a row does not fit a model's context with the original; nothing was computed with it then.
        StoreError: if the store cannot be read or written.
    """
    plan = plan_battery(
        task,
        prompts=prompts,
        size=size,
        families=families,
        scorers=scorers,
        split=split,
        seed=seed,
        unlabelled=unlabelled,
        allow_code=allow_code,
    )
    check_models(models, engine)
    observer = observer or SilentObserver()
    with ExitStack() as stack:
        home = stack.enter_context(opened_store(store)) if use_cache else None
        found, variants, notes = list[ModelSensitivity](), list[Variant](), list[str]()
        study = ""
        for number, model in enumerate(models, start=1):
            if len(models) > 1:
                observer.note(f"model {number} of {len(models)}")
            with open_session(model, store=home, engine=engine, use_cache=use_cache, observer=observer) as session:
                observer.note(_cost(plan, session).in_words)
                if not variants:
                    if home is not None:
                        study = begun(home, KIND, models, engine, _facts(plan, session))
                        stack.enter_context(home.studies.ending(study))
                    variants, notes = _made(plan, session, observer)
                answered = ask(session, variants, plan.scorers, plan.sizes, observer)
                observer.stage("computing measures")
                who, spend = identity_of(session.lm.lm), session.budget.spend
                found.append(analyse(who, variants, answered, spend, unlabelled=plan.unlabelled))
        names = told_apart([each.model for each in found])
        found = [replace(each, model=name) for each, name in zip(found, names, strict=True)]
        result = _result(plan, study, variants, found, notes)
        if home is not None:
            home.studies.update(study, status="finished", result=result.to_json())
        return result


def expected_costs(
    plan: Battery,
    models: Sequence[Named],
    engine: Mapping[str, object] = MappingProxyType({}),
    observer: Observer | None = None,
) -> list[MeasuringCost]:
    """Return about what measuring takes with each model where no answer is known.

    Only rates are measured, where they are not known. Variants are taken to be as long as the original; what a model
    writes for them, some hundred tokens, is not counted.

    Raises:
        ConfigError, ModelError, ContextOverflow: as `sensitivity`.
    """
    check_models(models, engine)
    costs = []
    for model in models:
        with open_session(model, engine=engine, use_cache=False, observer=observer) as session:
            costs.append(_cost(plan, session))
    return costs


def _cost(plan: Battery, session: Session) -> MeasuringCost:
    original = Variant("original", "as it is", plan.task.seeds[0], plan.task)
    session.evaluator(plan.task).check_fit(original.prompt, plan.task.test)
    works = expected(session, original, plan.scorers, plan.sizes, plan.most_variants)
    return cost_of(session, works, plan.most_variants + 1, len(plan.task.test))


@checked
def plan_battery(  # noqa: PLR0913 - as above
    task: TaskSource,
    *,
    prompts: Sequence[str | Prompt] = (),
    size: str = "standard",
    families: Sequence[str | Family] | None = None,
    scorers: Sequence[str] | None = None,
    split: Split = "test",
    seed: int = 0,
    unlabelled: bool = False,
    allow_code: bool = False,
) -> Battery:
    """Return what `sensitivity` with these arguments measures; nothing is loaded but the task.

    Raises:
        ConfigError, TaskError: as `sensitivity`.
    """
    check_count("seed", seed, least=0)
    sizes = find_size(size)
    named = [family for family in families or () if isinstance(family, str)]
    of_names = {family.name: family for family in find_families(named)}
    loaded = loaded_task(task, allow_code=allow_code, unlabelled=unlabelled)
    if len(loaded.labels) == 1:
        raise TaskError(f"the task {loaded.name} has one label: a choice needs two", "add a label, or have none")
    examples = rows_of(loaded, split, "sensitivity is measured on a test split; give --split dev")
    original, *others = [Prompt(each) if isinstance(each, str) else each for each in prompts] or loaded.seeds[:1]
    shown = {tuple(sorted(demo.inputs.items())) for prompt in (original, *others) for demo in prompt.demos}
    unseen = [example for example in examples if inputs_of(example) not in shown]
    rows = tuple(order_of(loaded, unseen, seed)[: sizes.rows])
    if not rows:
        raise TaskError(f"all {split} examples of the task {loaded.name} stand in the prompt", "choose another split")
    train = loaded.train if split != "train" else ()
    # Nothing is varied by dev: labels have their prior on it where they have it on rows, and train does not suffice.
    dev = loaded.dev if loaded.label_score == "batch" or (loaded.labels and split == "train") else ()
    asked = replace(loaded, seeds=(original,), train=train, dev=dev, test=rows, folds=0)
    chosen = FAMILIES if families is None else [of_names[f] if isinstance(f, str) else f for f in families]
    given = (Given(tuple(others)),) if others else ()
    if not (*given, *chosen):
        raise ConfigError("there are no families of variants and no further prompts", "name a family or a prompt")
    return Battery(
        task=asked,
        split=split,
        size=size,
        sizes=sizes,
        families=(*given, *chosen),
        scorers=_chosen_scorers(asked, scorers, sizes, unlabelled=unlabelled),
        seed=seed,
        unlabelled=unlabelled,
    )


def _chosen_scorers(task: Task, names: Sequence[str] | None, size: Size, *, unlabelled: bool) -> tuple[Scorer, ...]:
    having = [each for each in scorers_of(task) if not (unlabelled and each.of_target)]
    known = {each.name: each for each in having}
    for name in names or ():
        if name not in known:
            raise ConfigError(f"unknown scorer {name!r} for the task {task.name}", nearest(name, known))
    if names is not None:
        return (having[0], *(known[name] for name in dict.fromkeys(names) if known[name] is not having[0]))
    return tuple(each for each in having if each is having[0] or size.writes or not each.writes)


def _made(plan: Battery, session: Session, observer: Observer) -> tuple[list[Variant], list[str]]:
    """Return the variants, the original first, and what is worth saying about how they were made."""
    observer.stage(f"making up to {pluralize(plan.most_variants, 'variant')}")
    collected = make_variants(plan.task, plan.families, plan.most_variants, session, plan.seed)
    notes = [f"no variants of these families: {', '.join(collected.none_of)}"] if collected.none_of else []
    if len(collected.variants) == 1:
        hint = "give another prompt, or other families"
        raise TaskError(f"the prompt {plan.task.seeds[0].instruction!r:.60} has no variants", hint)
    return list(collected.variants), notes


def _facts(plan: Battery, session: Session) -> dict[str, object]:
    """Return what makes two studies the same; `session` has the model that writes."""
    return {
        "task": plan.task.name,
        "fingerprint": str(plan.task.fingerprint),
        "prompt": plan.task.seeds[0].id,
        "given": [prompt.id for family in plan.families if isinstance(family, Given) for prompt in family.prompts],
        "writer": session.lm.facts.fingerprint,
        "families": [family.name for family in plan.families],
        "scorers": [scorer.name for scorer in plan.scorers],
        "split": plan.split,
        "size": plan.size,
        "seed": plan.seed,
        "unlabelled": plan.unlabelled,
    }


def _result(
    plan: Battery, study: str, variants: Sequence[Variant], found: Sequence[ModelSensitivity], notes: Sequence[str]
) -> Sensitivity:
    different = n_different(plan.task.test)
    without = Sensitivity(
        id=study,
        task=plan.task.name,
        split=plan.split,
        size=plan.size,
        seed=plan.seed,
        unlabelled=plan.unlabelled,
        rows=tuple(row.id for row in plan.task.test),
        variants=tuple(_text(each) for each in variants),
        models=tuple(found),
        variance=None,
        rank_agreement=(),
        smallest_difference=None if plan.unlabelled else smallest_detectable_gain(different),
        notes=tuple(notes),
        verdict="",
        copies=numbered(plan.task.test),
    )
    if not plan.unlabelled:
        without = replace(without, variance=_variance(without), rank_agreement=rank_agreement(without))
    return replace(without, verdict=verdict(without))


def _text(variant: Variant) -> VariantText:
    inputs = {name: f"<{name}>" for name in variant.task.inputs}
    rendering = variant.task.layout.render(variant.prompt, inputs)
    turns = [f"[{turn.role}] {turn.content}" for turn in rendering.messages]
    shown = "\n".join([*turns, f"[assistant] {rendering.opening}"]) if turns else rendering.text
    return VariantText(variant.family, variant.change, variant.prompt, shown, variant.span)


def _variance(found: Sensitivity) -> VarianceShares | None:
    """Return where the scores of the variants that all models were asked come from; None for a single one."""
    places = [found.worded(model) for model in found.models]
    shared = sorted(set.intersection(*map(set, places)))
    if len(shared) < 2:
        return None
    table = np.array(
        [[model.own.scores[at[place]] for model, at in zip(found.models, places, strict=True)] for place in shared]
    )
    return variance_shares(table, [model.base for model in found.models], found.copies)
