"""`localprompt report`: a page of what the store has, as a file or as JSON, renewed while a run goes on."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import toy
from click.testing import CliRunner, Result

import localprompt
from localprompt.cli.main import main
from localprompt.reports import report as reports
from localprompt.store import Store


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


@pytest.fixture
def run_id() -> str:
    return localprompt.optimize(toy.task(), toy.model()).run_id


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def is_renewed(page: Path) -> bool:
    return "data-renewed=" in page.read_text(encoding="utf-8").partition("<body>")[0]


def test_the_page_of_a_run_is_one_file_in_the_working_folder(run_id: str) -> None:
    found = call(run_id[:6])
    assert (found.exit_code, found.stdout) == (0, f"localprompt-{run_id}.html\n")
    page = Path(f"localprompt-{run_id}.html")
    assert "<title>toy: auto on scripted</title>" in page.read_text(encoding="utf-8")
    assert not is_renewed(page)
    assert not list(Path().glob("*.part"))


def test_the_newest_is_shown_by_default_and_any_file_may_be_written(run_id: str) -> None:
    newest = localprompt.optimize(toy.task(), toy.model(), seed=1).run_id
    assert call("--out", "page.html").stdout == "page.html\n"
    assert newest in Path("page.html").read_text(encoding="utf-8")
    assert newest != run_id


def test_json_is_the_data_of_the_page_and_no_file_is_written(run_id: str) -> None:
    found = call(run_id, "--json")
    data = json.loads(found.stdout)
    assert (data["report"], data["run_id"]) == ("run", run_id)
    assert data["verdict"]["headline"].startswith("The found prompt answers 40 more of 40 test questions correctly")
    assert not list(Path().glob("*.html"))


@pytest.mark.usefixtures("run_id")
def test_an_unknown_id_is_refused_with_what_to_do() -> None:
    found = call("zzz")
    assert found.exit_code == 1
    assert "no run and no study begins with 'zzz'" in found.stderr
    assert "localprompt runs list" in found.stderr


@pytest.mark.parametrize("more", [(), ("--watch",)])
def test_a_folder_that_is_not_there_is_wrong_usage_as_for_other_files(run_id: str, more: tuple[str, ...]) -> None:
    found = call(run_id, "--out", "no/such/folder.html", *more)
    assert found.exit_code == 2
    assert "folder.html cannot be written: its folder does not exist\nHint: make the folder first" in found.stderr


def test_watching_what_has_ended_writes_its_page_once(run_id: str) -> None:
    found = call(run_id, "--watch")
    assert (found.exit_code, found.stdout) == (0, f"localprompt-{run_id}.html\n")
    assert not is_renewed(Path(f"localprompt-{run_id}.html"))


def test_watching_and_json_exclude_each_other(run_id: str) -> None:
    assert call(run_id, "--watch", "--json").exit_code == 2


def test_a_run_is_watched_until_it_ends(tmp_path: Path) -> None:
    """The model waits in the middle of the search until the page of it was written."""
    path, seen, go_on = tmp_path / "store.db", threading.Event(), threading.Event()
    model = toy.model(answer=_waiting(seen, go_on))
    search = threading.Thread(target=localprompt.optimize, args=(toy.task(), model), kwargs={"store": path})
    search.start()
    try:
        assert seen.wait(30)
        with Store(path, create=False) as store:
            pages = reports.watch(store, None, Path("live.html"), seconds=0.01)
            page = next(pages)
            assert is_renewed(page)
            assert "The run goes on" in page.read_text(encoding="utf-8")
            go_on.set()
            for _ in pages:
                pass
    finally:
        go_on.set()
        search.join()
    assert not is_renewed(page)
    assert "The found prompt answers" in page.read_text(encoding="utf-8")


def test_the_page_is_written_only_if_something_changed(monkeypatch: pytest.MonkeyPatch, run_id: str) -> None:
    states = ["running"] * 5 + ["finished"]
    with Store() as store:
        found_id, made = reports.find(store, run_id)
        left = iter(states)
        monkeypatch.setattr(reports, "find", lambda *_: (found_id, _Stated(made.to_json(), next(left))))
        assert len(list(reports.watch(store, None, None, seconds=0))) == 2


def test_a_watch_that_is_broken_off_leaves_a_page_that_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, run_id: str
) -> None:
    data = json.loads(call(run_id, "--json").stdout)
    monkeypatch.setattr(reports, "find", lambda *_: (run_id, _Stated(data, "running")))

    def interrupt(seconds: float) -> None:
        assert is_renewed(Path("it.html"))
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    found = call("--watch", "--out", "it.html")
    assert (found.exit_code, found.stdout) == (0, "it.html\n")
    assert not is_renewed(Path("it.html"))


class _Stated:
    """A report with another status."""

    def __init__(self, data: dict[str, object], status: str) -> None:
        self._data = {**data, "status": status}

    def to_json(self) -> dict[str, object]:
        return self._data


def _waiting(seen: threading.Event, go_on: threading.Event) -> toy.Answer:
    def answer(prompt: str, seed: int) -> str:
        if toy.is_asked_to_write(prompt):
            seen.set()
            assert go_on.wait(30)
        return toy.answer(prompt, seed)

    return answer
