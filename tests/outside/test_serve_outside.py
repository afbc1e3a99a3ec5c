"""The LM evaluation harness and DSPy's decisions through `localprompt serve`: their numbers are the model's own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import serving
from outside_programs import FIGURES, HERE, PYTHON, called

from localprompt.hub.files import card_named, installed
from localprompt.lm.local import LocalModel, load_model
from localprompt.serve.service import Limits
from localprompt.types import Loglikelihood

GEMMA = "gemma-3-270m"
NOISE = 0.3
"""Nats by which a score moves with the batch, as tests/real measures it: the root of the mean square."""

LABELS = ["billing", "negative", "positive"]
TEXTS = [
    f"the {noun} is about {about} and" for noun in ("ticket", "review", "order") for about in ("a refund", "the end")
]


@pytest.fixture(scope="module")
def model(tiny_qwen: Path) -> Iterator[LocalModel]:
    with LocalModel(tiny_qwen, serving.SETTINGS, "tiny") as model:
        yield model


@pytest.fixture(scope="module")
def url(model: LocalModel) -> Iterator[str]:
    with serving.served(model) as url:
        yield url


def choosing(folder: Path, url: str, name: str) -> tuple[list[tuple[float, bool]], float]:
    """Nats and greediness of each label behind each text, and the accuracy, as the harness has them from a server."""
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps({"text": text, "label": LABELS[0]}) + "\n" for text in TEXTS))
    task = {
        "task": "choosing",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}}",
        "doc_to_choice": LABELS,
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc"}],
        "metadata": {"version": 1},
    }
    (folder / "choosing.yaml").write_text(json.dumps(task))  # JSON is YAML
    *found, scores = called(PYTHON, HERE / "run_lm_eval_serve.py", folder, "choosing", url, name, folder=folder)
    nats = [(float(answer[0][0]), answer[0][1] in (True, "True")) for each in found for answer in each["answers"]]
    return nats, scores["acc,none"]


PAIRS = [(text, f" {label}") for text in TEXTS for label in LABELS]


def check(found: tuple[list[tuple[float, bool]], float], native: Sequence[Loglikelihood]) -> None:
    nats, accuracy = found
    assert [each for each, _ in nats] == pytest.approx([each.logprob for each in native], abs=1e-4)
    assert [is_greedy for _, is_greedy in nats] == [each.greedy for each in native]
    best = [max(range(3), key=lambda n: native[3 * i + n].logprob) for i in range(len(TEXTS))]
    assert accuracy == pytest.approx(best.count(0) / len(TEXTS))


def test_the_harness_has_the_likelihoods_of_the_model_with_the_tokenizer_of_the_server(
    url: str, model: LocalModel, tmp_path: Path
) -> None:
    check(choosing(tmp_path, url, "tiny"), model.loglikelihood(PAIRS))


def test_with_add_bos_the_harness_has_the_likelihoods_of_a_model_that_wants_bos(
    tiny_llama: Path, tmp_path: Path
) -> None:
    with LocalModel(tiny_llama, serving.SETTINGS, "tiny") as llama, serving.served(llama, Limits(add_bos=True)) as url:
        check(choosing(tmp_path, url, "tiny"), llama.loglikelihood(PAIRS))


def test_a_real_model_that_wants_bos_has_its_likelihoods_in_the_harness_within_the_noise(tmp_path: Path) -> None:
    if not installed(card_named(GEMMA)):
        pytest.skip(f"`localprompt models pull {GEMMA}` fetches the model")
    with load_model(GEMMA, tune=False, n_ctx=1024, n_threads=1) as gemma:
        native = [each.logprob for each in gemma.loglikelihood(PAIRS)]

        def difference(limits: Limits, folder: Path) -> float:
            folder.mkdir()
            with serving.served(gemma, limits) as url:
                nats, _ = choosing(folder, url, GEMMA)
            return math.sqrt(sum((a - b) ** 2 for (a, _), b in zip(nats, native, strict=True)) / len(native))

        with_bos, without = difference(Limits(add_bos=True), tmp_path / "a"), difference(Limits(), tmp_path / "b")
    FIGURES.append(
        f"{GEMMA} through the harness: {with_bos:.3f} nats from its own with --add-bos, {without:.3f} without"
    )
    assert with_bos < NOISE < without


def test_dspys_client_of_decisions_reads_the_answers(url: str, tmp_path: Path) -> None:
    (answer,) = called(PYTHON, HERE / "run_decisions.py", url, "tiny", folder=tmp_path)
    assert set(answer["value"]) == {"refund", "team", "anger"}
    assert answer["value"]["team"] in ("billing", "shipping")
    assert sum(answer["probabilities"]["team"].values()) == pytest.approx(1)
    assert set(answer["probabilities"]["anger"]) == {"0", "1", "2"}
