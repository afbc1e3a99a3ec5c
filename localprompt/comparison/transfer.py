"""Whether a prompt carries over to other models, from a user's arguments to the result. Level 8.

Each prompt is measured with each model on the same rows. Models are measured one after another; only one is in memory.
Every answer is in the store, so whoever calls again after an interruption, with the same arguments, waits for what is
missing and gets what an undisturbed call would have given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType

from localprompt.comparison.transfer_analysis import Answered, analyse
from localprompt.comparison.transfer_results import KIND, GivenPrompt, MeasuredModel, Transfer
from localprompt.errors import ConfigError, TaskError
from localprompt.interface.advice import command
from localprompt.interface.arguments import check_record, checked
from localprompt.run.config import RunConfig
from localprompt.run.measuring import MeasuringCost, begun, check_models, cost_of, identity_of, told_apart
from localprompt.run.models import Named
from localprompt.run.results import RunResult
from localprompt.run.session import Session, StoreSource, open_session, opened_store
from localprompt.run.spec import TaskSource, loaded_tasks
from localprompt.search.observer import Observer, SilentObserver, pluralize
from localprompt.store import RunRecord
from localprompt.tasks import Task
from localprompt.tasks.check import main_doubts
from localprompt.types import Evaluation, Prompt

_BOTH_SPLITS = "prompts are chosen on dev and reported on test"
_CHOSEN = (
    "the best prompts are chosen on dev and reported on test; the highest score among several on test is partly luck"
)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Prompts to be measured on one task, the seed prompt first."""

    task: Task
    prompts: tuple[GivenPrompt, ...]


@checked
def transfer(  # noqa: PLR0913 - options of a user
    tasks: Sequence[TaskSource],
    models: Sequence[Named],
    *,
    prompts: Sequence[str | Prompt | GivenPrompt] = (),
    engine: Mapping[str, object] = MappingProxyType({}),
    allow_code: bool = False,
    store: StoreSource = None,
    use_cache: bool = True,
    observer: Observer | None = None,
) -> Transfer:
    """Return the score of each prompt on each model, what a prompt loses on another model, and which is best for all.

    The best prompt of a model, and the one for all, are chosen on dev and reported on test.

    Args:
        tasks: task files or loaded tasks, with different names.
        models: two or more, by card name, path, or loaded; what is loaded here is closed here.
        prompts: measured beside the first seed prompt of each task; those with a task on that one alone, see
            `of_run`. None: all seed prompts of the tasks.
        engine: settings of the engine, by name; where models are loaded here.
        allow_code: permits a task file to name a metric in Python, which runs code.
        store: where answers and the study are kept: open, by path, or the default one.
        use_cache: False: compute everything, and touch no store.
        observer: told what happens.

    Raises:
        ConfigError, TaskError: before anything is loaded, for fewer than two models or prompts, a prompt of another
            task, and wrong tasks.
        ModelError: if a model cannot be found, loaded or run.
        ContextOverflow: before anything is computed with a model, if a row does not fit its context with some prompt.
        StoreError: if the store cannot be opened, read or written.
    """
    _check_models(models, engine)
    plan = plan_transfer(tasks, prompts, allow_code=allow_code)
    observer = observer or SilentObserver()
    found, answered, study = [], [], ""
    with ExitStack() as stack:
        home = stack.enter_context(opened_store(store)) if use_cache else None
        for number, model in enumerate(models, start=1):
            observer.note(f"model {number} of {len(models)}")
            with open_session(model, store=home, engine=engine, use_cache=use_cache, observer=observer) as session:
                _check_fit(session, plan)
                if home is not None and not study:
                    study = begun(home, KIND, models, engine, _facts(plan, session))
                    stack.enter_context(home.studies.ending(study))
                answered.append([_asked(session, matrix, observer) for matrix in plan])
                found.append(MeasuredModel(**asdict(identity_of(session.lm.lm)), spend=session.budget.spend))
        names = told_apart([each.model for each in found])
        found = [replace(each, model=name) for each, name in zip(found, names, strict=True)]
        result = Transfer(
            id=study,
            models=tuple(found),
            tasks=tuple(
                analyse(matrix.task, matrix.prompts, found, [of_model[i] for of_model in answered])
                for i, matrix in enumerate(plan)
            ),
            notes=tuple(_notes(plan)),
        )
        if home is not None:
            home.studies.update(study, status="finished", result=result.to_json())
    return result


def expected_costs(
    plan: Sequence[Matrix],
    models: Sequence[Named],
    engine: Mapping[str, object] = MappingProxyType({}),
    observer: Observer | None = None,
) -> list[MeasuringCost]:
    """Return about what measuring takes with each model where no answer is known; only rates are measured.

    Raises:
        ConfigError, ModelError, ContextOverflow: as `transfer`.
    """
    _check_models(models, engine)
    costs = []
    for model in models:
        with open_session(model, engine=engine, use_cache=False, observer=observer) as session:
            _check_fit(session, plan)
            works = [
                session.evaluator(each.task).work([given.prompt for given in each.prompts], rows)
                for each in plan
                for rows in (each.task.dev, each.task.test)
            ]
            n_prompts = sum(len(each.prompts) for each in plan)
            n_rows = sum(len(each.task.dev) + len(each.task.test) for each in plan)
            costs.append(cost_of(session, works, n_prompts, n_rows))
    return costs


@checked
def plan_transfer(
    tasks: Sequence[TaskSource], prompts: Sequence[str | Prompt | GivenPrompt] = (), *, allow_code: bool = False
) -> list[Matrix]:
    """Return what `transfer` with these arguments measures with each model; nothing is loaded but the tasks.

    Raises:
        ConfigError, TaskError: as `transfer`.
    """
    given = [_given(each, number) for number, each in enumerate(prompts, start=1)]
    loaded = loaded_tasks(tasks, _BOTH_SPLITS, allow_code=allow_code)
    names = [task.name for task in loaded]
    for task in loaded:
        if not task.dev or not task.test:
            missing = "test" if task.dev else "dev"
            raise TaskError(f"the task {task.name} has no {missing} examples", _BOTH_SPLITS)
    for each in given:
        if each.task and each.task not in names:
            raise ConfigError(
                f"{each.origin} was found for the task {each.task}, which is not measured", "add that task"
            )
    return [_matrix(task, [_for(task, each) for each in given if each.task in ("", task.name)]) for task in loaded]


def of_run(record: RunRecord, store: Path) -> GivenPrompt:
    """Return what a run found, to be measured on the task of that run alone.

    Args:
        record: of the run.
        store: that has it, for the hint.

    Raises:
        ConfigError: if the run has found nothing yet.
        StoreError: if its record is damaged.
    """
    if record.result is None:
        raise ConfigError(f"the run {record.id} has found nothing yet", command("resume", record.id, store=store))
    config, name = RunConfig.read(record.configuration), f"run {record.id} on {record.model}"
    notes = ["it was chosen on the dev rows of its run, which favours it where these choose"]
    if config.settings.get("position", "task") != "task":
        notes.append("its method has its own place for the instruction; here it stands where the task has it")
    return GivenPrompt(
        prompt=RunResult.from_json(record.result).best,
        origin=name,
        task=record.task,
        fingerprint=str(config.task.get("fingerprint", "")),  # `identity` has that of before `resume --force`
        found_on=(config.model.fingerprint,),
        notes=tuple(f"{name}: {note}" for note in notes),
    )


def _check_models(models: Sequence[Named], engine: Mapping[str, object]) -> None:
    check_models(models, engine)
    if len(models) < 2:
        hint = "`localprompt sensitivity` measures several prompts with one model"
        raise ConfigError("a prompt carries over from one model to another, and there is one model", hint)


def _given(prompt: str | Prompt | GivenPrompt, number: int) -> GivenPrompt:
    if not isinstance(prompt, GivenPrompt):
        prompt = GivenPrompt(Prompt(prompt) if isinstance(prompt, str) else prompt, f"prompt {number}")
    check_record("prompt", prompt.prompt)
    return prompt


def _for(task: Task, given: GivenPrompt) -> GivenPrompt:
    """Return a prompt with what is doubtful about it on a task."""
    if given.fingerprint in ("", task.fingerprint):
        return given
    note = f"{given.origin}: the task has changed since; what was found may have been chosen on rows that are test now"
    return replace(given, notes=(*given.notes, note))


def _matrix(task: Task, given: Sequence[GivenPrompt]) -> Matrix:
    """Return the prompts of a task, those with the same text as one."""
    seeds = task.seeds[:1] if given else task.seeds
    wanted = [
        GivenPrompt(prompt, "seed prompt" if i == 0 else f"seed prompt {i + 1}") for i, prompt in enumerate(seeds)
    ]
    found: dict[str, GivenPrompt] = {}
    for each in (*wanted, *given):
        first = found.setdefault(each.prompt.id, each)
        if first is not each:
            origin = first.origin if each.origin == first.origin else f"{first.origin}, {each.origin}"
            on = (*first.found_on, *each.found_on)
            found[each.prompt.id] = replace(first, origin=origin, found_on=on, notes=(*first.notes, *each.notes))
    if len(found) < 2:
        hint = "give prompts beside the task's seed prompt"
        raise ConfigError(f"there is only one prompt to measure on the task {task.name}", hint)
    return Matrix(task, tuple(found.values()))


def _check_fit(session: Session, plan: Sequence[Matrix]) -> None:
    for matrix in plan:
        evaluator = session.evaluator(matrix.task)
        for given in matrix.prompts:
            evaluator.check_fit(given.prompt, (*matrix.task.dev, *matrix.task.test))


def _asked(session: Session, matrix: Matrix, observer: Observer) -> Answered:
    task, prompts = matrix.task, [given.prompt for given in matrix.prompts]
    evaluator, found = session.evaluator(task), list[list[Evaluation]]()
    what = f"{task.name}: {pluralize(len(prompts), 'prompt')}"
    for name, rows in (("dev", task.dev), ("test", task.test)):
        observer.stage(f"{what} on {pluralize(len(rows), f'{name} row')} with {session.lm.facts.name}")
        found.append(evaluator.evaluate(prompts, rows))
    dev, test = (tuple(each.scores for each in evaluations) for evaluations in found)
    return Answered(dev, test, tuple(each.n_unparsed for each in found[1]), tuple(each.n_failed for each in found[1]))


def _facts(plan: Sequence[Matrix], session: Session) -> dict[str, object]:
    """Return what makes two studies the same; `session` has the first model, whose file may become another one."""
    return {
        "tasks": [[each.task.name, str(each.task.fingerprint)] for each in plan],
        "prompts": [[[given.prompt.id, given.origin, list(given.found_on)] for given in each.prompts] for each in plan],
        "first_model": session.lm.facts.fingerprint,
    }


def _notes(plan: Sequence[Matrix]) -> list[str]:
    several = [(f"{matrix.task.name}: " if len(plan) > 1 else "", matrix) for matrix in plan]
    doubts = [f"{name}{doubt}" for name, each in several for doubt in main_doubts(each.task, "test", "dev")]
    of_prompts = [note for each in plan for given in each.prompts for note in given.notes]
    return [_CHOSEN, *dict.fromkeys(of_prompts), *doubts]
