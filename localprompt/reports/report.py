"""The report of whatever the store has: a run, or a study made of several. Level 9."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from localprompt.errors import StoreError
from localprompt.interface.advice import command
from localprompt.interface.arguments import checked
from localprompt.interface.paths import expanded, write_whole
from localprompt.reports.comparison_report import comparison_report
from localprompt.reports.page import RENEWED, page
from localprompt.reports.port_report import port_report
from localprompt.reports.run_report import run_report
from localprompt.reports.sensitivity_report import sensitivity_report
from localprompt.reports.transfer_report import transfer_report
from localprompt.run.folds import KIND as FOLDS
from localprompt.run.history import read_history
from localprompt.run.session import opened_store
from localprompt.store import Store, Study

_REST = 10
"""Times as long as a look into the store took, watching rests: the search needs the machine."""
_FOREIGN = (TypeError, ValueError, KeyError, IndexError, AttributeError, AssertionError, RecursionError)
"""What reading data that another version wrote, or nobody, may raise."""


class Report(Protocol):
    """What every kind of report has."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data; the key `report` says of which kind it is."""


def _last_search(home: Store, study: Study) -> Report:
    """Return the report of the last search of a cross-validation: its result has the scores on all folds.

    Raises:
        StoreError: if none was begun, or it is gone.
    """
    if not study.runs:
        hint = f"{command('runs', 'list', store=home.path)} shows what is there"
        raise StoreError(f"no search of the cross-validation {study.id} was begun", hint)
    found = run_report(read_history(home, study.runs[-1]), home.path)
    note = f"this is search {len(study.runs)} of the cross-validation {study.id}, which is {study.status}"
    status = "running" if (found.status, study.status) == ("finished", "running") else found.status  # more is to come
    return replace(found, status=status, notes=(note, *found.notes))


_OF_STUDY: Mapping[str, Callable[[Store, Study], Report]] = {
    "comparison": comparison_report,
    FOLDS: _last_search,
    "port": port_report,
    "sensitivity": sensitivity_report,
    "transfer": transfer_report,
}
"""Kind of study to what makes its report."""


@checked
def report(
    what: str | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    store: Store | str | os.PathLike[str] | None = None,
) -> Path:
    """Return the path of the HTML file that shows a run or a study; it is written whole or not at all.

    Args:
        what: the beginning of its id; None: the newest.
        out: the file, which is replaced if it is there; None: `localprompt-ID.html` in the working folder.
        store: that has it: open, by path, or the default one.

    Raises:
        StoreError: if there is no such thing, it is ambiguous or damaged, or the file cannot be written.
    """
    with opened_store(store, create=False) as home:
        found_id, made = find(home, what)
        path = Path(f"localprompt-{found_id}.html") if out is None else expanded(out)
        write_whole(path, page(made.to_json()))
    return path


def watch(home: Store, what: str | None, out: Path | None, seconds: float = RENEWED) -> Generator[Path, None, None]:
    """Yield the path of a page each time it is written: while its run goes on, and once more when that has ended.

    The page of a run that goes on loads itself again; the last one that is written does not, also where the watching is
    broken off by closing the iterator. A run that has ended is written once.

    Args:
        home: the store.
        what: as in `report`; None: the run that is the newest at the beginning.
        out: the file, as in `report`.
        seconds: between one look into the store and the next.

    Raises:
        StoreError: as `report`.
    """
    found_id, made = find(home, what)
    path = out or Path(f"localprompt-{found_id}.html")
    found, shown, took = made.to_json(), None, 0.0
    try:
        # Of other studies nobody knows whether a process is at work, and there is nothing to see before their end.
        while found.get("status") == "running" and found["report"] in ("run", "comparison"):
            if found != shown:
                write_whole(path, page(found, is_live=True))
                shown = found
                yield path
            time.sleep(max(seconds, _REST * took))
            began = time.monotonic()
            found = find(home, found_id)[1].to_json()
            took = time.monotonic() - began
    finally:
        write_whole(path, page(found))
    yield path


def find(home: Store, what: str | None) -> tuple[str, Report]:
    """Return the id and the report of the run or study whose id begins with `what`, of the newest one for None.

    A study that has ended, and a cross-validation, is as new as the newest of its runs, and goes before them.

    Raises:
        StoreError: if there is none, or several are meant.
    """
    runs = {each.id: each for each in home.runs.every()}
    studies = {each.id: each for each in home.studies.all() if each.kind in _OF_STUDY}
    made = {each.id: each.created for each in home.runs.all()}
    ended = {each.id: each.runs for each in studies.values() if each.status != "running" or each.kind == FOLDS}
    last = {name: max((made.get(run, 0.0) for run in ids), default=0.0) for name, ids in ended.items()}
    made = {each.id: max(each.created, last.get(each.id, 0.0)) for each in studies.values()} | made
    if what is not None and not what.strip():
        raise StoreError("an empty id is none", "give the beginning of an id, or nothing for the newest")
    meant = [each for each in (*studies, *runs) if each.startswith(what or "")]
    if what is None:
        meant = [max(made, key=lambda each: made[each])] if made else [*runs][:1]  # of a damaged run no time is known
    if not meant:
        newest = sorted(studies.values(), key=lambda each: -each.created)[:5]
        known = "".join(f"; {each.id} is a {each.kind} study" for each in newest)
        named = "nothing" if what is None else f"no run and no study begins with {what!r}"
        hint = f"{command('runs', 'list', store=home.path)} shows the runs{known}; --store names another store"
        raise StoreError(f"{named} in {home.path}", hint)
    if len(meant) > 1:
        raise StoreError(f"several begin with {what!r}: {', '.join(sorted(meant)[:5])}", "give more digits")
    (found,) = meant
    try:
        if found in studies:
            return found, _OF_STUDY[studies[found].kind](home, studies[found])
        return found, run_report(read_history(home, found), home.path)
    except _FOREIGN as error:
        look = command("runs", "check", store=home.path)
        raise StoreError(f"{found} is damaged ({type(error).__name__}: {error})", f"{look} says how far") from error
