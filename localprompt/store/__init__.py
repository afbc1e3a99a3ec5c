"""Runs, studies and answers in one SQLite file. Level 2. The only package that touches SQLite."""

from localprompt.store.answers import Answers
from localprompt.store.records import DamagedRun, Event, RunRecord, RunStatus
from localprompt.store.runs import Runs
from localprompt.store.store import Store
from localprompt.store.studies import Studies, Study

__all__ = ["Answers", "DamagedRun", "Event", "RunRecord", "RunStatus", "Runs", "Store", "Studies", "Study"]
