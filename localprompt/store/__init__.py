"""Runs and answers in one SQLite file. Level 1. The only package that touches SQLite."""

from localprompt.store.answers import Answers
from localprompt.store.records import Event, RunRecord, RunStatus
from localprompt.store.runs import Runs
from localprompt.store.store import Store, default_path

__all__ = ["Answers", "Event", "RunRecord", "RunStatus", "Runs", "Store", "default_path"]
