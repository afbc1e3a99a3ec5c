"""Optimisers by name, and their settings from plain values. Level 6.

Adding an optimiser is one file with `@optimizer("name")` and one import in `optimizers/__init__.py`. Another package
brings one by an entry point of the group `localprompt.optimizers` that names the module.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.metadata
import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, get_type_hints

from localprompt.errors import ConfigError, nearest
from localprompt.interface.values import read_value, told
from localprompt.proposals.metaprompts import load, ship
from localprompt.search.problem import Problem


class Optimizer(Protocol):
    """An algorithm that searches for a prompt: a frozen dataclass of hyperparameters with one method.

    Optional class variables: `PRESETS`, name to the hyperparameters that differ from the defaults, of which `paper` is
    the setting of the publication; `RENAMED`, former names of hyperparameters to those of now; `REMOVED`, former
    hyperparameters to the values that change nothing; `SCALES`, hyperparameters that follow the budget, see `scaled`;
    `REHEARSED`, where a limit ends the search and nothing else does: the share of a search without one that a rehearsal
    carries out, and the share of a limit that this may take; `COMPARED`, false if `compare` leaves it out where no
    methods are named.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def run(self, problem: Problem) -> None:
        """Search; scores, lineage and discards stay with `problem`, which also knows the winner.

        Raises:
            BudgetExhausted: from the model call that does not fit; everything before it counts.
        """


LOCAL = "local"
"""The preset of the defaults: sized for one quantised model on one machine."""

ENTRY_POINTS = "localprompt.optimizers"
"""Group of entry points, each the name of a method and the module that registers it."""
Scales = Mapping[str, tuple[int, float]]
"""Hyperparameter to its least value, and the power of the budget's share that it follows."""
_MAX_SETTING = 1_000_000
_T = TypeVar("_T")
_REGISTRY: dict[str, type[Any]] = {}
_META_PROMPTS: dict[str, Mapping[str, tuple[str, ...]]] = {}
"""Method to its meta-prompts with their slots."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """A hyperparameter of a method, for people."""

    name: str
    default: object
    presets: Mapping[str, object]
    """Preset to its value there, where it differs from the default."""
    description: str
    """One line: the text below the field in its class; empty if the source is not available."""


def optimizer(name: str, meta_prompts: Mapping[str, tuple[str, ...]] | None = None) -> Callable[[type[_T]], type[_T]]:
    """Return a class decorator that registers a frozen dataclass with a method `run(problem)` under `name`.

    Args:
        name: of the method.
        meta_prompts: each with its slots, as `metaprompts.load` wants them; then `configure` checks the folder that
            the setting `templates` names.
    """

    def register(cls: type[_T]) -> type[_T]:
        if name in _REGISTRY:
            raise ValueError(f"an optimizer {name!r} is already registered")
        _REGISTRY[name] = cls
        ship(name, cls.__module__)
        if meta_prompts is not None:
            _META_PROMPTS[name] = meta_prompts
        return cls

    return register


def forget(name: str) -> None:
    """Take a method out again, for whoever registers one for a time."""
    _REGISTRY.pop(name, None)
    _META_PROMPTS.pop(name, None)


def scaled(chosen: Optimizer, share: float, fixed: Sequence[str]) -> Optimizer:
    """Return the optimiser sized to a share of what it spends by default: its `SCALES` times a power of the share.

    Args:
        chosen: the optimiser.
        share: 1 changes nothing; 0.5 about halves what it spends.
        fixed: hyperparameters that stay as they are.
    """
    scales: Scales = getattr(chosen, "SCALES", {})
    sizes = {
        name: max(least, round(getattr(chosen, name) * share**power))
        for name, (least, power) in scales.items()
        if name not in fixed and share != 1 and isinstance(getattr(chosen, name, None), int)
    }
    made: Optimizer = dataclasses.replace(chosen, **sizes)
    return made


def require(chosen: object, name: str, holds: bool, what: str) -> None:
    """Check a setting of a registered optimiser.

    Args:
        chosen: the optimiser.
        name: of the setting.
        holds: whether its value can be.
        what: what it must be.

    Raises:
        ConfigError: naming the setting, if its value cannot be.
    """
    if not holds:
        method = next(method for method, cls in _REGISTRY.items() if isinstance(chosen, cls))
        raise ConfigError(
            f"the setting {name} must be {what}, not {getattr(chosen, name)}",
            f"`localprompt methods {method}` lists the settings",
        )


def names() -> tuple[str, ...]:
    """Return the names of all registered optimisers, those of other packages too, sorted.

    Raises:
        ConfigError: if one of another package cannot be loaded, naming it.
    """
    _load_others()
    return tuple(sorted(_REGISTRY))


def compared() -> tuple[str, ...]:
    """Return the names of the optimisers that `compare` takes where none are named, sorted.

    Raises:
        ConfigError: as `names`.
    """
    return tuple(name for name in names() if getattr(_REGISTRY[name], "COMPARED", True))


def _load_others() -> None:
    """Import what other packages register."""
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if point.name in _REGISTRY:
            continue
        try:
            point.load()
        except Exception as error:  # a foreign module may raise anything while it is imported
            package = point.dist.name if point.dist else point.module
            problem = f"the method {point.name!r} of the package {package} cannot be loaded ({told(error)})"
            raise ConfigError(problem, "update or remove that package") from error
        if point.name not in _REGISTRY:
            hint = f'the module has a class with @optimizer("{point.name}")'
            raise ConfigError(f"the module {point.module} registers no method {point.name!r}", hint)


def presets(name: str) -> dict[str, Mapping[str, object]]:
    """Return the presets of the optimiser `name`: `local`, its defaults, and those in its class variable `PRESETS`.

    A preset names the hyperparameters that differ from the defaults.

    Raises:
        ConfigError: for an unknown method, naming the nearest known one.
    """
    return {LOCAL: {}, **getattr(_found(name), "PRESETS", {})}


def summary(name: str) -> str:
    """Return what the optimiser `name` is, in one line: the first sentence of its file.

    Raises:
        ConfigError: for an unknown method, naming the nearest known one.
    """
    first_line = (sys.modules[_found(name).__module__].__doc__ or "").strip().partition("\n")[0]
    return first_line.partition(" Level ")[0]


def settings_of(name: str) -> tuple[Setting, ...]:
    """Return the hyperparameters of the optimiser `name`, in the order of their class.

    Raises:
        ConfigError: for an unknown method, naming the nearest known one.
    """
    cls: Any = _found(name)  # Any: for mypy a class is not hashable
    told, defaults = _descriptions(cls), cls()
    return tuple(
        Setting(
            field.name,
            getattr(defaults, field.name),
            {preset: values[field.name] for preset, values in presets(name).items() if field.name in values},
            told.get(field.name, ""),
        )
        for field in dataclasses.fields(cls)
    )


@functools.cache
def _descriptions(cls: type[Any]) -> dict[str, str]:
    """Return the string under each field of a class, on one line, by the field's name."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError):  # made at a prompt, or shipped without its source
        return {}
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def current_names(name: str, settings: Iterable[str]) -> tuple[str, ...]:
    """Return the names that hyperparameters of the optimiser `name` have now; former ones may be given."""
    renamed: Mapping[str, str] = getattr(_found(name), "RENAMED", {})
    return tuple(renamed.get(each, each) for each in settings)


def configure(name: str, settings: Mapping[str, object], preset: str = LOCAL) -> Optimizer:
    """Return the optimiser `name` as in `preset`, changed by `settings`.

    Text such as `8`, `8,24` or `none` is read as the field's type.

    Raises:
        ConfigError: for an unknown method, preset or setting, naming the nearest known one, a value of the wrong kind,
            or a folder of meta-prompts that cannot be used.
    """
    cls = _found(name)
    if preset not in presets(name):
        others = ", ".join(each for each in names() if preset in presets(each))
        hint = f"methods that have it: {others}" if others else nearest(preset, presets(name))
        raise ConfigError(f"{name} has no preset {preset!r}", hint)
    hints = get_type_hints(cls)
    known = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    values = {}
    renamed: Mapping[str, str] = getattr(cls, "RENAMED", {})
    removed: Mapping[str, object] = getattr(cls, "REMOVED", {})
    given = {renamed.get(key, key): value for key, value in settings.items()}
    for key, value in {**presets(name)[preset], **given}.items():
        if key in removed:
            # In a run that was kept it mostly has the value that changes nothing.
            if str(value).lower() != str(removed[key]).lower():
                hint = f"omit it: the method runs as with {key}={removed[key]}"
                raise ConfigError(f"{name} no longer has the setting {key}, so it cannot be {told(value)}", hint)
            continue
        if key not in known:
            raise ConfigError(f"{name} has no setting {key!r}", nearest(key, known))
        read = read_value(f"the setting {key}", value, known[key])
        for number in read if isinstance(read, tuple) else (read,):
            if isinstance(number, int | float) and abs(number) > _MAX_SETTING:
                # A run that comes from elsewhere could keep a machine busy for ever by its settings.
                raise ConfigError(
                    f"the setting {key} must be at most {_MAX_SETTING:,}, not {told(value)}", "take a smaller one"
                )
        values[key] = read
    chosen: Optimizer = cls(**values)
    if name in _META_PROMPTS:
        # The search reads them too, but then a large model is loaded already.
        load(name, _META_PROMPTS[name], getattr(chosen, "templates", None))
    return chosen


def _found(name: str) -> type[Any]:
    if name not in _REGISTRY:
        _load_others()
    if name not in _REGISTRY:
        raise ConfigError(f"unknown method {name!r}", nearest(name, _REGISTRY))
    return _REGISTRY[name]
