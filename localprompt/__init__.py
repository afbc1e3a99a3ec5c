"""Optimise prompts for one quantised GGUF model, offline, with evidence that they are better.

What is public is imported on first use, but for errors and plain records, so that `import localprompt` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from localprompt.errors import (
    ConfigError,
    ContextOverflow,
    LocalPromptError,
    ModelError,
    NotEnoughMemory,
    RunMismatch,
    StoreError,
    TaskError,
    WorkerDied,
)
from localprompt.interface.version import __version__ as __version__
from localprompt.types import Demo, EngineStats, Example, Generation, Loglikelihood, Message, Prompt, Sampling

if TYPE_CHECKING:
    from localprompt.battery.leaderboard import Leaderboard, leaderboard
    from localprompt.battery.results import Sensitivity
    from localprompt.battery.sensitivity import sensitivity
    from localprompt.comparison.plan import compare
    from localprompt.comparison.table import Comparison
    from localprompt.comparison.transfer import transfer
    from localprompt.comparison.transfer_results import Transfer
    from localprompt.exports.export import Exported, export
    from localprompt.lm.base import LanguageModel, ModelFacts
    from localprompt.lm.loading import register_scheme
    from localprompt.lm.local import LocalModel, load_model
    from localprompt.lm.scripted import ScriptedLM
    from localprompt.reports.report import report
    from localprompt.run.api import Estimate, EvaluationResult, RunResult, dry_run, evaluate, optimize
    from localprompt.run.diagnosis import Diagnosis, diagnose
    from localprompt.run.port import port
    from localprompt.run.ported import Port
    from localprompt.run.resume import replay, resume
    from localprompt.run.session import Session, open_session
    from localprompt.run.ways import Tuned, tune
    from localprompt.search.observer import Observer, SilentObserver
    from localprompt.store import Store
    from localprompt.tasks import Task, load_task

__all__ = [
    "Comparison",
    "ConfigError",
    "ContextOverflow",
    "Demo",
    "Diagnosis",
    "EngineStats",
    "Estimate",
    "EvaluationResult",
    "Example",
    "Exported",
    "Generation",
    "LanguageModel",
    "Leaderboard",
    "LocalModel",
    "LocalPromptError",
    "Loglikelihood",
    "Message",
    "ModelError",
    "ModelFacts",
    "NotEnoughMemory",
    "Observer",
    "Port",
    "Prompt",
    "RunMismatch",
    "RunResult",
    "Sampling",
    "ScriptedLM",
    "Sensitivity",
    "Session",
    "SilentObserver",
    "Store",
    "StoreError",
    "Task",
    "TaskError",
    "Transfer",
    "Tuned",
    "WorkerDied",
    "compare",
    "diagnose",
    "dry_run",
    "evaluate",
    "export",
    "leaderboard",
    "load_model",
    "load_task",
    "open_session",
    "optimize",
    "port",
    "register_scheme",
    "replay",
    "report",
    "resume",
    "sensitivity",
    "transfer",
    "tune",
]

_HOME = {
    "localprompt.battery.leaderboard": ("Leaderboard", "leaderboard"),
    "localprompt.battery.results": ("Sensitivity",),
    "localprompt.battery.sensitivity": ("sensitivity",),
    "localprompt.comparison.table": ("Comparison",),
    "localprompt.comparison.plan": ("compare",),
    "localprompt.comparison.transfer": ("transfer",),
    "localprompt.comparison.transfer_results": ("Transfer",),
    "localprompt.exports.export": ("Exported", "export"),
    "localprompt.lm.base": ("LanguageModel", "ModelFacts"),
    "localprompt.lm.loading": ("register_scheme",),
    "localprompt.lm.local": ("LocalModel", "load_model"),
    "localprompt.lm.scripted": ("ScriptedLM",),
    "localprompt.reports.report": ("report",),
    "localprompt.search.observer": ("Observer", "SilentObserver"),
    "localprompt.run.port": ("port",),
    "localprompt.run.ported": ("Port",),
    "localprompt.run.resume": ("replay", "resume"),
    "localprompt.run.session": ("Session", "open_session"),
    "localprompt.run.ways": ("Tuned", "tune"),
    "localprompt.run.diagnosis": ("Diagnosis", "diagnose"),
    "localprompt.run.api": ("Estimate", "EvaluationResult", "RunResult", "dry_run", "evaluate", "optimize"),
    "localprompt.store": ("Store",),
    "localprompt.tasks": ("Task", "load_task"),
}


def __getattr__(name: str) -> object:
    if name == "models":  # a module that scripts import by its former place
        return import_module("localprompt.hub.files")
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
