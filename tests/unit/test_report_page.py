"""The page of a report holds its data so that no parser takes it for anything else, and its policy allows no more."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from report_worlds import HOSTILE, KINDS, TEMPLATES

import localprompt
from localprompt.reports.page import RENEWED, embedded, page
from localprompt.reports.report import find
from localprompt.store import Store

TEXTS = st.text(st.characters(codec=None, exclude_categories=())) | st.sampled_from(HOSTILE)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda part: st.lists(part) | st.dictionaries(TEXTS, part),
    max_leaves=8,
)
SAFE = {"page.html": ["hashes", "style", "data", "script", "plotly"]}
"""Template to what it writes as it is: nothing of a user or a model, but for the data, which are escaped otherwise."""
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|srcdoc|\beval\b"
    r"|new Function|setTimeout\(['\"`]|\.src\s*=|\bfetch\(|XMLHttpRequest|WebSocket|import\("
)


class Parts(HTMLParser):
    """What a parser of HTML finds: the start tags, and the text of each script."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._is_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._is_script = tag == "script"
        if self._is_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_script = False

    def handle_data(self, data: str) -> None:
        if self._is_script:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of a run."""
    with Store(tmp_path_factory.mktemp("plain") / "store.sqlite") as store:
        run = localprompt.optimize(toy.task(), toy.model(), method="manual", store=store)
        return find(store, run.run_id)[1].to_json()


def parts(text: str) -> Parts:
    found = Parts()
    found.feed(text)
    found.close()
    return found


@given(JSON)
def test_what_is_embedded_is_read_back_and_is_ascii_that_ends_nothing(value: Any) -> None:
    text = embedded(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set("<>&\u2028\u2029") & set(text)


def test_the_policy_allows_the_scripts_of_the_page_and_nothing_else(plain: dict[str, Any]) -> None:
    found = parts(page(plain))
    (policy,) = (tag["content"] or "" for _, tag in found.tags if tag.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    data, *scripts = found.scripts
    assert json.loads(data) == plain
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts]
    assert sorted(rules["script-src"].split()) == sorted(f"'sha256-{each}'" for each in digests)
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "http" not in policy
    assert not any("src" in tag or "srcset" in tag or tag.get("href", "#")[:1] != "#" for _, tag in found.tags)  # type: ignore[index]
    assert [tag.get("type") for name, tag in found.tags if name == "script"] == ["application/json", None, None]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_name_is_text_in_the_page(hostile: str, plain: dict[str, Any]) -> None:
    usual = parts(page(plain))
    names = {"task": hostile, "model": hostile, "method": hostile, "version": hostile}
    found = parts(page({**plain, **names}))
    assert [(name, list(tag)) for name, tag in found.tags] == [(name, list(tag)) for name, tag in usual.tags]
    assert found.scripts[1:] == usual.scripts[1:]


def test_only_the_page_of_what_goes_on_loads_itself_again(plain: dict[str, Any]) -> None:
    def renewed(text: str) -> str | None:
        return next(tag.get("data-renewed") for name, tag in parts(text).tags if name == "html")

    assert renewed(page(plain)) is None
    assert renewed(page(plain, is_live=True)) == str(RENEWED)


def test_templates_write_nothing_of_users_as_it_is() -> None:
    for path in TEMPLATES.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"(\w+)\s*\|\s*safe", text) == SAFE.get(path.name, []), path.name
        assert len(re.findall(r"\bsafe\b", text)) == len(SAFE.get(path.name, [])), path.name
        assert not re.search(r"autoescape|\bon\w+\s*=", text), path.name
        assert path.name == "page.html" or "<script" not in text, path.name


def test_scripts_make_no_markup_of_texts_and_run_none() -> None:
    scripts = sorted(TEMPLATES.glob("*.js"))
    assert {"page", *KINDS} <= {path.stem for path in scripts}
    for path in scripts:
        assert FORBIDDEN.findall(path.read_text(encoding="utf-8")) == [], path.name


def test_every_kind_has_a_template_and_a_script() -> None:
    names = {path.name for path in Path(TEMPLATES).iterdir()}
    assert {f"{kind}.{end}" for kind in KINDS for end in ("html", "js")} <= names
