"""Reports in a browser that is started once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import browsing
import pytest
from browsing import Opened
from playwright.sync_api import Browser
from report_worlds import WORLDS


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; where there is none the tests are left out, but not where everything must pass."""
    program = browsing.chromium()
    if program is None:
        missing = "no Chromium is installed (on Debian: apt-get install chromium)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    with browsing.started(program) as running:
        yield running


@pytest.fixture(scope="session")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the file of the report of a world, which is made once."""
    return cache(lambda world: WORLDS[world].shown(tmp_path_factory.mktemp("world")))


@pytest.fixture(scope="session")
def shown(browser: Browser, page_of: Callable[[str], Path]) -> Callable[[str], Opened]:
    """Returns the report of a world, opened once: a page takes a second or two, most of it for plotly."""
    context = browsing.new_context(browser, permissions=["clipboard-read", "clipboard-write"])
    return cache(lambda world: browsing.opened(context, page_of(world)))
