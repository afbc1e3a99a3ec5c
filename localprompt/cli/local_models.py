"""What `localprompt models list --local` prints: the models on this machine, whichever program keeps them. Level 10."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localprompt.cli.printable import printable_line
from localprompt.cli.streams import console, say, say_json
from localprompt.interface.rounding import size_text

if TYPE_CHECKING:
    from localprompt.hub.cards import ModelCard


def show_local(as_json: bool) -> None:
    """Print a line for each model; what cannot be used, and what cannot be read, as a sentence below."""
    from localprompt.hub.cards import cards  # noqa: PLC0415 - `--help` must start fast
    from localprompt.hub.elsewhere import PROGRAMS, look_into  # noqa: PLC0415

    rows = [row for card in cards() if (row := _pulled(card))]
    unread = []
    for scheme, program in PROGRAMS.items():
        look = look_into(scheme)
        for model in look.models:
            name = f"{scheme}:{model.name}"
            rows.append(
                _row(
                    name,
                    program.title,
                    architecture=model.architecture or None,
                    quantisation=model.quantisation or None,
                    size_bytes=model.size_bytes or None,
                    sha256=list(model.sha256) or None,
                    path=str(model.path),
                    problem=f"{name} {model.refused}" if model.refused else None,
                )
            )
        unread += [_row(None, program.title, problem=f"{program.title}: {problem}") for problem in look.problems]
    if as_json:
        say_json([*rows, *unread])
        return
    _print(rows)
    for row in [*rows, *unread]:
        if row["problem"]:
            say(printable_line(f"{row['problem']}."))


def _row(name: str | None, program: str, **known: Any) -> dict[str, Any]:
    facts = dict.fromkeys(("architecture", "quantisation", "size_bytes", "sha256", "path", "problem"))
    return {"model": name, "program": program, **facts, **known}


def _pulled(card: ModelCard) -> dict[str, Any] | None:
    from localprompt.hub.files import installed  # noqa: PLC0415

    if (path := installed(card)) is None:
        return None
    return _row(
        card.name,
        "localprompt",
        quantisation=card.quantisation,
        size_bytes=card.size_bytes,
        sha256=[file.sha256 or None for file in card.files],
        path=str(path),
    )


def _print(rows: list[dict[str, Any]]) -> None:
    from localprompt.cli.tables import table  # noqa: PLC0415

    usable = [row for row in rows if not row["problem"]]
    if not usable:
        say("No model was found on this machine. `localprompt models list` shows what can be pulled.")
        return
    cells = [
        (row["model"], row["architecture"] or "-", row["quantisation"] or "-", size_text(row["size_bytes"]))
        for row in usable
    ]
    console(wide=True).print(table(("name", "architecture", "mix", "size"), cells, right=("size",), wide=("name",)))
