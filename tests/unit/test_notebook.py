"""What a result offers in a notebook: a card, a report, and its candidates and outcomes as flat rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

import localprompt
from localprompt.errors import ConfigError, StoreError
from localprompt.run.results import RunResult
from localprompt.store import Store
from localprompt.types import Demo, Prompt


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


def _optimize(store: Path, **options: Any) -> RunResult:
    return localprompt.optimize(toy.task(), toy.model(), store=store, **options)


def test_a_result_knows_its_store_and_says_nothing_of_it(store: Path) -> None:
    found = _optimize(store)
    assert found.store == store
    assert found == replace(found, store=None)
    assert str(store) not in repr(found)
    assert "store" not in found.to_json()
    assert RunResult.from_json(found.to_json()).store is None
    assert RunResult.from_json({**found.to_json(), "store": "/etc/passwd"}).store is None


def test_every_way_to_a_result_knows_the_store(store: Path) -> None:
    paused = _optimize(store, pause_after=1e-9)
    resumed = localprompt.resume(paused.run_id, model=toy.model(), store=store)
    ways: list[RunResult] = [
        paused,
        resumed,
        localprompt.resume(resumed.run_id, store=store),
        localprompt.resume(resumed.run_id, model=toy.model(), max_tokens=10**9, store=store),
        localprompt.replay(resumed.run_id, store=store),
    ]
    compared = localprompt.compare([toy.task()], toy.model(), methods=["manual"], max_tokens=900, store=store)
    ways += [each.result for each in compared.runs]
    for found in ways:
        assert found.store == store
        assert found.candidates


def test_a_store_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = _optimize(Path("here.db"), method="manual")
    monkeypatch.chdir(tmp_path.parent)
    assert len(found.candidates) == 1


def test_candidates_are_flat_rows(store: Path) -> None:
    found = _optimize(store)
    rows = found.candidates
    assert rows[0]["op"] == "seed"
    assert list(rows[0]) == ["prompt_id", "instruction", "demos", "op", "parents", "mean", "n", "tokens", "seconds"]
    (best,) = [row for row in rows if row["prompt_id"] == found.best.id]
    assert (best["instruction"], best["demos"], best["mean"], best["n"]) == (toy.BEST, 0, 1.0, 40)
    assert 0 < best["tokens"] <= found.spend.tokens_computed
    assert _is_flat(rows)
    with Store(store) as opened:
        assert [row["prompt_id"] for row in rows] == [each.prompt.id for each in opened.runs.candidates(found.run_id)]


def test_outcomes_are_flat_rows(store: Path) -> None:
    found = _optimize(store)
    rows = found.outcomes
    assert _is_flat(rows)
    tested = [row for row in rows if row["split"] == "test"]
    assert rows[-len(tested) :] == tested
    assert len(tested) == 80
    assert {row["prompt_id"] for row in tested} == {found.best.id, found.seed_prompt.id}
    last = tested[-1]
    assert (last["example_id"], last["prediction"], last["score"], last["failed"]) == ("test:99", "omega99", 1.0, False)
    assert last["completion"].startswith(" omega99")
    dev = [row["score"] for row in rows if row["split"] == "dev" and row["prompt_id"] == found.best.id]
    assert found.dev is not None
    assert sum(dev) / len(dev) == found.dev.mean


def test_outcomes_have_the_rows_by_which_the_winner_was_chosen_each_once(store: Path) -> None:
    found = _optimize(store, max_calls=400)
    rows = [(row["prompt_id"], row["example_id"], row["score"]) for row in found.outcomes if row["split"] != "test"]
    assert len({row[:2] for row in rows}) == len(rows)
    second = found.runner_up
    assert second is not None
    best, other = ({row: score for each, row, score in rows if each == of} for of in (found.best.id, second.prompt.id))
    assert second.n_unseen > 0
    gains = [other[row] - best[row] for row in best if row in other]
    assert (len(gains), sum(gains) / len(gains)) == (second.difference.n, pytest.approx(second.difference.mean))


def _is_flat(rows: list[dict[str, Any]]) -> bool:
    values = [value for row in rows for value in row.values()]
    return (
        all(isinstance(value, str | int | float | None) for value in values) and len({tuple(row) for row in rows}) == 1
    )


def test_a_report_is_written_where_it_is_wanted(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _optimize(store)
    monkeypatch.chdir(tmp_path)
    assert found.report() == Path(f"localprompt-{found.run_id}.html")
    path = found.report(tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    assert found.run_id in path.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="out"):
        found.report(5)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="cannot be written"):
        found.report(tmp_path / "no such folder" / "page.html")


def test_without_a_store_the_error_says_how_to_get_one(store: Path) -> None:
    found = replace(_optimize(store, method="manual"), store=None)
    uses: tuple[Callable[[], object], ...] = (lambda: found.candidates, lambda: found.outcomes, found.report)
    for use in uses:
        with pytest.raises(StoreError, match="does not know its store") as error:
            use()
        assert "localprompt.resume" in error.value.hint
    gone = replace(found, store=store.with_name("gone.db"))
    with pytest.raises(StoreError, match="there is no store"):
        _ = gone.candidates
    assert not store.with_name("gone.db").exists()


def test_a_card_shows_verdict_prompts_and_scores(store: Path) -> None:
    found = _optimize(store)
    html = found._repr_html_()
    for piece in (
        "<strong>significant improvement</strong>",
        "Found prompt",
        toy.BEST,
        "Seed prompt",
        "(no instruction)",
        "0.000 (95 % interval 0.000 to 0.088, 40 examples)",
        "1.000 (95 % interval 0.912 to 1.000, 40 examples)",
        "+1.000 (95 % interval ",
        found.run_id,
    ):
        assert piece in html
    stays = _optimize(store, method="manual")._repr_html_()
    assert "Seed prompt, which stays" in stays
    assert "found on test" not in stays


def test_a_card_shows_hostile_text_as_text(store: Path) -> None:
    hostile = "</pre><script>alert(1)</script><img src=https://example.org/x onerror=alert(1)>&\"'\ud800"
    prompt = Prompt(hostile, (Demo({"input": hostile}, hostile),))
    task = replace(toy.task(), name=hostile[:40], layout=toy.SHOWING, seeds=(prompt,))
    found = localprompt.optimize(task, toy.model(), method="manual", store=store)
    html = found._repr_html_()
    html.encode("utf-8")
    assert set(re.findall(r"<(\w+)", html)) <= {
        "div",
        "p",
        "strong",
        "pre",
        "details",
        "summary",
        "table",
        "tr",
        "th",
        "td",
    }
    assert not re.search(r"<[^>]*(src|href|url|onerror)\b", html)
    assert html.count("&lt;script&gt;") >= 3
    assert "1 worked examples" not in html
    paused = replace(found, stopped="<b>over</b>", test=None)
    assert "&lt;b&gt;over" in paused._repr_html_()
