"""The server through the `openai` client, held to what the model itself says."""

from __future__ import annotations

import http.client
import itertools
import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import serving
import tiny
from naive import TOLERANCE
from openai.types import Completion

from localprompt.lm.local import LocalModel
from localprompt.serve.service import Limits
from localprompt.serve.systemone import Question
from localprompt.types import Message, Sampling

TEXTS = ["the answer is positive", "the answer is negative", "☕ é and", "the ticket is about a refund", "x"]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[LocalModel]:
    with LocalModel(tiny_model, serving.SETTINGS, "tiny") as model:
        yield model


@pytest.fixture(scope="module")
def url(model: LocalModel) -> Iterator[str]:
    with serving.served(model, Limits(body=100_000, waiting=64)) as url:
        yield url


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[openai.OpenAI]:
    with serving.client(url) as client:
        yield client


@pytest.fixture(scope="module")
def qwen(tiny_qwen: Path) -> Iterator[LocalModel]:
    with LocalModel(tiny_qwen, serving.SETTINGS, "qwen") as model:
        yield model


@pytest.fixture(scope="module")
def chat(qwen: LocalModel) -> Iterator[openai.OpenAI]:
    with serving.served(qwen) as url, serving.client(url) as client:
        yield client


def post(url: str, path: str, body: object, **headers: str) -> tuple[int, Any]:
    """What the `openai` client has no method for, or would not send."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, data, headers)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def get(url: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, content


def echoed(api: openai.OpenAI, prompt: Any, **options: Any) -> Completion:
    answer: Completion = api.completions.create(
        **{"model": "tiny", "prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 0, "temperature": 0, **options}
    )
    return answer


def nats(choice: Any) -> float:
    assert choice.logprobs.token_logprobs[0] is None
    assert None not in choice.logprobs.token_logprobs[1:]
    return math.fsum(choice.logprobs.token_logprobs[1:])


# ---- log-probabilities of prompts


@pytest.mark.parametrize("max_tokens", [0, 1, 3])
def test_the_log_probabilities_of_prompts_are_those_of_the_model(
    api: openai.OpenAI, model: LocalModel, max_tokens: int
) -> None:
    tokens = model.tokenize(TEXTS)
    # With one token before it, or BOS, the rest of a text has the log-probability that the records add up to.
    scored = model.engine.map("score", [[each, 1] for each in tokens])
    answer = echoed(api, TEXTS, max_tokens=max_tokens)
    for index, (choice, each, known) in enumerate(zip(answer.choices, tokens, scored, strict=True)):
        assert choice.index == index
        records = choice.logprobs
        assert records is not None
        assert records.token_logprobs is not None
        of_prompt: list[Any] = list(records.token_logprobs[: len(each)])
        assert of_prompt[0] is None
        assert math.fsum(of_prompt[1:]) == pytest.approx(known[0], abs=TOLERANCE)
        assert choice.text.startswith(TEXTS[index])
        n_drawn = len(of_prompt := records.token_logprobs[len(each) :])
        assert n_drawn == max_tokens or choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(map(len, tokens))


def test_a_continuation_has_the_log_likelihood_that_the_model_gives_it(api: openai.OpenAI, model: LocalModel) -> None:
    context, continuations = "the answer is", [" positive", " negative", " and the end"]
    known = model.loglikelihood([(context, each) for each in continuations])
    for text, each in zip(continuations, known, strict=True):
        records = echoed(api, context + text).choices[0].logprobs
        assert records is not None
        assert math.fsum(records.token_logprobs[-each.n_tokens :]) == pytest.approx(each.logprob, abs=TOLERANCE)  # type: ignore[index]


def test_every_form_of_prompt_has_the_same_records_however_often_it_is_asked(
    api: openai.OpenAI, model: LocalModel
) -> None:
    tokens = model.tokenize(TEXTS)
    expected = [choice.logprobs for choice in echoed(api, TEXTS).choices]
    for _ in range(2):
        assert [nats(choice) for choice in echoed(api, tokens).choices] == pytest.approx(
            [math.fsum(each.token_logprobs[1:]) for each in expected],  # type: ignore[union-attr, index]
            abs=TOLERANCE,
        )
        for text, ids, known in zip(TEXTS, tokens, expected, strict=True):
            assert known is not None
            for prompt in (text, ids):
                records = echoed(api, prompt).choices[0].logprobs
                assert records is not None
                assert records.tokens == known.tokens
                assert len(records.tokens or ()) == len(ids)  # none is missing, BOS neither
                assert records.token_logprobs[1:] == pytest.approx(known.token_logprobs[1:], abs=TOLERANCE)  # type: ignore[index]


def test_what_lm_eval_reads_of_a_response_is_the_score(api: openai.OpenAI, model: LocalModel) -> None:
    pairs = [("the answer is", " positive"), ("the answer is", " U"), ("the", " ticket is")]
    encoded = model.engine.map("encode_pairs", [[*pair, None] for pair in pairs])
    known = model.loglikelihood(pairs)
    answer = echoed(api, [tokens for tokens, _ in encoded], max_tokens=1)
    for choice, (_, start), each in zip(answer.choices, encoded, known, strict=True):
        records: Any = choice.logprobs
        own, top = records.token_logprobs[start:-1], records.top_logprobs[start:-1]
        assert math.fsum(own) == pytest.approx(each.logprob, abs=TOLERANCE)
        assert all(nats == max(best.values()) for nats, best in zip(own, top, strict=True)) == each.greedy


def test_a_token_that_ends_the_text_has_a_record_too_so_that_positions_can_be_counted(
    api: openai.OpenAI, model: LocalModel
) -> None:
    end = model.engine.call("pieces")[2][0]

    def is_near(seed: int) -> bool:
        """At such a temperature all tokens are equally probable: the number drawn says which it will be, nearly."""
        return bool(abs(np.random.Generator(np.random.PCG64(seed)).random() * model.n_vocab - end) < 5)

    reasons = set()
    for seed in itertools.islice(filter(is_near, itertools.count()), 60):
        choice = echoed(api, "the ticket", max_tokens=1, temperature=100, seed=seed).choices[0]
        assert choice.logprobs is not None
        reasons.add(choice.finish_reason)
        assert len(choice.logprobs.tokens or ()) == len(model.tokenize(["the ticket"])[0]) + 1
    assert reasons == {"stop", "length"}


def test_the_legacy_fields_fit_the_text(api: openai.OpenAI) -> None:
    choice = echoed(api, "the answer is", max_tokens=4, logprobs=3).choices[0]
    records: Any = choice.logprobs
    n = len(records.tokens)
    assert n == len(records.token_logprobs) == len(records.top_logprobs) == len(records.text_offset)
    assert records.top_logprobs[0] is None
    assert all(3 <= len(top) <= 4 for top in records.top_logprobs[1:])
    for token, own, top in list(zip(records.tokens, records.token_logprobs, records.top_logprobs, strict=True))[1:]:
        assert top[token] == pytest.approx(own, abs=1e-6)
        assert list(top.values())[:3] == sorted(list(top.values())[:3], reverse=True)
    prompt = [(at, token) for at, token in zip(records.text_offset, records.tokens, strict=True) if token != "<s>"]
    for at, token in prompt:
        if "bytes:" not in token and at > 0:
            assert choice.text[at:].startswith(token)
    assert records.text_offset == sorted(records.text_offset)


def test_without_logprobs_an_echo_is_only_text(api: openai.OpenAI) -> None:
    choice = api.completions.create(model="tiny", prompt="the answer", echo=True, max_tokens=0).choices[0]
    assert (choice.text, choice.logprobs, choice.finish_reason) == ("the answer", None, "length")


def test_top_logprobs_of_none_are_empty_but_the_tokens_own_are_there(api: openai.OpenAI) -> None:
    records: Any = echoed(api, "the answer is", logprobs=0).choices[0].logprobs
    assert records.top_logprobs[1:] == [{}] * (len(records.tokens) - 1)
    assert all(value < 0 for value in records.token_logprobs[1:])


# ---- completions


def test_a_completion_is_what_the_model_writes(api: openai.OpenAI, model: LocalModel) -> None:
    known = model.generate(TEXTS, Sampling(max_tokens=12), [0] * len(TEXTS))
    answer = api.completions.create(model="tiny", prompt=TEXTS, max_tokens=12, temperature=0)
    assert [choice.text for choice in answer.choices] == [each.text for each in known]
    assert [choice.finish_reason for choice in answer.choices] == [each.finish_reason for each in known]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == sum(each.n_tokens for each in known)


def test_many_long_completions_at_once_are_what_the_model_writes(api: openai.OpenAI, model: LocalModel) -> None:
    prompts = [f"the {word}" for word in "abcdefghi"]
    known = model.generate(prompts, Sampling(max_tokens=260), [0] * len(prompts))
    answer = api.completions.create(model="tiny", prompt=prompts, max_tokens=260, temperature=0)
    assert [choice.text for choice in answer.choices] == [each.text for each in known]


def test_a_seed_repeats_its_completions_and_n_are_different_ones(api: openai.OpenAI) -> None:
    def ask(seed: int | None) -> list[str]:
        answer = api.completions.create(
            model="tiny", prompt=["the answer", "the ticket"], max_tokens=12, temperature=1, top_p=0.9, n=3, seed=seed
        )
        assert [choice.index for choice in answer.choices] == list(range(6))
        return [choice.text for choice in answer.choices]

    assert ask(7) == ask(7)
    assert len(set(ask(7))) == 6
    assert ask(None) != ask(None)


def test_prompts_that_are_equal_are_gone_on_with_in_different_ways_unless_a_seed_says_how(api: openai.OpenAI) -> None:
    def ask(seed: int | None) -> set[str]:
        prompts = ["the answer"] * 6
        answer = api.completions.create(model="tiny", prompt=prompts, max_tokens=12, temperature=1, seed=seed)
        return {choice.text for choice in answer.choices}

    assert len(ask(None)) > 3
    assert len(ask(7)) == 1


def test_an_answer_says_when_it_was_made(api: openai.OpenAI) -> None:
    began = int(time.time())
    time.sleep(1.1)  # after the server has started, too
    answer = api.completions.create(model="tiny", prompt="x", max_tokens=1)
    assert began < answer.created <= time.time()


def test_a_stop_string_ends_a_completion_before_it(api: openai.OpenAI) -> None:
    options: Any = {"model": "tiny", "prompt": "the answer is", "max_tokens": 20, "temperature": 0}
    whole = api.completions.create(**options).choices[0].text
    choice = api.completions.create(**options, stop=[whole[3:5], "nowhere"]).choices[0]
    assert (choice.text, choice.finish_reason) == (whole[: whole.index(whole[3:5])], "stop")


def test_log_probabilities_of_drawn_tokens_are_those_of_the_same_tokens_in_a_prompt(
    api: openai.OpenAI, model: LocalModel
) -> None:
    choice = api.completions.create(
        model="tiny", prompt="the answer is", max_tokens=6, temperature=0, logprobs=2
    ).choices[0]
    drawn: Any = choice.logprobs
    assert drawn.text_offset[0] == len("the answer is")
    assert [max(top, key=top.get) for top in drawn.top_logprobs] == drawn.tokens  # greedy
    at_once: Any = echoed(api, "the answer is", max_tokens=6, logprobs=2).choices[0].logprobs
    assert at_once.token_logprobs[-6:] == pytest.approx(drawn.token_logprobs, abs=TOLERANCE)
    assert at_once.tokens[-6:] == drawn.tokens


@pytest.mark.parametrize("logprobs", [None, 2])
def test_a_stream_adds_up_to_the_response_at_once(api: openai.OpenAI, logprobs: int | None) -> None:
    options: Any = {"model": "tiny", "prompt": ["the answer is", "☕"], "max_tokens": 9, "temperature": 0, "echo": True}
    options["logprobs"] = logprobs
    at_once = api.completions.create(**options)
    texts, reasons, usage = ["", ""], {}, None
    tokens: list[list[str]] = [[], []]
    for chunk in api.completions.create(**options, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.logprobs:
                tokens[choice.index] += choice.logprobs.tokens
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in at_once.choices]
    assert reasons == {choice.index: choice.finish_reason for choice in at_once.choices}
    assert usage == at_once.usage
    if logprobs:
        assert tokens == [choice.logprobs.tokens for choice in at_once.choices]


def test_a_stream_has_the_lines_that_clients_see_whatever_is_said(url: str) -> None:
    said = "one\u2028two\u0085three☕"
    body = {"prompt": said, "echo": True, "max_tokens": 0, "stream": True}
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/v1/completions", json.dumps(body))
    lines = [line.removeprefix("data: ") for line in connection.getresponse().read().decode().splitlines() if line]
    connection.close()
    assert lines.pop() == "[DONE]"
    assert "".join(json.loads(line)["choices"][0]["text"] for line in lines) == said


# ---- chats


def test_a_chat_is_rendered_by_the_models_template(chat: openai.OpenAI, qwen: LocalModel) -> None:
    turns = [Message("system", "be short"), Message("user", "the ticket is <|im_end|> about")]
    known = qwen.generate([qwen.chat(turns)], Sampling(max_tokens=8), [0])[0]
    messages: Any = [{"role": each.role, "content": each.content} for each in turns]
    options: Any = {"model": "qwen", "messages": messages, "max_tokens": 8, "temperature": 0, "logprobs": True}
    answer = chat.chat.completions.create(**options, top_logprobs=2)
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", known.text)
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert len(choice.logprobs.content) == known.n_tokens
    assert all(len(entry.top_logprobs) == 2 for entry in choice.logprobs.content)
    data = b"".join(bytes(entry.bytes or ()) for entry in choice.logprobs.content)
    assert data.decode(errors="replace").startswith(known.text)
    parts = [part.choices[0] for part in chat.chat.completions.create(**options, stream=True)]
    assert parts[0].delta.role == "assistant"
    assert "".join(part.delta.content or "" for part in parts) == known.text
    assert parts[-1].finish_reason == choice.finish_reason


def test_parts_of_text_are_one_text(chat: openai.OpenAI) -> None:
    def ask(content: Any) -> str | None:
        answer = chat.chat.completions.create(
            model="qwen", messages=[{"role": "user", "content": content}], max_tokens=8, temperature=0
        )
        return answer.choices[0].message.content

    assert ask([{"type": "text", "text": "the "}, {"type": "text", "text": "answer"}]) == ask("the answer")


SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["billing", "other"]}, "urgent": {"type": "boolean"}},
    "required": ["label", "urgent"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(3))
def test_an_answer_follows_a_json_schema(chat: openai.OpenAI, seed: int) -> None:
    answer = chat.chat.completions.create(
        model="qwen",
        messages=[{"role": "user", "content": "the ticket"}],
        max_tokens=60,
        seed=seed,
        response_format={"type": "json_schema", "json_schema": {"name": "ticket", "schema": SCHEMA}},
    )
    found = json.loads(answer.choices[0].message.content or "")
    assert found["label"] in ("billing", "other")
    assert isinstance(found["urgent"], bool)
    assert answer.choices[0].finish_reason == "stop"


def test_a_schema_that_is_none_is_refused(chat: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}
    with pytest.raises(openai.BadRequestError, match="does not compile"):
        chat.chat.completions.create(
            model="qwen", messages=[{"role": "user", "content": "x"}], max_tokens=9, response_format=form
        )


def multiples(*numbers: float) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"allOf": [{"type": "number", "multipleOf": n} for n in numbers]}}}


@pytest.mark.parametrize("numbers", [[19_999_993], [9_765_625], [1999, 1997], [0.1997, 1993]], ids=str)
def test_a_schema_whose_matcher_would_take_minutes_is_refused(chat: openai.OpenAI, numbers: list[float]) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": multiples(*numbers)}}
    options: dict[str, Any] = {"model": "qwen", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}
    with pytest.raises(openai.BadRequestError, match=r"its multipleOf, or .*, is above 10,000"):
        chat.chat.completions.create(**options, response_format=form)
    form["json_schema"]["schema"] = multiples(9973, 0.01, 100.0)
    with pytest.raises(openai.BadRequestError, match="multipleOf"):
        chat.chat.completions.create(**options, response_format=form)
    form["json_schema"]["schema"] = multiples(99.73, 0.01)
    assert chat.chat.completions.create(**options, response_format=form).choices


def test_a_property_that_is_called_multiple_of_ends_no_completion_of_others(chat: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"multipleOf": True, "a": {"const": {"multipleOf": False}}}}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    options: Any = {"model": "qwen", "messages": [{"role": "user", "content": "x"}]}
    stream = chat.chat.completions.create(**options, max_tokens=100, stream=True)
    next(stream)
    assert chat.chat.completions.create(**options, max_tokens=9, response_format=form).choices
    assert [part.choices[0].finish_reason for part in stream][-1]


def test_a_schema_that_is_nested_too_deeply_ends_no_completion_of_others(chat: openai.OpenAI) -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(80):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "deep", "schema": schema}}
    options: Any = {"model": "qwen", "messages": [{"role": "user", "content": "x"}], "temperature": 0}
    alone = chat.chat.completions.create(**options, max_tokens=200).choices[0].message.content
    stream = chat.chat.completions.create(**options, max_tokens=200, stream=True)
    said = [next(stream).choices[0].delta.content or ""]
    with pytest.raises(openai.BadRequestError, match="does not compile"):
        chat.chat.completions.create(**options, max_tokens=9, response_format=form)
    assert "".join([*said, *(part.choices[0].delta.content or "" for part in stream)]) == alone


def test_a_chat_that_the_template_refuses_is_a_bad_request(tmp_path: Path) -> None:
    tiny.write_qwen(tmp_path / "m.gguf", template=tiny.CHATML.replace("['content']", "['content'] | replace('ab', '')"))
    with LocalModel(tmp_path / "m.gguf", serving.SETTINGS, "tiny") as model, serving.served(model) as url:
        (good, _), (bad, answer) = (
            post(url, "/v1/chat/completions", {"messages": [{"role": "user", "content": each}], "max_tokens": 1})
            for each in ("xy", "cabc")
        )
    assert (good, bad) == (200, 400)
    assert "leaves out or changes" in answer["error"]["message"]


# ---- choices


def test_choices_have_the_probabilities_of_their_likelihoods(url: str, model: LocalModel) -> None:
    contexts, choices = ["the answer is", "the review is"], [" positive", " negative"]
    status, answer = post(url, "/v1/choose", {"contexts": contexts, "choices": choices})
    assert status == 200
    known = model.loglikelihood([(context, each) for context in contexts for each in choices])
    for row, pair in zip(answer["data"], (known[:2], known[2:]), strict=True):
        assert row["logprobs"] == pytest.approx([each.logprob for each in pair], abs=TOLERANCE)
        total = sum(math.exp(each.logprob - pair[0].logprob) for each in pair)
        assert row["probabilities"] == pytest.approx([math.exp(e.logprob - pair[0].logprob) / total for e in pair])
        assert row["choice"] == choices[row["probabilities"].index(max(row["probabilities"]))]


def test_choices_are_calibrated_by_contexts_that_say_nothing(url: str) -> None:
    body = {"contexts": ["the answer is", "x"], "choices": [" positive", " negative"]}
    plain = post(url, "/v1/choose", body)[1]["data"]
    found = post(url, "/v1/choose", {**body, "content_free": ["x"]})[1]["data"]
    assert found[1]["probabilities"] == pytest.approx([0.5, 0.5])  # the context that says nothing itself
    ratio = [each / base for each, base in zip(plain[0]["probabilities"], plain[1]["probabilities"], strict=True)]
    assert found[0]["probabilities"] == pytest.approx([each / sum(ratio) for each in ratio], rel=1e-3)


def test_a_choice_that_is_as_good_as_impossible_is_calibrated_too(url: str) -> None:
    """Its probability is less than any number."""
    body = {"contexts": ["the answer is"], "choices": [" positive", " b" * 200], "content_free": ["x"]}
    status, answer = post(url, "/v1/choose", body)
    assert status == 200, answer
    (row,) = answer["data"]
    assert min(row["logprobs"]) < math.log(5e-324)
    assert sum(row["probabilities"]) == pytest.approx(1)


def test_each_context_may_have_choices_of_its_own(url: str) -> None:
    choices = [[" positive", " no", " U"], [" a", " b"]]
    body = {"contexts": ["the answer is", "x"], "choices": choices}
    assert [len(row["probabilities"]) for row in post(url, "/v1/choose", body)[1]["data"]] == [3, 2]
    for third in ([], [[" c", " d"]]):
        more = {"content_free": ["x"], "choices": [*choices, *third]}
        status, answer = post(url, "/v1/choose", {**body, **more})
        assert (status, "all contexts share" in answer["error"]["message"]) == (400, True), third


QUESTIONS = {
    "refund": {"type": "noul", "instructions": "Is it about a refund?"},
    "team": {"type": "choice", "instructions": "Who answers?", "criteria": {"billing": "about money", "other": None}},
    "anger": {"type": "score", "instructions": "How angry?", "criteria": ["calm", "cross", "furious"]},
}


@pytest.mark.parametrize("state", ["the ticket is about a refund", {"ticket": ["a refund"]}])
def test_decisions_have_the_shape_and_the_probabilities_that_their_client_reads(url: str, state: object) -> None:
    status, answer = post(url, "/v1/systemone", {"model": "tiny", "state": state, "questions": QUESTIONS})
    assert status == 200
    found = answer["answers"]
    assert {name: each["type"] for name, each in found.items()} == {
        "refund": "noul",
        "team": "choice",
        "anger": "score",
    }
    assert 0 < found["refund"]["noul"] < 1
    for name, keys in (("team", {"billing", "other"}), ("anger", {"0", "1", "2"})):
        assert set(found[name]["probabilities"]) == keys
        assert sum(found[name]["probabilities"].values()) == pytest.approx(1)
    assert found["team"]["choice"] == max(found["team"]["probabilities"], key=found["team"]["probabilities"].get)
    assert found["anger"]["score"] == pytest.approx(
        sum(int(level) * each for level, each in found["anger"]["probabilities"].items())
    )


@pytest.mark.parametrize(
    "question",
    [
        {"type": "noul", "instructions": "x", "criteria": ["a", "b"]},
        {"type": "choice", "instructions": "x", "criteria": ["a", "b"]},
        {"type": "score", "instructions": "x", "criteria": ["a"]},
    ],
)
def test_a_question_with_criteria_that_do_not_fit_is_refused(url: str, question: object) -> None:
    status, answer = post(url, "/v1/systemone", {"state": "x", "questions": {"q": question}})
    assert (status, "criteria" in answer["error"]["message"]) == (400, True)


# ---- the rest


def test_tokens_models_health_and_metrics(url: str, api: openai.OpenAI, model: LocalModel) -> None:
    tokens = model.tokenize(["the answer"])[0]
    assert post(url, "/tokenize", {"prompt": "the answer"})[1] == {
        "tokens": tokens,
        "count": len(tokens),
        "max_model_len": model.n_ctx,
    }
    assert post(url, "/tokenize", {"content": "the answer"})[1]["tokens"] == tokens
    assert [each.id for each in api.models.list()] == ["tiny"]
    assert api.models.retrieve("tiny").id == "tiny"
    assert json.loads(get(url, "/health")[1]) == {"status": "ok", "model": "tiny"}
    before = _metrics(url)
    echoed(api, TEXTS)
    after = _metrics(url)
    name = 'localprompt_requests_total{path="/v1/completions",status="200"}'
    assert after[name] == before.get(name, 0) + 1
    assert after["localprompt_waves_total"] == before["localprompt_waves_total"] + 1
    assert after["localprompt_wave_items_total"] == before["localprompt_wave_items_total"] + len(TEXTS)
    assert after["localprompt_waiting"] == 0


def _metrics(url: str) -> dict[str, float]:
    lines = [line for line in get(url, "/metrics")[1].splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_a_client_with_vllms_tokenizer_has_the_tokens_that_the_model_reads(url: str, model: LocalModel) -> None:
    info = json.loads(get(url, "/tokenizer_info")[1])
    end, text = model.special_tokens["eos"]
    assert info["eos_token"] == text
    written = f"the answer{text} is"
    body = {"prompt": written, "add_special_tokens": False}
    tokens = post(url, "/tokenize", body)[1]["tokens"]
    assert tokens.count(end) == 1
    assert post(url, "/tokenize", {"prompt": text, "add_special_tokens": False})[1]["tokens"] == [end]
    back = post(url, "/detokenize", {"tokens": tokens})[1]["prompt"]
    assert back.replace(" ", "") == written.replace(" ", "")  # SentencePiece puts spaces before pieces of a text
    plain = post(url, "/tokenize", {"prompt": written})[1]["tokens"]
    assert end not in plain  # a text is a text, unless somebody asks for vLLM's tokens
    assert plain == model.tokenize([written])[0]
    start, _ = model.special_tokens["bos"]
    bare = post(url, "/tokenize", {"content": f"{model.special_tokens['bos'][1]}x", "add_special": False})[1]["tokens"]
    assert start not in bare  # what looks like BOS is text
    with_start = post(url, "/tokenize", {"prompt": "x", "add_special_tokens": True})[1]["tokens"]
    assert with_start == model.tokenize(["x"])[0]


def test_a_stream_whose_client_has_gone_before_its_turn_never_begins(tiny_qwen: Path) -> None:
    n_gone = 5
    with LocalModel(tiny_qwen, replace(serving.SETTINGS, lanes=1), "tiny") as model, serving.served(model) as url:
        address = url.removeprefix("http://")
        before = http.client.HTTPConnection(address, timeout=60)
        body = {"prompt": ["the answer", "the ticket", "a refund"], "max_tokens": 400, "temperature": 0}
        before.request("POST", "/v1/completions", json.dumps(body).encode())
        while not _metrics(url)["localprompt_completions_underway"]:
            time.sleep(0.01)
        for _ in range(n_gone):
            gone = http.client.HTTPConnection(address, timeout=60)
            gone.request("POST", "/v1/completions", json.dumps({"prompt": "x", "stream": True}).encode())
            gone.close()
        assert len(json.loads(before.getresponse().read())["choices"]) == 3
        before.close()
        while (found := _metrics(url))["localprompt_waiting"]:
            time.sleep(0.01)
    assert found['localprompt_requests_total{path="/v1/completions",status="499"}'] == n_gone
    assert found["localprompt_completions_total"] + found["localprompt_completions_cancelled_total"] == 3


def test_prompts_of_one_request_share_their_prefix(url: str, api: openai.OpenAI) -> None:
    before = _metrics(url)["localprompt_tokens_decoded_total"]
    answer = echoed(api, [f"the ticket is about a refund and the answer is {word}" for word in "abcdefgh"])
    after = _metrics(url)["localprompt_tokens_decoded_total"]
    assert answer.usage is not None
    assert after - before < 2 * answer.usage.prompt_tokens / 8


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"prompt": "x", "logprobs": 21}, 400, "logprobs: "),
        ({"prompt": "x", "max_tokens": -1}, 400, "max_tokens: "),
        ({"prompt": "x", "strem": True}, 400, "'strem'"),
        ({"prompt": "x", "frequency_penalty": 0.5}, 400, "frequency_penalty"),
        ({"prompt": "x", "temperature": "hot"}, 400, "temperature"),
        ({"prompt": {"a": 1}}, 400, "prompt"),
        ({"prompt": []}, 400, "empty list"),
        ({"prompt": [], "stream": True}, 400, "empty list"),
        ({"prompt": ["x", 1]}, 400, "prompt"),
        ({"prompt": [[10**9]]}, 400, "token 1000000000"),
        ({"prompt": "x", "stop": ""}, 400, "stop string"),
        ({"prompt": "x", "stop": ["y"] * 65}, 400, "at most 64 stop strings"),
        ({"prompt": "x", "stop": "y" * 1025}, 400, "of 1,024 characters"),
        ({"prompt": "x", "top_k": 10**30}, 400, "top_k"),
        ({"prompt": [None] * 10_000}, 400, "prompt.0"),
        ({"prompt": "x", **{f"n{i}": 1 for i in range(2000)}}, 400, "2,000 mistakes"),
        ({"prompt": "x", "stream": True, "stream_options": {"usage": True}}, 400, "'stream_options.usage'"),
        ({"prompt": "x", "suffix": "y"}, 400, "'suffix'"),
        ({"prompt": "x", "max_tokens": 4000}, 400, "the context has 512"),
        ({"prompt": "the answer " * 400}, 400, "the context has 512"),
        ({"prompt": "x", "model": "other"}, 404, "served is 'tiny'"),
        ({"prompt": ["x"] * 65}, 400, "at most 64 may wait"),
        ({"prompt": ["x"] * 33, "n": 2, "max_tokens": 0}, 400, "has 66 items"),
        ({"prompt": "x", "best_of": 2}, 400, "best_of 2"),
        ({"prompt": "x", "stream_options": {"include_usage": True}}, 400, "stream is false"),
        ({"prompt": "x" * 100_001}, 413, "100000 bytes"),
        (b"{", 400, "JSON"),
        (b"", 400, "JSON"),
        (b"\xff", 400, "JSON"),
        (b"[]", 400, "body"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(url: str, body: object, status: int, said: str) -> None:
    found, answer = post(url, "/v1/completions", body)
    assert (found, set(answer)) == (status, {"error"})
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert said in answer["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "n": 65}, "has 65 items"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}] * 10_001}, "has 10,001 messages"),
        ("/v1/choose", {"contexts": ["x"] * 13, "choices": ["a"] * 5}, "has 65 items"),
        ("/v1/choose", {"contexts": ["x" * 5_000_000], "choices": ["a"] * 14}, "70,000,014 characters"),
        (
            "/v1/systemone",
            {"state": "x" * 5_000_000, "questions": {str(i): {"type": "noul", "instructions": "x"} for i in range(7)}},
            "70,000,000 characters",
        ),
    ],
)
def test_what_is_too_much_together_is_refused_before_anything_is_made_of_it(
    model: LocalModel, path: str, body: object, said: str
) -> None:
    with serving.served(model, Limits(waiting=64)) as url:
        status, answer = post(url, path, body)
    assert (status, said in answer["error"]["message"]) == (400, True), answer


def test_null_is_as_good_as_nothing(url: str) -> None:
    names = [
        "temperature",
        "top_p",
        "n",
        "stream",
        "stop",
        "seed",
        "echo",
        "logprobs",
        "max_tokens",
        "suffix",
        "best_of",
    ]
    status, answer = post(url, "/v1/completions", {"prompt": "x", **dict.fromkeys(names)})
    assert (status, len(answer["choices"])) == (200, 1), answer


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/choose", {"contexts": ["x"], "choices": ["a", "b"], "score": None, "content_free": None}),
        ("/tokenize", {"prompt": "x", "content": None, "add_special": None, "add_special_tokens": None}),
        ("/v1/systemone", {"state": "x", "questions": {"q": {"type": "noul", "instructions": "x", "criteria": None}}}),
    ],
)
def test_null_is_as_good_as_nothing_everywhere(url: str, path: str, body: dict[str, Any]) -> None:
    without = {name: value for name, value in body.items() if value is not None}
    assert post(url, path, body)[0] == post(url, path, without)[0] == 200


def test_an_answer_can_be_sent_back_as_it_came(chat: openai.OpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "the answer"}]
    options: dict[str, Any] = {"model": "qwen", "max_tokens": 4, "temperature": 0}
    said = chat.chat.completions.create(messages=asked, **options).choices[0].message
    assert chat.chat.completions.create(messages=[*asked, said, *asked], **options).choices


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"messages": [{"role": "user", "content": "x", "name": "Ada"}]}, "'messages.0.name'"),
        ({"response_format": {"type": "text", "json_schema": {"schema": {}}}}, "and only there"),
        ({"response_format": {"type": "json_object", "json_schema": {"schema": {}}}}, "and only there"),
        ({"response_format": {"type": "json_schema"}}, "and only there"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": ["x" * 32_768]}}}},
            "the schema has 32,800 characters; at most 32,768",
        ),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "x": 1}}}, "json_schema.x'"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens and max_completion_tokens differ"),
    ],
)
def test_what_would_have_no_effect_in_a_chat_is_refused(url: str, more: dict[str, Any], said: str) -> None:
    status, answer = post(url, "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], **more})
    assert (status, said in answer["error"]["message"]) == (400, True), answer


def test_a_chat_without_messages_is_no_context(url: str) -> None:
    cases: list[dict[str, Any]] = [{"contexts": [[]]}, {"contexts": ["x"], "content_free": [[]]}]
    for more in cases:
        status, answer = post(url, "/v1/choose", {"choices": ["a", "b"], **more})
        assert (status, "a context has no messages" in answer["error"]["message"]) == (400, True), answer


def test_no_level_of_a_score_begins_another(url: str) -> None:
    criteria = [f"as {n}" for n in range(12)]
    question = {"type": "score", "instructions": "How angry?", "criteria": criteria}
    assert list(Question.model_validate(question).options()) == [f"{n:02}" for n in range(12)]
    status, answer = post(url, "/v1/systemone", {"state": "x", "questions": {"q": question}})
    found = answer["answers"]["q"]
    assert (status, list(found["probabilities"])) == (200, [str(n) for n in range(12)])
    assert found["score"] == pytest.approx(sum(int(level) * each for level, each in found["probabilities"].items()))


def test_alternatives_without_log_probabilities_are_refused(url: str) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}
    status, answer = post(url, "/v1/chat/completions", body)
    assert status == 400
    assert "top_logprobs 2 has no effect without logprobs" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("host", "key", "status"),
    [
        ("localhost:8712", "", 200),
        ("[::1]:8712", "", 200),
        ("LOCALHOST", "", 200),
        ("evil.example", "", 403),
        ("127.0.0.1.evil.example:8712", "", 403),
        ("localhost@evil.example", "", 403),
        ("[", "", 403),
        ("evil.example", "k", 200),
    ],
)
def test_without_a_key_a_request_must_mean_this_machine(model: LocalModel, host: str, key: str, status: int) -> None:
    with serving.served(model, api_key=key) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        connection.request("GET", "/v1/models", headers={"Host": host, "Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        said = json.load(answer)
        connection.close()
    assert answer.status == status
    assert ("error" in said) is (status != 200)


@pytest.mark.parametrize(
    ("origin", "key", "status"),
    [
        ("http://localhost:3000", "", 200),
        ("https://127.0.0.1", "", 200),
        ("https://evil.example", "", 403),
        ("null", "", 403),
        ("https://evil.example", "k", 200),
    ],
)
def test_without_a_key_no_page_elsewhere_sends_requests(model: LocalModel, origin: str, key: str, status: int) -> None:
    """A browser lets a page send plain text anywhere, and only keeps the answer from it."""
    sent = {"Origin": origin, "Authorization": f"Bearer {key}", "Content-Type": "text/plain"}
    with serving.served(model, api_key=key) as url:
        assert post(url, "/v1/completions", {"prompt": "x", "max_tokens": 1}, **sent)[0] == status


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/completions/x"])
def test_an_unknown_path_is_an_error_of_the_same_form(url: str, path: str) -> None:
    assert post(url, path, {}) == (
        404,
        {"error": {"message": "Not Found", "type": "invalid_request_error", "param": None, "code": None}},
    )


def test_a_text_that_kills_the_tokeniser_is_told_so_and_the_next_is_answered(tmp_path: Path) -> None:
    tiny.write_letters(tmp_path / "letters.gguf")
    with LocalModel(tmp_path / "letters.gguf", serving.SETTINGS, "tiny") as model, serving.served(model) as url:
        status, answer = post(url, "/v1/completions", {"prompt": ["abc", "xyz"], "max_tokens": 1})
        assert (status, answer["error"]["code"]) == (500, "request_died")
        assert "kills the tokeniser" in answer["error"]["message"]
        assert post(url, "/v1/completions", {"prompt": "abc", "max_tokens": 1})[0] == 200


def test_with_a_key_nobody_else_is_answered(tiny_qwen: Path) -> None:
    with LocalModel(tiny_qwen, serving.SETTINGS) as model, serving.served(model, api_key="secret") as url:
        with serving.client(url) as stranger, pytest.raises(openai.AuthenticationError, match="API key"):
            stranger.models.list()
        with serving.client(url, api_key="secret") as friend:
            assert len(list(friend.models.list())) == 1
        assert get(url, "/health")[0] == 200
        assert get(url, "/metrics")[0] == 401


def test_a_request_that_takes_too_long_is_told_so(tiny_qwen: Path) -> None:
    with (
        LocalModel(tiny_qwen, serving.SETTINGS, "tiny") as model,
        serving.served(model, Limits(seconds=0.05)) as url,
        serving.client(url) as api,
    ):
        with pytest.raises(openai.InternalServerError, match=r"no answer after 0.05 seconds") as error:
            api.completions.create(model="tiny", prompt=["☕"] * 300, max_tokens=400, temperature=0)
        assert error.value.status_code == 504


@pytest.mark.parametrize("max_tokens", [0, 1, 4])
def test_with_add_bos_token_ids_are_read_behind_one_that_is_not_told_of(model: LocalModel, max_tokens: int) -> None:
    whole = model.tokenize(TEXTS)
    bos = model.tokenize([""])[0]
    ids = [each[len(bos) :] for each in whole]
    asked: dict[str, Any] = {"model": "tiny", "max_tokens": max_tokens, "echo": True, "logprobs": 2, "temperature": 0}
    with serving.served(model, Limits(add_bos=True)) as url, serving.client(url) as api:
        found = api.completions.create(prompt=ids, **asked)
        known = api.completions.create(prompt=whole, **asked)  # has it already
    for choice, other, tokens in zip(found.choices, known.choices, ids, strict=True):
        assert choice.text == other.text
        assert choice.logprobs is not None
        assert other.logprobs is not None
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            shown, wanted = getattr(choice.logprobs, name), getattr(other.logprobs, name)
            assert len(shown) == len(wanted) - len(bos)
            assert shown == wanted[len(bos) :] or name.endswith("logprobs")
        assert len(choice.logprobs.tokens) >= len(tokens)
        nats, wanted = choice.logprobs.token_logprobs, other.logprobs.token_logprobs[len(bos) :]
        assert nats == pytest.approx(wanted, abs=TOLERANCE) if bos else nats[0] is None
