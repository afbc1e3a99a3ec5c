"""How right an answer is: one function a metric, in [0, 1], the best over all acceptable answers. Level 2."""

from __future__ import annotations

import hashlib
import importlib
import math
import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localprompt.errors import TaskError, nearest
from localprompt.tasks.answers import last_number
from localprompt.tasks.choices import read_choice, read_option

Metric = Callable[[str, tuple[str, ...]], float]
"""(prediction, acceptable answers) to a score in [0, 1]."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SENTENCE_LABEL = re.compile(r"sentence [12]:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CodeMetric:
    """A metric of the user's, which knows where it came from, so that a task can be written down."""

    name: str
    """`module:function`."""
    folder: Path
    """Where the module was looked for first."""
    function: Callable[..., Any] = field(repr=False, compare=False)

    def __call__(self, prediction: str, targets: tuple[str, ...]) -> float:
        """Return the score.

        Raises:
            TaskError: if the function raises, or its score does not lie in [0, 1].
        """
        try:
            score = float(self.function(prediction, targets))
        except TaskError:  # a guarded one, which has said it
            raise
        except Exception as error:  # a user's function may raise anything
            problem = f"the metric {self.name!r} failed on the prediction {prediction!r} ({_told(error)})"
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
    name = getattr(metric, "__qualname__", type(metric).__qualname__)
    # The bound method: a metric that is a CodeMetric would be stored as one that can be imported again.
    return CodeMetric(name, Path(), metric).__call__


def find_metric(name: str, *, folder: Path = Path(), allow_code: bool = False) -> Metric:
    """Return the metric of that name; `module:function` names a function of the user's, looked for in `folder` first.

    Raises:
        TaskError: if there is no such metric, or it is code and `allow_code` is false; nothing is imported then.
    """
    if ":" in name:
        if not allow_code:
            raise TaskError(
                f"the metric {name!r} is code and was not run", "pass --allow-code if you trust this task file"
            )
        return _imported(name, folder)
    if name not in METRICS:
        raise TaskError(f"unknown metric {name!r}", nearest(name, METRICS))
    return METRICS[name]


def metric_hash(name: str) -> str:
    """Return what tells a metric from another: its name, and for code also the hash of the file it stands in."""
    module = sys.modules.get(name.partition(":")[0])
    if ":" not in name or module is None or module.__file__ is None:
        return name
    return f"{name} {hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()}"


def normalise(text: str) -> str:
    """Return the form in which the instruction-induction metrics compare answers.

    Source: the execution-accuracy evaluation published with APE (Zhou et al. 2023): " and " and the labels of sentence
    pairs go, then only the first line up to its first period counts, in lower case, hyphens as spaces, without
    punctuation. Differs: Unicode is composed (NFC), and runs of blank space count as one space. Decimals and
    abbreviations do not survive the rule about periods: `numeric` and `equals` are for those.
    """
    text = _SENTENCE_LABEL.sub("", unicodedata.normalize("NFC", text).replace(" and ", " ")).strip()
    text = text.partition("\n")[0].partition(".")[0]
    return " ".join(text.lower().replace("-", " ").translate(_PUNCTUATION).split())


def equals(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if the prediction is an acceptable answer to the letter, blank space around it aside."""
    return float(any(prediction.strip() == target.strip() for target in targets))


def exact_match(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if the prediction equals an acceptable answer after `normalise`; nothing never equals nothing."""
    found = normalise(prediction)
    return float(bool(found) and any(found == normalise(target) for target in targets))


def token_f1(prediction: str, targets: tuple[str, ...]) -> float:
    """Return the F1 of the words in common, each counted as often as it occurs, after `normalise`."""
    return max(_f1(normalise(prediction).split(), normalise(target).split()) for target in targets)


def set_match(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if the prediction has exactly the words of an acceptable answer, in any order, after `normalise`."""
    found = set(normalise(prediction).split())
    return float(bool(found) and any(found == set(normalise(target).split()) for target in targets))


def contains(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if an acceptable answer occurs in the prediction as whole words, case and blank space aside.

    The whole prediction is searched, unlike in the original, which cuts it at the first period.
    """
    text = _folded(prediction)
    found = (_folded(target) for target in targets)
    return float(any(target and re.search(rf"(?<!\w){re.escape(target)}(?!\w)", text) for target in found))


def numeric(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if the last number of the prediction equals an acceptable one to six digits.

    Currency, units, percent signs and thousands separators do not count; `last_number` says what is one.
    """
    found = last_number(prediction)
    numbers = (last_number(target) for target in targets)
    return float(found is not None and any(n is not None and _close(found, n) for n in numbers))


def multiple_choice(prediction: str, targets: tuple[str, ...]) -> float:
    """Return 1.0 if the prediction names the right option: `B`, `(B)`, `**B**`, `the answer is b`, or its text.

    A target is a letter, plain or bracketed, the option's text, or both (`(B) Paris`). A prediction that names two
    different options names none, and a letter that is a word of its sentence ("a dog") is none.
    """
    letter, text = read_choice(prediction)
    for target in targets:
        right_letter, right_text = read_option(target)
        if letter is not None and letter == right_letter:
            return 1.0
        if letter is None or right_letter is None:
            wanted = normalise(right_text)
            if wanted and wanted == normalise(text):
                return 1.0
    return 0.0


METRICS: dict[str, Metric] = {
    metric.__name__: metric for metric in (equals, exact_match, token_f1, set_match, contains, numeric, multiple_choice)
}


def _f1(found: list[str], wanted: list[str]) -> float:
    common = (Counter(found) & Counter(wanted)).total()
    return 2 * common / (len(found) + len(wanted)) if common else 0.0


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _close(a: str, b: str) -> bool:
    return math.isclose(float(a), float(b), rel_tol=1e-6, abs_tol=1e-9)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _imported(name: str, folder: Path) -> Metric:
    module_name, _, function_name = name.partition(":")
    sys.path.insert(0, str(folder.resolve()))
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # a user's module may raise anything while it is imported
        hint = "the module lies beside the task file or on PYTHONPATH"
        raise TaskError(f"the metric {name!r} cannot be imported ({_told(error)})", hint) from error
    finally:
        sys.path.remove(str(folder.resolve()))
    if not callable(function):
        raise TaskError(f"the metric {name!r} is not a function", "write module:function")
    return CodeMetric(name, folder.resolve(), function)
