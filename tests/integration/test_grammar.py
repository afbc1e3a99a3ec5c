"""Completions bound to a regular expression, on the tiny models, which would rather write anything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import regex
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from localprompt.errors import ConfigError
from localprompt.lm.local import LocalModel, load_model
from localprompt.types import Generation, Message, Sampling

PROMPTS = ["the answer is", "☕", ""]
PATTERNS = [
    "yes|no",
    "(positive|negative)( and (positive|negative))*",
    r"[0-9]{1,4}(\.[0-9]+)?",
    r"<prompt>[^<\n]{3,40}</prompt>",
    r"(\n- [^\n]{1,12}){2,3}\n",
    "(é|☕|🦙){1,5}",
    r"[^\n]*\n",
    r"(?s:.{0,30})the end",
    "x?",
    " the word is [a-z]+",
]
atoms = st.sampled_from(["a", "the ", "[a-f]", "[^a-z]", "é", "☕?", ".", " ", "<", "(yes|no)", r"\n", "[0-9]"])
repeated = st.tuples(atoms, st.sampled_from(["", "{1,3}", "?", "*", "+", "{2}"])).map(lambda t: f"(?:{t[0]}){t[1]}")
patterns = st.lists(st.lists(repeated, min_size=1, max_size=4).map("".join), min_size=1, max_size=3).map("|".join)
samplings = st.builds(
    Sampling,
    max_tokens=st.sampled_from([1, 8, 60]),
    temperature=st.sampled_from([0.0, 0.9, 3.0]),
    top_p=st.sampled_from([1.0, 0.8]),
    top_k=st.sampled_from([0, 5]),
    min_p=st.sampled_from([0.0, 0.1]),
    grammar=st.one_of(st.sampled_from(PATTERNS), patterns),
)


@pytest.fixture(scope="module")
def lm(tiny_model: Path) -> Iterator[LocalModel]:
    with load_model(tiny_model, tune=False, n_ctx=1024, lanes=8) as model:
        yield model


def obeys(generation: Generation, pattern: str) -> bool:
    """Whether the text matches; one that was cut off, whether it could have become a match."""
    partial = generation.finish_reason == "length"
    return regex.fullmatch(pattern, generation.text, partial=partial) is not None


@settings(max_examples=150, deadline=None)
@given(sampling=samplings, seed=st.integers(0, 1000))
def test_completions_match_their_grammar(lm: LocalModel, sampling: Sampling, seed: int) -> None:
    generations = lm.generate(PROMPTS, sampling, range(seed, seed + len(PROMPTS)))
    assert [g for g in generations if not obeys(g, sampling.grammar)] == []
    assert all(g.n_tokens <= sampling.max_tokens for g in generations)


@pytest.mark.parametrize(
    "pattern", ["yes|no", "(positive|negative)", "(é|☕|🦙){3}", r"<prompt>[a-z ]{3,9}</prompt>", "x?"]
)
def test_a_completion_that_cannot_go_on_ends_by_itself(lm: LocalModel, pattern: str) -> None:
    sampling = Sampling(max_tokens=60, temperature=1.0, grammar=pattern)
    found = lm.generate(PROMPTS * 5, sampling, range(15))
    assert {g.finish_reason for g in found} == {"stop"}
    assert all(regex.fullmatch(pattern, g.text) for g in found)


def test_grammars_leave_choice_to_the_model_and_its_seed(lm: LocalModel) -> None:
    sampling = Sampling(max_tokens=30, temperature=2.0, grammar="[a-z]{8}")
    found = [g.text for g in lm.generate(["the"] * 8, sampling, range(8))]
    assert len(set(found)) == 8
    assert [g.text for g in lm.generate(["the"] * 4, sampling, range(4))] == found[:4]


def test_a_completion_does_not_depend_on_a_grammar_that_it_obeys_anyway(lm: LocalModel) -> None:
    free = Sampling(max_tokens=12)
    bound = Sampling(max_tokens=12, grammar=r"(?s:.*)")
    texts = ["the answer ☕", "the answer is"]
    freely = lm.generate(texts, free, [0, 0])
    assert lm.generate(texts, bound, [0, 0]) == freely
    assert all(g.text for g in freely)


def test_max_tokens_and_stop_strings_still_end_a_completion(lm: LocalModel) -> None:
    (cut,) = lm.generate(["the"], Sampling(max_tokens=5, grammar="(☕){50}"), [0])
    assert (cut.text, cut.finish_reason) == ("☕" * (cut.text.count("☕")), "length")  # no half characters
    (stopped,) = lm.generate(["the"], Sampling(max_tokens=50, stop=("word",), grammar="the word is [a-z]+"), [0])
    assert (stopped.text, stopped.finish_reason) == ("the ", "stop")


def test_an_expression_that_does_not_compile_is_refused_before_anything_is_computed(lm: LocalModel) -> None:
    decoded = lm.stats.tokens_decoded
    refused = {"(a": "unclosed group", "(?=a)b": "look-around", r"(a)\1": "backreferences", r"a\b": "lookarounds"}
    for pattern, word in refused.items():
        with pytest.raises(ConfigError, match=word):
            lm.generate(["the"], Sampling(max_tokens=5, grammar=pattern), [0])
    with pytest.raises(ConfigError, match="type: nothing") as error:
        lm.generate(["the"], Sampling(max_tokens=5, grammar='{"type": "nothing"}'), [0])
    assert not error.value.hint, "a schema has no syntax of an expression"
    assert lm.stats.tokens_decoded == decoded
    assert lm.generate(["the"], Sampling(max_tokens=5, grammar="no"), [0])[0].text == "no"


def test_a_vocabulary_without_the_bytes_is_a_dead_end_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "letters.gguf"
    tiny.write_letters(path)
    with load_model(path, tune=False, n_ctx=512) as model:
        pid = model.pid
        for pattern, text in (("ab☕", "ab"), ("[☕é]", ""), ("a[☕é]b", "a")):
            (found,) = model.generate(["a"], Sampling(max_tokens=9, grammar=pattern), [0])
            assert (found.text, found.finish_reason) == (text, "length")
        (found,) = model.generate(["a"], Sampling(max_tokens=9, grammar="ab|c"), [0])
        assert (found.text in ("ab", "c"), found.finish_reason) == (True, "stop")
        assert model.pid == pid


@pytest.mark.real
def test_a_small_real_model_puts_its_instruction_between_the_tags() -> None:
    with load_model("smollm2-135m-instruct", tune=False, n_ctx=2048) as model:
        prompt = model.chat([Message("user", "Write one short instruction for a student, between <prompt> tags.")])
        sampling = Sampling(max_tokens=60, temperature=1.0, top_p=0.95, grammar=r"<prompt>[^<\n]{3,80}</prompt>")
        found = model.generate([prompt] * 8, sampling, range(8))
    assert all(obeys(g, sampling.grammar) for g in found)
    finished = [g.text for g in found if g.finish_reason == "stop"]
    assert len(finished) >= 6
    assert len(set(finished)) > 1
