"""One model in several engines: how requests are dealt out, and what is made of it when workers die."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_worker
import gguf_files
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localprompt.engine import placement
from localprompt.engine.devices import Device
from localprompt.engine.gguf_validator import validate
from localprompt.engine.process import RequestsDied
from localprompt.engine.radix import n_distinct
from localprompt.engine.settings import EngineSettings, read_settings
from localprompt.engine.team import Team, split
from localprompt.engine.watchdog import Timeouts
from localprompt.errors import ConfigError, ModelError

COMMAND = [sys.executable, str(Path(fake_worker.__file__))]
PATH = st.text("abc", min_size=1, max_size=5).map(lambda text: tuple(map(ord, text)))
PATHS = st.lists(PATH, max_size=7)
GPUS = [Device(f"CUDA{number}", "one", 64 << 30, 64 << 30) for number in range(2)]


def cost(paths: list[tuple[int, ...]], beyond: list[int], part: list[int]) -> int:
    return n_distinct(paths[i] for i in part) + sum(beyond[i] for i in part)


def cheapest(paths: list[tuple[int, ...]], beyond: list[int], n: int) -> int:
    """Try all ways to cut the order of the tree."""
    order = sorted(range(len(paths)), key=lambda i: paths[i])
    cuts = itertools.combinations_with_replacement(range(len(order) + 1), n - 1)
    ways = ([order[a:b] for a, b in itertools.pairwise((0, *each, len(order)))] for each in cuts)
    return min(max(cost(paths, beyond, part) for part in way) for way in ways)


@given(st.lists(st.tuples(PATH, st.integers(0, 3)), max_size=7), st.integers(1, 4))
def test_parts_hold_every_request_once_and_the_costliest_is_the_cheapest(
    requests: list[tuple[tuple[int, ...], int]], n: int
) -> None:
    paths, beyond = [path for path, _ in requests], [more for _, more in requests]
    parts = split(paths, beyond, n)
    assert parts == split([list(path) for path in paths], beyond, n), "a function of the requests"
    assert sorted(i for part in parts for i in part) == list(range(len(paths)))
    assert len(parts) <= n
    assert all(part and part == sorted(part) for part in parts)
    ranges = sorted((min(paths[i] for i in part), max(paths[i] for i in part)) for part in parts)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(ranges)), "parts follow the order of the tree"
    assert max((cost(paths, beyond, part) for part in parts), default=0) == cheapest(paths, beyond, n)


@given(PATHS, st.integers(1, 4))
def test_requests_that_cost_nothing_beside_each_other_stay_together(paths: list[tuple[int, ...]], n: int) -> None:
    parts = split(paths, [0] * len(paths), n)
    assert all({paths[i] for i in one}.isdisjoint(paths[i] for i in other) for one, other in itertools.pairwise(parts))


def test_a_group_that_shares_a_beginning_stays_whole_where_that_is_balanced_and_not_where_it_is_all() -> None:
    groups = [tuple(range(low, low + 50)) for low in (0, 100, 200, 300)]
    paths = [(*group, row) for row in range(8) for group in groups]  # as a search asks: every prompt, row by row
    first, second = split(paths, [0] * len(paths), 2)
    assert {i % 4 for i in first}.isdisjoint(i % 4 for i in second)
    assert len(first) == len(second) == 16
    alone = [(*groups[0], row) for row in range(8)]
    assert [len(part) for part in split(alone, [0] * 8, 2)] == [4, 4]
    assert [len(part) for part in split(groups[:2], [0, 500], 2)] == [1, 1]


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    path = gguf_files.write(tmp_path / "model.gguf")
    hasty = Timeouts(silence=1, stall=20, unmeasured=20, deaths=12)
    team = Team(path, EngineSettings(n_engines=2), timeouts=hasty, command=COMMAND)
    yield team
    team.close()


def asked(*answers: object) -> list[list[object]]:
    return [[[number, 0], answer] for number, answer in enumerate(answers)]


def test_both_engines_answer_and_answers_have_the_order_of_their_requests(team: Team) -> None:
    assert [one.settings.n_engines for one in team.members] == [1, 1]
    assert len({one.pid for one in team.members}) == 2
    assert team.map("score", asked(3, 1, 2, 7, 5)) == [9, 1, 4, 49, 25]
    assert all(one._stats.tokens_requested > 0 for one in team.members)
    assert team.stats.tokens_requested == 5
    assert team.map("score", asked(4)) == [16]
    assert team.map("score", []) == []
    assert team.map("square", [2, 3]) == [4, 9], "what is not dealt out is the first one's"


def test_a_worker_that_dies_by_chance_is_replaced_and_nobody_hears_of_it(team: Team, tmp_path: Path) -> None:
    pids = [one.pid for one in team.members]
    once = f"die once {tmp_path / 'mark'}"
    assert team.map("score", asked(1, 2, 3, once)) == [1, 4, 9, once]
    assert [one.pid == pid for one, pid in zip(team.members, pids, strict=True)].count(False) == 1


@pytest.mark.parametrize("killers", [{0}, {7}, {2, 6}])
def test_requests_that_kill_are_found_by_their_numbers_and_the_others_answered(team: Team, killers: set[int]) -> None:
    with pytest.raises(RequestsDied) as error:
        team.map("score", asked(*("die" if i in killers else i for i in range(8))))
    assert set(error.value.failed) == set(error.value.killers) == killers
    assert error.value.results == tuple(None if i in killers else i * i for i in range(8))
    assert all(f"request {i}" in error.value.message for i in killers)
    assert "of 8 killed" in error.value.message
    assert "SIGKILL" in error.value.message
    assert team.map("score", asked(4, 5)) == [16, 25]


def test_all_workers_end_with_the_team(team: Team) -> None:
    team.close()
    for each in team.members:
        with pytest.raises(ModelError, match="is closed"):
            each.check_usable()
    with pytest.raises(ModelError, match="is closed"):
        team.map("score", asked(1, 2))


def test_each_engine_has_a_gpu_and_cores_of_its_own(tmp_path: Path) -> None:
    two = EngineSettings(n_engines=2)
    assert [one.main_gpu for one in placement.members(two, GPUS)] == [0, 1]
    assert [one.main_gpu for one in placement.members(EngineSettings(n_engines=2, n_gpu_layers=0), GPUS)] == [None] * 2
    assert [one.main_gpu for one in placement.members(two, [])] == [None] * 2
    assert EngineSettings(n_engines=16).n_threads >= 1
    with pytest.raises(ModelError, match=r"n_engines=3 takes a GPU for each engine, .* CUDA0 and CUDA1"):
        placement.members(EngineSettings(n_engines=3), GPUS)
    header = validate(gguf_files.write(tmp_path / "model.gguf"))
    small = Device("CUDA1", "one", 1 << 20, 1 << 20)
    assert placement.fitted(header, two, (), GPUS).n_gpu_layers is None
    assert placement.fitted(header, two, (), [GPUS[0], small]).n_gpu_layers == 0, "as many as fit on each"


def test_settings_of_several_engines_are_held_together() -> None:
    assert "n_engines" not in EngineSettings().numerics()
    assert EngineSettings(n_engines=2).numerics()["n_engines"] == 2
    for wrong in ({"n_engines": "0"}, {"n_engines": "17"}, {"n_engines": "2", "main_gpu": "0"}):
        with pytest.raises(ConfigError, match="impossible engine settings"):
            read_settings(wrong)
