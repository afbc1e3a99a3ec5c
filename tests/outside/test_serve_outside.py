"""The LM evaluation harness and DSPy's decisions through `localprompt serve`: their numbers are the model's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving
from outside_programs import HERE, PYTHON, called

from localprompt.lm.local import LocalModel

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


def test_the_harness_has_the_likelihoods_of_the_model_with_the_tokenizer_of_the_server(
    url: str, model: LocalModel, tmp_path: Path
) -> None:
    data = tmp_path / "data.jsonl"
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
    (tmp_path / "choosing.yaml").write_text(json.dumps(task))  # JSON is YAML
    *found, scores = called(PYTHON, HERE / "run_lm_eval_serve.py", tmp_path, "choosing", url, "tiny", folder=tmp_path)
    native = model.loglikelihood([(text, f" {label}") for text in TEXTS for label in LABELS])
    nats = [(float(answer[0][0]), answer[0][1] in (True, "True")) for each in found for answer in each["answers"]]
    assert [each for each, _ in nats] == pytest.approx([each.logprob for each in native], abs=1e-4)
    assert [is_greedy for _, is_greedy in nats] == [each.greedy for each in native]
    best = [max(range(3), key=lambda n: native[3 * i + n].logprob) for i in range(len(TEXTS))]
    assert scores["acc,none"] == pytest.approx(best.count(0) / len(TEXTS))


def test_dspys_client_of_decisions_reads_the_answers(url: str, tmp_path: Path) -> None:
    (answer,) = called(PYTHON, HERE / "run_decisions.py", url, "tiny", folder=tmp_path)
    assert set(answer["value"]) == {"refund", "team", "anger"}
    assert answer["value"]["team"] in ("billing", "shipping")
    assert sum(answer["probabilities"]["team"].values()) == pytest.approx(1)
    assert set(answer["probabilities"]["anger"]) == {"0", "1", "2"}
