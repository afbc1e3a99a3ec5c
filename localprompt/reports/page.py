"""A report as one HTML file, which asks nothing of any network. Level 9.

All text of users and models is hostile. Templates escape it, and the data lies in the page as JSON that no tag can end;
the scripts write it with `textContent` alone. Whatever slipped through all that would still not run: the page's
Content-Security-Policy allows its own script, by its hash, and no request to anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from localprompt.interface.values import finite

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""What could end a script element, or begin a comment in one."""
_HIDDEN = ("Cc", "Cf", "Cs")
"""Control characters, marks of format such as direction, halves of characters."""
RENEWED = 5
"""Seconds after which the page of a run that goes on loads itself again."""


def page(report: Mapping[str, Any], *, is_live: bool = False) -> str:
    """Return the HTML of a report.

    Args:
        report: as one of the reports' `to_json` gives it; `report` in it says of which kind it is.
        is_live: the page loads itself again every few seconds.
    """
    kind = str(report["report"])
    script = "\n".join(map(_text, ("page.js", *(() if kind == "run" else ("study.js",)), f"{kind}.js")))
    environment = Environment(
        loader=PackageLoader("localprompt.reports"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    return environment.get_template(f"{kind}.html").render(
        report=report,
        data=embedded(report),
        style=_text("page.css"),
        plotly=_plotly(),
        script=script,
        hashes=" ".join(f"'sha256-{_digest(text)}'" for text in (_plotly(), script)),
        renewed=RENEWED if is_live else None,
    )


def embedded(value: object) -> str:
    """Return a value as JSON in ASCII that no HTML parser takes for anything but text."""
    text = json.dumps(finite(value), ensure_ascii=True, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def visible(text: str) -> str:
    """Return a text whose control characters and marks of direction can be seen, as the scripts show texts."""
    return "".join(f"\u27e8U+{ord(each):04X}\u27e9" if unicodedata.category(each) in _HIDDEN else each for each in text)


@cache
def _text(name: str) -> str:
    return (files("localprompt.reports") / "templates" / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    """Return plotly.js, which its Python package brings; the script element must hold it byte by byte."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
