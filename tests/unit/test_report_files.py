"""Which run or study a report is of, and the file that it becomes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import report_worlds
import toy

import localprompt
from localprompt.errors import StoreError
from localprompt.reports.page import embedded
from localprompt.reports.report import find, report, watch
from localprompt.store import Store
from localprompt.types import Prompt


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "here.sqlite") as store:
        yield store


def search(store: Store, seed: int = 0) -> str:
    return localprompt.optimize(toy.task(), toy.model(), method="manual", seed=seed, store=store).run_id


def test_without_a_name_the_newest_is_meant(home: Store) -> None:
    first, second = search(home), search(home, seed=1)
    assert find(home, None)[0] == second
    home.runs.delete(second)
    assert find(home, None)[0] == first


def test_a_study_that_has_ended_is_as_new_as_its_newest_run(home: Store) -> None:
    """A port begins before its search, and a comparison may get further methods."""
    run_id, first = search(home), search(home, seed=1)
    study = home.studies.enter("port", "a key", {"run": run_id}, [first])
    assert find(home, None)[0] == study.id
    later = search(home, seed=2)
    home.studies.enter("port", "a key", {"run": run_id}, [first, later])
    assert find(home, None)[0] == later, "it goes on: its search can be watched"
    home.studies.update(study.id, status="finished")
    assert find(home, None)[0] == study.id


def test_the_beginning_of_an_id_is_enough(home: Store) -> None:
    ids = [search(home, seed) for seed in range(3)]
    for run_id in ids:
        assert find(home, run_id)[0] == run_id
        assert find(home, run_id[:8])[0] == run_id
    names = {"task": "t", "model": "m", "proposer": "m", "method": "ape"}
    ids += [home.runs.create({"identity": number}, seed=0, **names).id for number in range(14)]
    digit = next(each for each in "0123456789abcdef" if sum(run_id.startswith(each) for run_id in ids) > 1)
    with pytest.raises(StoreError, match=f"several begin with '{digit}'") as caught:
        find(home, digit)
    assert sum(run_id in caught.value.message for run_id in ids) > 1
    assert caught.value.hint == "give more digits"
    with pytest.raises(StoreError, match="an empty id is none"):
        find(home, "")


def test_what_is_not_there_is_said_with_where_to_look(home: Store) -> None:
    with pytest.raises(StoreError, match="nothing in") as caught:
        find(home, None)
    assert "runs list" in (caught.value.hint or "")
    search(home)
    study = home.studies.enter("sensitivity", "key", {})  # no list shows studies
    with pytest.raises(StoreError, match="no run and no study begins with 'zzz' in") as caught:
        find(home, "zzz")
    assert f"shows the runs; {study.id} is a sensitivity study; --store" in (caught.value.hint or "")


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        report(store=tmp_path / "nowhere.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_run_can_be_shown_by_its_name_and_alone(home: Store) -> None:
    run_id = report_worlds.damaged(home)
    assert find(home, None)[0] == run_id
    found = find(home, run_id[:6])[1].to_json()
    assert found["status"] == "damaged"
    assert found["candidates"]


def test_the_file_lies_in_the_working_folder_or_where_it_should(
    home: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = search(home)
    monkeypatch.chdir(tmp_path)
    assert report(store=home) == Path(f"localprompt-{run_id}.html")
    named = report(run_id, out=tmp_path / "named.html", store=home.path)
    assert named.read_bytes() == Path(f"localprompt-{run_id}.html").read_bytes()
    assert named.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_file_is_written_whole_or_stays_as_it_was(home: Store, tmp_path: Path) -> None:
    search(home)
    old = tmp_path / "old.html"
    old.write_text("old", encoding="utf-8")
    blocking = tmp_path / f"old.html.{os.getpid()}.part"
    blocking.mkdir()
    with pytest.raises(StoreError, match=r"old.html cannot be written \(File exists\)"):
        report(out=old, store=home)
    assert old.read_text(encoding="utf-8") == "old"
    blocking.rmdir()
    report(out=old, store=home)
    assert old.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not blocking.exists()


@pytest.mark.parametrize("place", ["nowhere/page.html", "here.sqlite/page.html", ".", f"{'x' * 248}.html"])
def test_a_file_that_cannot_be_written_is_one_sentence(home: Store, tmp_path: Path, place: str) -> None:
    search(home)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StoreError, match=r"cannot be written|no name of a file") as caught:
        report(out=tmp_path / place, store=home)
    hint = "choose another file" if place == "." else "choose another file, in a folder that is there"
    assert caught.value.hint == hint
    assert sorted(tmp_path.iterdir()) == before


def test_texts_that_utf_8_cannot_say_do_not_stop_a_report(home: Store, tmp_path: Path) -> None:
    task = replace(toy.task(), name="lone\ud800", seeds=(Prompt("lone\ud800"),))
    localprompt.optimize(task, toy.model(name="lone\udfff"), method="manual", store=home)
    assert report(out=tmp_path / "page.html", store=home).stat().st_size > 0


def test_a_page_is_written_again_while_its_run_goes_on_and_once_more_when_it_has_ended(
    home: Store, tmp_path: Path
) -> None:
    run_id, path = report_worlds.killed(home, 120), tmp_path / "page.html"
    pages = watch(home, None, path, seconds=0)
    with home.runs.hold(run_id):
        assert next(pages) == path
        first = path.read_text(encoding="utf-8")
        home.runs.add_event(run_id, "note", "something new")
        next(pages)
        second = path.read_text(encoding="utf-8")
    assert list(pages) == [path]
    last = path.read_text(encoding="utf-8")
    assert ["data-renewed" in text.partition("<body>")[0] for text in (first, second, last)] == [True, True, False]
    assert ["something new" in text for text in (first, second, last)] == [False, True, True]


def test_a_page_whose_watching_is_broken_off_loads_itself_no_more(home: Store, tmp_path: Path) -> None:
    run_id, path = report_worlds.killed(home, 120), tmp_path / "page.html"
    with home.runs.hold(run_id):
        pages = watch(home, run_id, path, seconds=0)
        next(pages)
        pages.close()
    assert "data-renewed" not in path.read_text(encoding="utf-8").partition("<body>")[0]


def test_a_run_that_has_ended_is_written_once(home: Store, tmp_path: Path) -> None:
    search(home)
    assert list(watch(home, None, tmp_path / "page.html")) == [tmp_path / "page.html"]


def test_a_link_and_the_mode_of_a_file_stay(home: Store, tmp_path: Path) -> None:
    search(home)
    target, link = tmp_path / "target.html", tmp_path / "link.html"
    target.write_text("old", encoding="utf-8")
    target.chmod(0o600)
    link.symlink_to(target)
    report(out=link, store=home)
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("labels", [5, [["x"]], {"a": 1}])
def test_labels_that_are_none_give_no_matrix_and_no_error(home: Store, labels: object) -> None:
    run_id = search(home)
    configuration = dict(home.runs.get(run_id).configuration)
    configuration["task"] = {**configuration["task"], "labels": labels}
    home.runs.update(run_id, configuration=configuration)
    assert find(home, run_id)[1].to_json()["confusion"] is None


def test_numbers_that_json_does_not_have_are_null() -> None:
    assert embedded({"a": [float("nan"), 1.5], "b": float("-inf")}) == '{"a":[null,1.5],"b":null}'
