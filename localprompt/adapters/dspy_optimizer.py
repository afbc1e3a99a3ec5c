"""Our searches as an optimizer of DSPy: `LocalPromptOptimizer(metric).compile(program, trainset=...)`. Level 9.

The search asks what DSPy asks: the turns are those of DSPy's own adapter, and so is the reading of answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from localprompt.adapters.dspy import LocalPromptEngine, sampling_of
from localprompt.adapters.extras import needing
from localprompt.errors import ConfigError, nearest
from localprompt.run.api import optimize
from localprompt.tasks import Layout, Task
from localprompt.tasks.metrics import guarded_metric
from localprompt.tasks.template import Rendering, default_demo
from localprompt.types import Example, Message, Prompt, Sampling

with needing("dspy", "dspy"):
    import dspy
    from dspy import lm15
    from dspy.adapters.utils import format_field_value
    from dspy.teleprompt.teleprompt import Teleprompter
    from dspy.utils.exceptions import AdapterParseError

_OPTIONS = ("max_calls", "max_minutes", "max_tokens", "observer", "preset", "proposer", "seed", "settings", "store")
_LEAST_ROWS = 4


class LocalPromptOptimizer(Teleprompter):  # type: ignore[misc]
    """Searches the instruction of a program with one of our methods.

    Args:
        metric: as DSPy's `Evaluate` takes it, `metric(example, prediction)`, with scores in [0, 1].
        method: a method of `localprompt.optimize`.
        options: further arguments of `localprompt.optimize`: its limits, seed, settings, proposer, store, ...

    Raises:
        ConfigError: for an unknown option.
    """

    def __init__(self, metric: Callable[..., Any], *, method: str = "auto", **options: Any) -> None:
        super().__init__()
        for name in options:
            if name not in _OPTIONS:
                raise ConfigError(f"LocalPromptOptimizer has no option {name!r}", nearest(name, _OPTIONS))
        self.metric, self.method, self.options = metric, method, options

    def compile(self, student: Any, *, trainset: Sequence[Any], teacher: Any = None, valset: Any = None) -> Any:
        """Return a copy of the program with the instruction found; its worked examples stay as they are.

        `detailed_results` of the copy is the `localprompt.RunResult`: scores of the program before and after, on rows
        that the search did not see, with their intervals.

        Args:
            student: a `dspy.Predict` or `dspy.ChainOfThought`, asking a `LocalPromptEngine`.
            trainset: rows that methods learn from; without a `valset`, the first third of it.
            teacher: None; there are no teachers here.
            valset: every other row chooses the instruction, the rest measures it once at the end.

        Raises:
            ConfigError: for a program, model or rows that it cannot work with.
            LocalPromptError: as `localprompt.optimize`.
        """
        if teacher is not None:
            raise ConfigError("LocalPromptOptimizer takes no teacher", "give a proposer= that writes the instructions")
        program = student.deepcopy()
        predictor = program.predict if isinstance(program, dspy.ChainOfThought) else program
        if type(predictor) is not dspy.Predict:
            raise ConfigError(
                f"only a dspy.Predict or dspy.ChainOfThought can be optimised, not a {type(student).__name__}",
                "optimise the predictors of a larger program one by one, on rows of their own",
            )
        lm = predictor.lm or dspy.settings.lm
        engine = getattr(lm, "engine", None)
        if not isinstance(engine, LocalPromptEngine):
            raise ConfigError(
                "the program asks no model of localprompt", "configure dspy.LM(..., engine=LocalPromptEngine(...))"
            )
        if valset is None:
            third = len(trainset) // 3
            trainset, valset = trainset[:third], trainset[third:]
        task = _task(predictor, lm, self.metric, (trainset, valset[::2], valset[1::2]))
        result = engine.waves.ask(lambda model: optimize(task, model, method=self.method, **self.options))
        predictor.signature = predictor.signature.with_instructions(result.best.instruction)
        program.detailed_results = result
        program._compiled = True
        return program


class _Read(str):
    """A text that methods and people see, and what DSPy's metric is to see instead of it."""

    behind: Any

    def __new__(cls, fields: Mapping[str, Any], behind: Any) -> _Read:
        values = list(fields.values())
        text = values[0] if len(values) == 1 else json.dumps(dict(fields), ensure_ascii=False, default=str)
        made = super().__new__(cls, text)
        made.behind = behind
        return made


def _task(predictor: Any, lm: Any, metric: Callable[..., Any], splits: Sequence[Sequence[Any]]) -> Task:
    """Return what a predictor is for as a task: DSPy's own turns, reading of answers and metric."""
    signature, adapter, demos = predictor.signature, dspy.settings.adapter or dspy.ChatAdapter(), list(predictor.demos)
    rows = [row for split in splits for row in split]
    if min(map(len, splits)) < 1 or len(rows) < _LEAST_ROWS:
        raise ConfigError("there are too few rows to learn from, to choose by and to measure with", "give more rows")
    inputs = tuple(signature.input_fields)
    outputs = [name for name in signature.output_fields if all(name in row for row in rows)]
    if missing := [name for name in inputs if not all(name in row for row in rows)]:
        raise ConfigError(f"some rows have no {missing[0]!r}, which the program reads", "give every row all inputs")
    if not outputs:
        raise ConfigError(
            "the rows have no outputs of the program", f"give each a {next(iter(signature.output_fields))}"
        )

    def turns(instruction: str, values: Mapping[str, str]) -> tuple[Message, ...]:
        asked = adapter.format(signature.with_instructions(instruction), demos, dict(values))
        if not all(isinstance(each["content"], str) for each in asked):
            raise ConfigError("a local model reads text alone", "leave images and other parts out of the program")
        return tuple(Message(each["role"], each["content"]) for each in asked)

    def answer(completion: str) -> str | None:
        try:
            fields = adapter.parse(signature, completion)
        except AdapterParseError:
            return None
        return _Read({name: fields[name] for name in outputs}, dspy.Prediction(**fields))

    def judged(prediction: str, targets: tuple[str, ...]) -> float:
        assert isinstance(prediction, _Read)
        assert isinstance(targets[0], _Read)
        with lm.engine.waves.lent():  # it may ask the same model, in threads of its own
            found = metric(targets[0].behind, prediction.behind)
        return float(getattr(found, "score", found))

    def example(name: str, row: Any) -> Example:
        values = {key: format_field_value(signature.input_fields[key], row[key]) for key in inputs}
        return Example(name, values, (_Read({key: row[key] for key in outputs}, row),))

    train, dev, test = (
        tuple(example(f"{split}:{n}", row) for n, row in enumerate(given))
        for split, given in zip(("train", "dev", "test"), splits, strict=True)
    )
    return Task(
        name=f"dspy-{signature.__name__}",
        description="",
        inputs=inputs,
        labels=(),
        label_score="sum",
        train=train,
        dev=dev,
        test=test,
        seeds=(Prompt(signature.instructions),),
        layout=_layout(turns, inputs),
        answer=answer,
        metric=guarded_metric(judged),
        sampling=_sampling(predictor, lm, train[0].inputs),
    )


def _layout(turns: Callable[[str, Mapping[str, str]], tuple[Message, ...]], inputs: Sequence[str]) -> Layout:
    """Return a layout that shows what `turns` makes; its texts only tell one program from another."""

    class AsDspyHasIt(Layout):
        __slots__ = ()

        def render(self, prompt: Prompt, inputs: Mapping[str, str]) -> Rendering:
            return Rendering(turns(prompt.instruction, inputs), "", "")

    first, *others = turns("{{instruction}}", {name: f"{{{{{name}}}}}" for name in inputs})
    template = "\n\n".join(each.content for each in others)
    return AsDspyHasIt(template, default_demo(inputs), mode="chat", system=first.content, separator="")


def _sampling(predictor: Any, lm: Any, inputs: Mapping[str, str]) -> Sampling:
    """Return how DSPy wants the predictor's answers drawn: it is let to ask once, and what it asks is no request."""
    heard = list[Any]()

    class Listener:
        supported_params = LocalPromptEngine.supported_params
        supports_response_schema = True

        def complete(self, request: Any) -> Any:
            heard.append(request)
            raise lm15.InvalidRequestError("this was only to be heard")

    with suppress(dspy.LMError):
        predictor(lm=lm.copy(engine=Listener(), cache=False), **inputs)
    found = sampling_of(heard[0])
    if found.temperature:
        raise ConfigError(f"a search draws nothing, but the temperature is {found.temperature}", "give the LM none")
    return found
