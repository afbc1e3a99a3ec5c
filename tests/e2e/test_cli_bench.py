"""`localprompt models bench` and `models check`, on tiny models and on files that are none."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf_files
import pytest
import tiny
import toy
from click.testing import CliRunner

from localprompt.cli.main import main
from localprompt.engine import memory
from localprompt.engine.gguf_reader import read_header
from localprompt.errors import ModelError
from localprompt.lm.check import check_model, kind_of_memory
from localprompt.lm.local import load_model
from localprompt.lm.speed import Footprint, Rate, measured_speed

FIXED = tuple(
    part
    for setting in ("n_ctx=512", "n_ubatch=128", "n_threads=1", "use_extra_bufts=no", "lanes=8")
    for part in ("--engine", setting)
)


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["models", *arguments])
    return result.exit_code, result.stdout or result.stderr


def checked(path: Path) -> dict[str, Any]:
    code, printed = run("check", str(path), "--json", "--engine", "n_ctx=512")
    found: dict[str, Any] = json.loads(printed)
    assert code == (0 if found["usable"] else 1)
    return {each["name"]: (each["state"], each["said"]) for each in found["checks"]}


# Bench ---------------------------------------------------------------------------------------------------------------


def test_bench_measures_four_rates_and_their_ratios(tiny_qwen: Path) -> None:
    code, printed = run("bench", str(tiny_qwen), "--repetitions", "2", "--json", *FIXED)
    assert code == 0
    found = json.loads(printed)
    rates = {rate["name"]: rate for rate in found["rates"]}
    assert list(rates) == ["pp512", "tg128", "scoring", "generation"]
    assert all(rate["mean"] > 0 and rate["n"] == 2 for rate in rates.values())
    assert rates["pp512"]["ratio"] is rates["tg128"]["ratio"] is None
    assert rates["scoring"]["ratio"] > 0 < rates["generation"]["ratio"]
    assert (found["trials"], found["engine"]["lanes"]) == ([], 8)
    assert found["memory"]["total"] == sum(
        found["memory"][part] for part in ("weights", "cells", "states", "compute", "outputs", "process")
    )
    assert found["memory"]["gpus"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process occupies")
def test_memory_of_its_own_is_told_from_the_mapped_file_and_from_what_is_on_gpus(tiny_qwen: Path) -> None:
    with load_model(tiny_qwen, tune=False, n_ctx=512, n_ubatch=128, n_threads=1, n_engines=2) as lm:
        found = Footprint.of(lm)
        (alone,) = (memory.occupied([engine.pid]) for engine in lm.engine.members[1:])
    now = found.occupied
    assert now is not None
    assert alone is not None
    assert 1.5 * alone.own < now.own < 3 * alone.own
    assert now.mapped < 1.5 * alone.mapped, "what both map counts once"
    assert 0 < max(now.own, now.mapped) < now.own + now.mapped <= 1.01 * now.peak
    away = replace(found, gpus=replace(found.host, weights=7, process=0), held={"CUDA0": 7}).to_json()
    assert (away["gpus"]["weights"], away["gpus"]["held"]) == (7, {"CUDA0": 7})
    assert away["gpus"]["total"] == found.host.total - found.host.weights - found.host.process + 7
    assert away["own"] == now.own


def test_bench_shows_what_each_choice_gave_and_remembers_it(tiny_qwen: Path) -> None:
    few = ("--repetitions", "1", "--engine", "n_ctx=512", "--engine", "n_ubatch=128", "--engine", "n_threads=1")
    first = json.loads(run("bench", str(tiny_qwen), "--json", *few)[1])["trials"]
    assert [trial["settings"] for trial in first] == [{"use_extra_bufts": False}, {"use_extra_bufts": True}]
    code, printed = run("bench", str(tiny_qwen), *few)
    assert code == 0
    assert f"use_extra_bufts=False: {first[0]['rate']:.1f} tokens/s of prefill" in printed
    assert " x pp512" in printed
    assert " x tg128" in printed
    assert "± 0.0" in printed


def test_an_unknown_setting_is_refused_before_anything_is_measured(tiny_qwen: Path) -> None:
    assert run("bench", str(tiny_qwen), "--engine", "n_ctxt=512")[0] == 2
    for command in ("bench", "check"):  # what `load_model` takes beside the settings is none of them
        assert "unknown engine setting 'tune'" in run(command, str(tiny_qwen), "--engine", "tune=no")[1]
    assert run("bench", "no-such-model")[0] == 2


def test_tg_decodes_one_token_at_a_time_and_leaves_nothing(tiny_qwen: Path) -> None:
    with load_model(tiny_qwen, tune=False, n_ctx=512, n_ubatch=128, n_threads=1) as lm:
        before = lm.loglikelihood([("the answer is", " good")])
        assert lm.generation_rate(600) > 0, "as many as the context holds"
        assert lm.loglikelihood([("the answer is", " good")]) == before


def test_measurements_take_turns_after_a_warm_up(tiny_qwen: Path) -> None:
    seen: list[tuple[int, int]] = []
    with load_model(tiny_qwen, tune=False, n_ctx=512, n_ubatch=128, n_threads=1, lanes=4) as lm:
        speed = measured_speed(lm, 2, lambda done, total: seen.append((done, total)))
    assert seen == [(number, 8) for number in range(1, 9)]
    assert {len(rate.values) for rate in (speed.prompt, speed.single, speed.scoring, speed.generation)} == {2}


def test_the_deviation_is_that_of_a_sample_and_the_ratio_a_median_turn_by_turn() -> None:
    rate = Rate((1.0, 3.0, 8.0))
    assert rate.mean == pytest.approx(4.0)
    assert rate.deviation == pytest.approx(13.0**0.5)
    assert Rate((2.0,)).deviation == 0.0
    assert rate.over(Rate((1.0, 1.0, 4.0))) == pytest.approx(2.0)


# Check ---------------------------------------------------------------------------------------------------------------


def test_check_says_of_each_thing_whether_it_works(tiny_qwen: Path) -> None:
    found = checked(tiny_qwen)
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(
        (
            "header",
            "memory",
            "devices",
            "loading",
            "decoding",
            "vocabulary",
            "chat template",
            "grammar",
            "fill-in-the-middle",
            "exact mode",
        ),
        "ok",
    )
    assert "qwen2" in found["header"][1]
    assert "memory of attention" in found["decoding"][1]
    assert found["chat template"][1] == "renders; a system turn; nothing has to be done against thoughts"


def test_memory_is_that_of_each_engine_where_there_are_several(tiny_qwen: Path) -> None:
    few = {"n_ctx": 512, "n_ubatch": 128}
    for n_engines, said in ((1, " MB ("), (2, " MB for each engine (")):
        _, found = itertools.islice(check_model(tiny_qwen, {**few, "n_engines": n_engines}), 2)
        assert said in found.said


def test_what_a_base_model_lacks_is_no_failure(tiny_llama: Path) -> None:
    found = checked(tiny_llama)
    assert found["chat template"] == ("no", "a base model: it is asked in plain text")
    assert found["fill-in-the-middle"] == ("no", "its vocabulary has no tokens for it")
    code, printed = run("check", str(tiny_llama), "--engine", "n_ctx=512")
    assert code == 0
    assert printed.rstrip().endswith("yes")


def test_settings_that_exact_mode_cannot_have_are_no_failure(tiny_qwen: Path) -> None:
    code, printed = run("check", str(tiny_qwen), "--engine", "n_ctx=512", "--engine", "flash_attn=no")
    assert code == 0
    assert "not with these settings: exact needs use_extra_bufts=False" in " ".join(printed.split())


ENDED = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def _opening(thought: str) -> str:
    return tiny.CHATML.replace(ENDED, ENDED.replace("{% endif %}", f"{thought}{{% endif %}}"))


FOLDED = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + tiny.CHATML


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (_opening("<think>\n"), "thoughts are off in chats"),
        (_opening("<think>\n\n</think>\n\n"), "renders; a system turn"),
        (_opening("<|channel|>analysis<|message|>"), "thoughts are off in chats"),
        (
            tiny.CHATML + "{% if enable_thinking is defined and enable_thinking %}<think>{% endif %}",
            "thoughts are off in chats",
        ),
        (FOLDED, "no system turn: its text goes into the first user turn"),
    ],
)
def test_check_says_what_a_chat_template_does(template: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tiny.write_qwen(path, template=template)
    state, text = checked(path)["chat template"]
    assert state == "ok"
    assert said in text


def test_a_chat_template_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tiny.write_qwen(path, template="{{ nothing }}")
    found = checked(path)
    assert found["chat template"][0] == "no"
    assert "plain text" in found["chat template"][1]
    assert "leaves out" in found["vocabulary"][1]


def test_a_damaged_file_a_model_that_does_not_fit_and_one_that_does_not_load_are_not_usable(
    tiny_qwen: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_qwen.read_bytes()[:-64])
    assert list(checked(cut)) == ["header"]
    assert "truncated" in checked(cut)["header"][1]
    code, printed = run("check", str(tiny_qwen), "--engine", "n_ctx=2000000000")
    assert code == 1
    assert "failed: about" in printed
    assert "loading" not in printed
    no_layers = checked(gguf_files.write(tmp_path / "two-tensors.gguf"))
    assert list(no_layers) == ["header", "memory", "loading"]
    assert no_layers["loading"][0] == "failed"


def test_what_is_not_there_is_named_and_nothing_is_pulled() -> None:
    assert run("check", "/nope.gguf")[0] == 1
    assert run("check", "no-such-model")[0] == 2
    code, printed = run("check", "qwen3-8b")
    assert code == 1
    assert "localprompt models pull qwen3-8b" in printed


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "attention"),
        ({"llama.attention.head_count": 4, "llama.attention.sliding_window": 512}, "over the last 512 tokens"),
        ({"llama.attention.head_count": 0, "llama.ssm.state_size": 16}, "recurrent layers alone"),
        ({"llama.attention.head_count": 4, "llama.ssm.state_size": 16}, "hybrid: attention beside"),
        ({"llama.attention.head_count_kv": [0, 0, 2], "llama.shortconv.l_cache": 3}, "hybrid: attention beside"),
    ],
)
def test_the_kind_of_memory_is_read_from_the_header(keys: dict[str, Any], said: str, tmp_path: Path) -> None:
    def add(writer: Any) -> None:
        for key, value in keys.items():
            if isinstance(value, list):
                writer.add_array(key, value)
            else:
                writer.add_uint32(key, value)

    header = read_header(gguf_files.write(tmp_path / "model.gguf", more=add))
    assert said in kind_of_memory(header)


# The example ---------------------------------------------------------------------------------------------------------


def test_the_example_says_what_is_needed_before_it_searches(tiny_qwen: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    task = toy.write_task(tmp_path, 8, 16, 16, template=toy.SHOWING.template)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MODEL": str(tiny_qwen),
        "TASK": task,
        "PRESET": "local",
    }
    command = ["sh", str(root / "examples" / "quantised-7b" / "search.sh"), "ape", "--max-calls", "40"]
    searched = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert searched.returncode == 0, searched.stderr
    needs, minutes, found = (searched.stdout.index(each) for each in ("usable", "evaluations", "== the search"))
    assert needs < minutes < found < searched.stdout.index("seed prompt")
    dry = subprocess.run([*command, "--dry-run"], env=environment, capture_output=True, text=True, check=True)
    assert "== the search" not in dry.stdout
    assert subprocess.run(command[:2], env=environment, capture_output=True, check=False).returncode == 2


# Exact ---------------------------------------------------------------------------------------------------------------


def test_exact_is_a_setting_of_the_engine_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--exact` and `--engine exact=true` are one; what a model is loaded with has both."""
    loaded: list[dict[str, Any]] = []

    def load(name: object, **settings: Any) -> Any:
        loaded.append(settings)
        raise ModelError("not today")

    monkeypatch.setattr("localprompt.lm.local.load_model", load)
    task = toy.write_task(tmp_path, 8, 16, 16)
    command = ["evaluate", task, "--model", "x.gguf", "--prompt", "p", "--store", str(tmp_path / "s.db")]
    for how in (["--exact"], ["--engine", "exact=true"], ["--engine", "n_ctx=512", "--exact"], []):
        assert CliRunner().invoke(main, [*command, *how]).exit_code == 1
    assert [settings.get("exact") for settings in loaded] == [True, True, True, None]
    assert loaded[2]["n_ctx"] == 512
