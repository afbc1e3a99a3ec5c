"""Pictures of the pages of reports, for a person to look at: light, dark, narrow and on paper.

    python scripts/screenshots.py FOLDER [--store FILE [ID ...] | --world NAME ...]

Without a store the pages are those of the worlds of the tests, made by scripted models; with one those of its runs and
studies named, by default the newest. Playwright drives Debian's Chromium.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localprompt.reports.report import report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import browsing
import report_worlds

LOOKS: Mapping[str, Mapping[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "narrow": {"width": 360},
    "print": {"width": 700, "media": "print"},
}
"""Name of a picture to how the page is seen."""
_SETTLED = 400
"""Milliseconds until charts have followed a change of size."""


def pages(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Yield names and files of reports."""
    if options.store:
        for each in options.ids or [None]:
            path = report(each, out=options.folder / f"{each or 'newest'}.html", store=options.store)
            yield each or "newest", path
        return
    for name in options.world or report_worlds.WORLDS:
        world = report_worlds.WORLDS[name]
        if world.kind in report_worlds.KINDS:
            yield name, world.shown(options.folder / "worlds" / name)


def main() -> None:
    """Write the pictures, and say where, with whatever a page complained of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("ids", nargs="*", metavar="ID", help="beginnings of ids in the store")
    parser.add_argument("--world", action="append", choices=[*report_worlds.WORLDS])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    program = browsing.chromium() or sys.exit("no Chromium is installed (on Debian: apt-get install chromium)")
    with browsing.started(program) as browser:
        for name, path in pages(options):
            opened = browsing.opened(browsing.new_context(browser), path)
            for look, how in LOOKS.items():
                picture = options.folder / f"{name.replace(' ', '-')}-{look}.png"
                with browsing.seen(opened.page, **how):
                    opened.page.wait_for_timeout(_SETTLED)
                    opened.page.screenshot(path=picture, full_page=True, timeout=60_000)
                print(picture)
            for complaint in opened.complaints:
                print(f"  {complaint}")
            opened.page.context.close()


if __name__ == "__main__":
    main()
