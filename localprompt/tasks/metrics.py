"""How right an answer is: one function per metric, in [0, 1], the best over all acceptable answers. Level 3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localprompt.errors import TaskError, nearest
from localprompt.tasks.choices import read_choice, read_option
from localprompt.tasks.code import load_function
from localprompt.tasks.fingerprint import function_hash
from localprompt.tasks.normalising import holds, listed, normalise, parts
from localprompt.tasks.numbers import Number, read_numbers, wanted_numbers
from localprompt.tasks.records import composed

Metric = Callable[[str, tuple[str, ...]], float]
"""(prediction, acceptable answers) to a score in [0, 1]."""


@dataclass(frozen=True, slots=True)
class CodeMetric:
    """A metric of the user's, which knows where it came from, so that a task can be written down.

    Pickled, it is its name: whoever unpickles it imports and so runs its module again.
    """

    name: str
    """`module:function`, or the name of a function that was given as it is, which nobody can import by it."""
    folder: Path
    """Where the module was looked for first."""
    function: Callable[..., Any] = field(repr=False, compare=False)
    digest: str = ""
    """Hash of the files that it was imported from."""

    def __reduce__(self) -> tuple[Any, ...]:
        if self.digest:
            return _imported_again, (self.name, self.folder, self.digest)
        return CodeMetric, (self.name, self.folder, self.function)

    def __deepcopy__(self, memo: dict[int, Any]) -> CodeMetric:
        return self

    def __call__(self, prediction: str, targets: tuple[str, ...]) -> float:
        """Return the score.

        Raises:
            TaskError: if the function raises, or its score does not lie in [0, 1].
        """
        try:
            score = float(self.function(prediction, targets))
        except (Exception, SystemExit) as error:  # a user's function may raise anything
            what = f"the metric {self.name!r} failed on the prediction {prediction!r}"
            problem = f"{what} ({type(error).__name__}: {error})"
            raise TaskError(problem, "a metric returns a number in [0, 1] for any text") from error
        if not 0 <= score <= 1:
            raise TaskError(f"the metric {self.name!r} returned {score} for {prediction!r}", "a score lies in [0, 1]")
        return score


def guarded_metric(metric: Metric) -> Metric:
    """Return a metric that raises only TaskError, as one from a task file does.

    A function of the user's may raise anything, and then its run has failed, not the comparison.
    """
    if isinstance(metric, CodeMetric) or any(metric is known for known in METRICS.values()):
        return metric
    return CodeMetric(getattr(metric, "__qualname__", type(metric).__qualname__), Path(), metric)


def find_metric(name: str, *, folder: Path = Path(), allow_code: bool = False) -> Metric:
    """Return the metric of that name; `module:function` names a function of the user's, looked for in `folder` first.

    Raises:
        TaskError: if there is no such metric, or it is code and `allow_code` is false; nothing is imported then.
    """
    if ":" in name:
        if not allow_code:
            hint = "pass --allow-code if you trust this task file"
            raise TaskError(f"the metric {name!r} is code and was not run", hint)
        function, digest = load_function(name, folder)
        return CodeMetric(name, folder.resolve(), function, digest)
    if name not in METRICS:
        raise TaskError(f"unknown metric {name!r}", nearest(name, METRICS))
    return METRICS[name]


def metric_hash(metric: Metric) -> str:
    """Return what tells a metric from another: its name, and for code also the hash of the files it stands in.

    Empty for a function that nobody can find again by a name.
    """
    if isinstance(metric, CodeMetric):
        return f"{metric.name} {metric.digest}".rstrip() if ":" in metric.name else ""
    return next((name for name, known in METRICS.items() if known is metric), "")


def metric_spec(metric: Metric) -> tuple[str, str]:
    """Return the name and the hash that tell a metric from another; of a function without a name the hash is enough."""
    if found := metric_hash(metric):
        return found.partition(" ")[0], found
    return "", function_hash(metric.function if isinstance(metric, CodeMetric) else metric)


def equals(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if the prediction is an acceptable answer to the letter, blank space around it aside."""
    return float(any(_bare(prediction) == _bare(target) for target in targets))


def exact_match(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if the prediction equals an acceptable answer after `normalise`; nothing never equals nothing."""
    found = normalise(prediction)
    return float(bool(found) and any(found == normalise(target) for target in targets))


def token_f1(prediction: str, targets: tuple[str, ...]) -> float:
    """Return the F1 of the words in common, each counted as often as it occurs, after `normalise`.

    Scripts without spaces count by character.
    """
    return max(_f1(parts(prediction), parts(target)) for target in targets)


def set_match(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if the prediction has exactly the words of an acceptable answer, in any order, after `normalise`.

    Unlike in the original, commas and semicolons need no blank behind them: `a,b` are two. In scripts without spaces a
    word is what punctuation sets apart.
    """
    found = listed(prediction)
    return float(bool(found) and any(found == listed(target) for target in targets))


def contains(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if an acceptable answer occurs in the prediction as whole words, case, width and blank space aside.

    Hyphens count as spaces, and marks around the acceptable answer do not count. Scripts without spaces have no whole
    words; a number is whole with its sign and decimals. Unlike the original, it searches the whole prediction, not only
    up to its first period, and keeps punctuation inside: `3.50`, `C++`.
    """
    return float(any(holds(prediction, target) for target in targets))


def numeric(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if the last number of the prediction equals an acceptable one to six digits, a whole one wholly.

    Currency, units, percent signs and thousands separators do not count; `last_number` says what is one. Fractions and
    powers are compared by their worth. Times, dates, ratios and ranges equal what is written alike, and a target that
    is a list, `3, 5`, needs all of it.
    """
    found = read_numbers(prediction)
    return float(any(_ends_in(found, wanted_numbers(target)) for target in targets))


def multiple_choice(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if the prediction names the right option: `B`, `(B)`, `B, because`, `the answer is b`, or its text.

    A target is a letter, plain or bracketed, the option's text, or both (`(B) Paris`). A prediction that names two
    different options names none, and a letter that is a word of its sentence ("a dog") is none.
    """
    letter, text = read_choice(prediction)
    whole = normalise(prediction)
    for target in targets:
        right_letter, right_text = read_option(target)
        wanted = normalise(right_text)
        if letter is not None and letter == right_letter:
            return 1.0
        # An option's text may begin with a letter: `Vitamin C`, `B cells`.
        is_text = len(whole) > 1 or letter is None
        is_without_letter = letter is None or right_letter is None
        if wanted and ((is_text and wanted == whole) or (is_without_letter and wanted == normalise(text))):
            return 1.0
    return 0.0


METRICS: dict[str, Metric] = {
    metric.__name__: metric for metric in (equals, exact_match, token_f1, set_match, contains, numeric, multiple_choice)
}


def _f1(found: list[str], wanted: list[str]) -> float:
    common = (Counter(found) & Counter(wanted)).total()
    return 2 * common / (len(found) + len(wanted)) if common else 0.0


def _bare(text: str) -> str:
    return composed(text).replace("\r\n", "\n").strip()


def _ends_in(found: Sequence[Number], wanted: Sequence[Number]) -> bool:
    last = found[-len(wanted) :]
    return 0 < len(wanted) == len(last) and all(a.equals(b) for a, b in zip(last, wanted, strict=True))


def _imported_again(name: str, folder: Path, digest: str) -> Metric:
    metric = find_metric(name, folder=folder, allow_code=True)
    if not isinstance(metric, CodeMetric) or metric.digest != digest:
        problem = f"the code of the metric {name!r} has changed since its task was pickled"
        raise TaskError(problem, "load the task again")
    return metric
