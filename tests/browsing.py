"""A page in a real browser, Debian's Chromium, with what it complains of and asks for written down."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Dialog, Page, sync_playwright

READY = "html[data-ready=true]"
"""A page says so when all of its sections are drawn."""
WIDE, HEIGHT = 1280, 900
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_TELL = "addEventListener('securitypolicyviolation', each => console.error('policy', each.violatedDirective))"


@dataclass
class Opened:
    """A page with what happened since it was opened."""

    page: Page
    path: Path
    complaints: list[str] = field(default_factory=list)
    """Whatever stands on the console, uncaught errors, dialogs, violations of the page's policy."""
    requests: list[str] = field(default_factory=list)
    """Addresses, that of the page first."""


def chromium() -> str | None:
    """Return the path of the browser; None where none is installed."""
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


@contextmanager
def started(program: str) -> Iterator[Browser]:
    """A browser that runs, without windows."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """Return a fresh profile; `options` are Playwright's."""
    context = browser.new_context(**{"viewport": {"width": WIDE, "height": HEIGHT}, **options})
    context.set_default_timeout(5000)
    return context


def opened(context: BrowserContext, path: Path, patience: float = 60) -> Opened:
    """Return a page that is ready, after so many seconds at most."""
    page = context.new_page()
    found = Opened(page, path)

    def refuse(dialog: Dialog) -> None:
        found.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda each: found.complaints.append(f"{each.type}: {each.text}"))
    page.on("pageerror", lambda error: found.complaints.append(f"error: {error}"))
    page.on("request", lambda request: found.requests.append(request.url))
    page.on("dialog", refuse)
    page.add_init_script(_TELL)
    try:
        page.goto(path.absolute().as_uri(), wait_until="commit", timeout=1000 * patience)
        page.wait_for_selector(READY, state="attached", timeout=1000 * patience)
    except Exception as error:
        raise AssertionError(f"the page is not ready after {patience} s: {found.complaints}") from error
    return found


@contextmanager
def seen(page: Page, width: int = WIDE, **media: Any) -> Iterator[None]:
    """A page in another width, medium or colour scheme, and then as before."""
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.emulate_media(**media)
    try:
        yield
    finally:
        page.set_viewport_size({"width": WIDE, "height": HEIGHT})
        page.emulate_media(media="null", color_scheme="null")
