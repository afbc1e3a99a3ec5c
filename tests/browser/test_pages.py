"""What holds of the page of every report in a browser, whatever it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import browsing
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from browsing import Opened, seen
from playwright.sync_api import Browser, Page, expect
from report_worlds import HOSTILE, KINDS, WORLDS

from localprompt.interface.rounding import percent_text, score_text
from localprompt.reports.page import RENEWED
from localprompt.reports.page import page as page_text
from localprompt.reports.report import find
from localprompt.store import Store

NARROW, PAPER = 360, 700
"""Pixels: a small phone, and what a sheet of A4 has between its margins."""
_BLUR = 2
"""Pixels by which a glyph may be wider than its place: nothing is cut for that."""
SECTIONS = {
    "run": ("verdict", "progress", "lineage", "rows", "scores", "discards", "asked", "repeat"),
    "sensitivity": ("verdict", "words", "families", "variants", "scorers", "variance", "repeat"),
    "transfer": ("verdict", "matrix", "prompts", "repeat"),
    "comparison": ("verdict", "cost", "discards", "runs", "prompts", "repeat"),
    "port": ("verdict", "prompts", "cost", "repeat"),
}
"""Kind of report to the ids of its sections, in their order."""
SHOWN = [name for name, world in WORLDS.items() if world.kind in KINDS]
USUAL = [name for name in SHOWN if name in ("labels", *KINDS)]
"""A plain one of each kind."""
MEAN = [name for name in SHOWN if name.startswith("hostile")]

_OF_AXE = {
    "light": {"resultTypes": ["violations"]},
    "dark": {"resultTypes": ["violations"], "runOnly": ["color-contrast"]},  # nothing else depends on the colours
}
Shown = Callable[[str], Opened]


@pytest.mark.parametrize("world", SHOWN)
def test_a_page_asks_for_nothing_but_itself_and_complains_of_nothing(world: str, shown: Shown) -> None:
    it = shown(world)
    it.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    with seen(it.page, color_scheme="dark"):
        it.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert it.requests == [it.path.absolute().as_uri()]
    assert it.complaints == []


@pytest.mark.parametrize("world", ["no better", "cross-validated in vain"])
def test_a_seed_prompt_that_stays_is_shown_once(world: str, shown: Shown) -> None:
    headings = shown(world).page.locator("#verdict .prompt-head h3").all_text_contents()
    assert headings[0] == "Seed prompt, which stays"
    assert set(headings[1:]) <= {"Runner-up"}


@pytest.mark.parametrize("world", SHOWN)
def test_every_section_is_there_in_order_named_linked_and_not_empty(world: str, shown: Shown) -> None:
    found: list[dict[str, Any]] = shown(world).page.evaluate(
        """() => [...document.querySelectorAll('main section')].map(each => ({
            id: each.id, title: each.querySelector('h2').textContent, text: each.textContent,
            label: document.getElementById(each.getAttribute('aria-labelledby'))?.textContent}))"""
    )
    ids = [each["id"] for each in found]
    assert [each for each in ids if each in SECTIONS[WORLDS[world].kind]] == list(SECTIONS[WORLDS[world].kind])
    for each in found:
        assert each["title"] == each["label"]
        assert len(each["text"].strip()) > len(each["title"]), f"{each['id']} is empty"
    links = shown(world).page.evaluate("[...document.querySelectorAll('nav a')].map(each => each.hash.slice(1))")
    assert links == ids


@pytest.mark.parametrize("world", SHOWN)
def test_a_narrow_page_is_no_wider_than_the_screen(world: str, shown: Shown) -> None:
    page = shown(world).page
    with seen(page, NARROW):
        _let_charts_follow(page)
        wide = page.evaluate(_WIDER_THAN_THE_SCREEN)
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW, wide


@pytest.mark.parametrize("world", SHOWN)
def test_on_paper_nothing_is_cut_and_there_is_nothing_to_press(world: str, shown: Shown) -> None:
    page = shown(world).page
    with seen(page, PAPER, media="print"):
        _let_charts_follow(page)
        assert page.evaluate(_VISIBLE, "button:not(thead th button), input, select, nav") == []
        assert page.evaluate(_CUT) == []
        assert page.evaluate(_NAMELESS) == []
        wide = page.evaluate(_WIDER_THAN_THE_SCREEN)
        assert page.evaluate("document.documentElement.scrollWidth") <= PAPER + _BLUR, wide


@pytest.mark.parametrize("world", USUAL)
def test_a_page_can_be_printed(world: str, shown: Shown) -> None:
    assert shown(world).page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("world", [*USUAL, *MEAN])
def test_axe_finds_nothing_serious(world: str, scheme: str, shown: Shown) -> None:
    page = shown(world).page
    with seen(page, color_scheme=scheme):
        page.evaluate(AXE_SCRIPT)
        found = page.evaluate("options => axe.run(document, options)", _OF_AXE[scheme])
    serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    assert [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in serious] == []


@pytest.mark.parametrize("world", USUAL)
def test_a_dark_page_is_dark_and_a_light_one_light(world: str, shown: Shown) -> None:
    page = shown(world).page
    levels = []
    for scheme in ("light", "dark"):
        with seen(page, color_scheme=scheme):
            levels.append(_backdrop(page))
    assert levels[0] > 200
    assert levels[1] < 60


@pytest.mark.parametrize("world", USUAL)
def test_every_control_is_reached_by_tab_and_shows_that_it_is(world: str, shown: Shown) -> None:
    page = shown(world).page
    controls: int = page.evaluate(_COUNT_CONTROLS)
    reached = []
    for _ in range(controls):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(_FOCUS))
    assert len({each["place"] for each in reached}) == controls
    assert [each for each in reached if not each["is_shown"]] == []
    assert 'href="#main"' in reached[0]["html"], "the first one skips what stands before the report"
    page.locator("a[href='#main']").press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.getElementById('main').contains(document.activeElement)")
    last = page.locator("nav a").last
    last.press("Enter")
    section = page.locator(f"section{last.get_attribute('href')}")
    assert section.evaluate("each => each.getBoundingClientRect().top < innerHeight")


def test_the_button_changes_between_light_and_dark(shown: Shown) -> None:
    page = shown("labels").page
    with seen(page, color_scheme="dark"):
        button = page.locator("#theme")
        expect(button).to_have_attribute(
            "aria-pressed", "true", timeout=60_000
        )  # the page is told of the scheme a little later
        assert _backdrop(page) < 60
        button.press("Enter")
        expect(button).to_have_attribute("aria-pressed", "false", timeout=60_000)
        assert _backdrop(page) > 200
    page.evaluate("localStorage.clear(); delete document.documentElement.dataset.theme")


def test_the_page_of_what_goes_on_loads_itself_again_and_stays_as_its_reader_left_it(
    browser: Browser, page_of: Callable[[str], Path], tmp_path: Path
) -> None:
    with Store(page_of("running").with_name("store.sqlite"), create=False) as store:
        plain = find(store, None)[1].to_json()
    path = tmp_path / "live.html"
    path.write_text(page_text(plain, is_live=True), encoding="utf-8")
    context = browsing.new_context(browser)
    context.clock.install()
    it = browsing.opened(context, path)
    summary = it.page.locator("details:not([open]) > summary").first
    title = summary.inner_text()
    summary.press("Enter")
    path.write_text(page_text({**plain, "task": "what is new"}, is_live=True), encoding="utf-8")
    context.clock.run_for(1000 * (RENEWED + 1))
    expect(it.page.locator("h1")).to_contain_text("what is new", timeout=60_000)
    it.page.wait_for_selector(browsing.READY, state="attached", timeout=60_000)
    opened = it.page.locator("details[open] > summary").all_inner_texts()
    context.close()
    assert title in opened
    assert set(it.requests) == {path.absolute().as_uri()}
    assert it.complaints == []


def test_numbers_on_a_page_are_rounded_as_in_its_sentences_and_on_the_terminal(shown: Shown) -> None:
    values = [sign * k / n for n in (3, 16, 40, 80, 200, 1999, 2000) for k in range(n + 1) for sign in (1, -1)]
    values += [1e-12, -1e-12, 0.0005, 0.0015, 1 - 1e-7]
    told = shown("labels").page.evaluate("values => values.map(each => [score(each), signed(each)])", values)
    for value, (plain, with_sign) in zip(values, told, strict=True):
        assert plain == score_text(value)
        assert with_sign == score_text(value, sign="+").replace("-", "\u2212")
    shares = [each for each in values if 0 <= each <= 1]
    told = shown("labels").page.evaluate("shares => shares.map(each => percentText(each, 0))", shares)
    assert told == list(map(percent_text, shares))


def test_a_table_is_sorted_searched_and_filtered_by_keyboard(shown: Shown) -> None:
    rows = shown("labels").page.locator("#rows")
    table, said = rows.locator("table").first, rows.locator("[role=status]")
    lines, head = table.locator("tbody tr:not(.detail)"), table.locator("thead th")
    orders = set()
    for _ in range(2):
        head.first.get_by_role("button").press("Enter")
        orders.add(head.first.get_attribute("aria-sort"))
    assert orders == {"ascending", "descending"}
    choice, before = rows.locator("select").first, said.inner_text()
    choice.press("End")
    assert said.inner_text() != before
    choice.press("Home")
    rows.locator("input[type=search]").press_sequentially("no such text")
    assert lines.count() == 0
    assert said.inner_text().startswith("0 of 0")


def test_the_found_prompt_is_copied_as_it_is(shown: Shown) -> None:
    it = shown("hostile")
    copied = []
    for button in it.page.locator("#verdict button.copy:visible").all():
        button.press("Enter")
        expect(button).to_have_text("Copied")
        copied.append(it.page.evaluate("navigator.clipboard.readText()"))
    prompts = it.page.evaluate("[report.result.best.prompt, report.result.seed_prompt].map(each => each.instruction)")
    no_clipboard_has = re.compile("[\0\ufffd\ud800-\udfff]")
    assert {no_clipboard_has.sub("", each) for each in prompts} <= {no_clipboard_has.sub("", each) for each in copied}
    assert it.complaints == []


@pytest.mark.parametrize("world", MEAN)
def test_hostile_texts_are_shown_as_texts(world: str, shown: Shown) -> None:
    page = shown(world).page
    usual = {part for name in SHOWN if name not in MEAN for part in shown(name).page.evaluate(_PARTS)}
    strange = set(page.evaluate(_PARTS)) - usual
    assert strange == set()
    assert page.evaluate("[...document.querySelectorAll('a')].map(each => each.getAttribute('href') ?? '?')") == [
        "#main",
        *page.evaluate("[...document.querySelectorAll('nav a')].map(each => each.getAttribute('href'))"),
    ]
    assert page.evaluate("document.scripts.length") == 3
    text = page.evaluate("document.getElementById('main').textContent")
    whole = (0, 1, 2, 5) if WORLDS[world].kind == "run" else (0,)  # studies shorten prompts in their tables
    assert [HOSTILE[n] for n in whole if HOSTILE[n] not in text] == []
    assert "\u202e" not in text, "a text turns round what follows it"
    assert "49" not in page.evaluate("document.title")


def _backdrop(page: Page) -> int:
    """Return how light the page is, 0 to 255."""
    found: int = page.evaluate(
        "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number))"
    )
    return found


def _let_charts_follow(page: Page) -> None:
    """Wait until charts have the width of their page: plotly follows a change of size after 100 ms."""
    page.wait_for_timeout(250)


_VISIBLE = """selector => [...document.querySelectorAll(selector)].filter(each => each.checkVisibility())
    .map(each => each.outerHTML.slice(0, 100))"""
_WIDER_THAN_THE_SCREEN = """() => [...document.querySelectorAll('main *')]
    .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(each => each.outerHTML.slice(0, 100)).slice(0, 5)"""
_CUT = """() => [...document.querySelectorAll('main *:not(svg, svg *)')].filter(each => each.checkVisibility()
        && getComputedStyle(each).overflowX !== 'visible' && each.scrollWidth > each.clientWidth + 1
        && !each.closest('.js-plotly-plot')).map(each => each.outerHTML.slice(0, 100)).slice(0, 5)"""
_NAMELESS = """() => [...document.querySelectorAll('thead th')].filter(each => each.checkVisibility()
        && each.textContent.trim() && !each.innerText.trim()).map(each => each.outerHTML.slice(0, 100))"""
"""Heads of columns whose text is not to be seen."""
_CONTROLS = "'a[href], button, input:not([type=radio]:not(:checked)), select, summary, [tabindex=\"0\"]'"
"""Of radio buttons the chosen one is reached, and the others from there."""
_COUNT_CONTROLS = f"[...document.querySelectorAll({_CONTROLS})].filter(each => each.checkVisibility()).length"
_FOCUS = f"""() => {{
    const at = document.activeElement, style = getComputedStyle(at);
    return {{place: [...document.querySelectorAll({_CONTROLS})].indexOf(at), html: at.outerHTML.slice(0, 100),
             is_shown: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 && at.checkVisibility()}};
}}"""
_PARTS = """() => [...document.querySelectorAll('html, html *')].flatMap(each =>
    [...each.attributes].map(one => `${each.localName}@${one.name}`).concat(each.localName))"""
"""The names of elements and their attributes."""


def _plain(file: Path) -> dict[str, Any]:
    with Store(file.with_name("store.sqlite"), create=False) as store:
        return find(store, None)[1].to_json()


def _shown_as(browser: Browser, plain: dict[str, Any], path: Path) -> Opened:
    path.write_text(page_text(plain), encoding="utf-8")
    return browsing.opened(browsing.new_context(browser), path)


def test_damaged_data_are_told_of_and_the_rest_is_shown(
    browser: Browser, page_of: Callable[[str], Path], tmp_path: Path
) -> None:
    plain = _plain(page_of("sensitivity"))
    plain["result"]["models"][0]["scorers"][0]["variants"][1]["variant"] = 999
    it = _shown_as(browser, plain, tmp_path / "damaged.html")
    assert "the data are damaged" in it.page.locator("p.bad").first.inner_text()
    assert it.page.locator("#repeat").count() == 1
    assert it.complaints == []
    it.page.context.close()


def test_spans_count_characters_also_behind_an_emoji(
    browser: Browser, page_of: Callable[[str], Path], tmp_path: Path
) -> None:
    plain = _plain(page_of("sensitivity"))
    prompt = plain["result"]["variants"][0]["prompt"]
    prompt["instruction"] = f"🎯🎯 {prompt['instruction']}"
    for word in plain["result"]["models"][0]["words"]:
        word["span"] = [place + 3 for place in word["span"]]
    it = _shown_as(browser, plain, tmp_path / "emoji.html")
    marked = it.page.locator(".wordmap .piece").all_inner_texts()
    words = [word["text"] for word in plain["result"]["models"][0]["words"]]
    assert words
    assert [text[: len(word)] for text, word in zip(marked, words, strict=True)] == words
    it.page.context.close()


def test_a_candidate_too_deep_for_the_tree_is_shown_below_it(
    browser: Browser, page_of: Callable[[str], Path], tmp_path: Path
) -> None:
    plain = _plain(page_of("better"))
    first = plain["candidates"][0]
    plain["candidates"] = [{**first, "parents": [i - 1] if i else [], "fate": "measured"} for i in range(400)]
    plain["best_so_far"] = []
    it = _shown_as(browser, plain, tmp_path / "deep.html")
    it.page.evaluate("reveal(399)")
    assert "400 steps deep" in it.page.locator("#deep").inner_text()
    it.page.context.close()


def test_a_copied_instruction_does_not_pass_for_the_whole_prompt_and_one_thing_is_told_as_one(
    browser: Browser, page_of: Callable[[str], Path], tmp_path: Path
) -> None:
    plain = _plain(page_of("better"))
    plain["result"]["best"]["prompt"]["demos"] = [{"inputs": {"input": "a"}, "output": "b"}]
    plain["result"]["seed_prompt"]["instruction"] = "Say it."
    plain["candidates"][0]["prompt"]["instruction"] = f"x{'🎯' * 200}"
    plain["discards"] = [{"reason": "empty", "count": 1, "texts": [""]}]
    it = _shown_as(browser, plain, tmp_path / "one.html")
    copies = it.page.locator("#verdict button.copy:visible")
    assert copies.all_inner_texts() == ["Copy the instruction", "Copy"]
    assert copies.first.get_attribute("aria-label") == (
        "Copy the instruction of the found prompt, without the worked examples"
    )
    assert "1 proposal was not used:" in it.page.locator("#discards").inner_text()
    assert "1 worked example" in it.page.locator("#verdict summary").all_inner_texts()
    assert "🎯…" in it.page.locator("#lineage").inner_text()
    half = "/[\\ud800-\\udbff](?![\\udc00-\\udfff])/.test(document.getElementById('main').textContent)"
    assert it.page.evaluate(half) is False, "a character is cut in two"
    it.page.context.close()
    plain["result"]["best"]["prompt"]["instruction"] = ""
    it = _shown_as(browser, plain, tmp_path / "alone.html")
    assert it.page.locator("#verdict button.copy:visible").all_inner_texts() == ["Copy"], "nothing to copy of the other"
    it.page.context.close()


def test_a_change_of_blanks_alone_can_be_seen(shown: Shown) -> None:
    pairs = [["a\n\nb", "a\n\n\nb"], ["a: b", "a:  b"], ["a b c", "a d c"]]
    marked = "pairs => pairs.map(each => el('pre', {}, wordDiff(...each)).innerHTML)"
    assert shown("better").page.evaluate(marked, pairs) == [
        "a<del>↵↵</del><ins>↵\n↵\n↵\n</ins>b",
        "a:<del>␣</del><ins>␣␣</ins>b",
        "a <del>b</del><ins>d</ins> c",
    ]


def test_a_search_by_operators_shows_what_paid(shown: Shown) -> None:
    page = shown("operators").page
    rows = page.get_by_role("region", name="What paid").locator("tbody tr")
    expect(rows.first).to_contain_text("opening")
    expect(rows.first).to_contain_text("+100 points")
