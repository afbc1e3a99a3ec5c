"""`localprompt models`: list, pull and look at models; `bench`, `check` and `quantize` are in other files. Level 10."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localprompt.cli.bench import bench, check
from localprompt.cli.options import debug_option, report_options
from localprompt.cli.printable import printable_line
from localprompt.cli.quantise import quantize
from localprompt.cli.streams import console, say, say_json
from localprompt.interface.rounding import size_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from localprompt.engine.gguf import GGUFHeader
    from localprompt.hub.cards import ModelCard


@click.group()
def models() -> None:
    """List, pull, try and measure models; write them at other levels of quantisation."""


for command in (bench, check, quantize):
    models.add_command(command)


@models.command("list")
@click.option("--local", "is_local", is_flag=True, help="List what is on this machine, other programs' models too.")
@report_options
def list_(is_local: bool, as_json: bool) -> None:
    """List the models that can be asked for by name, the smallest first."""
    from localprompt.hub.cards import cards  # noqa: PLC0415 - `--help` must start fast
    from localprompt.hub.files import installed  # noqa: PLC0415

    if is_local:
        _show_local(as_json)
        return
    rows = [_listed(card, installed(card)) for card in cards()]
    if as_json:
        say_json(rows)
        return
    console(wide=True).print(_list_table(rows))


def _show_local(as_json: bool) -> None:
    """Print a line for each model, whichever program keeps it; what cannot be used or read, as a sentence below."""
    from localprompt.hub.cards import cards  # noqa: PLC0415 - `--help` must start fast
    from localprompt.hub.elsewhere import PROGRAMS, look_into  # noqa: PLC0415
    from localprompt.hub.files import installed  # noqa: PLC0415

    rows = [
        _local_row(
            card.name,
            "localprompt",
            quantisation=card.quantisation,
            size_bytes=card.size_bytes,
            sha256=[file.sha256 or None for file in card.files],
            path=str(path),
        )
        for card in cards()
        if (path := installed(card))
    ]
    unread = []
    for scheme, program in PROGRAMS.items():
        look = look_into(scheme)
        for model in look.models:
            name = f"{scheme}:{model.name}"
            rows.append(
                _local_row(
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
        unread += [_local_row(None, program.title, problem=f"{program.title}: {each}") for each in look.problems]
    if as_json:
        say_json([*rows, *unread])
        return
    _print_local([row for row in rows if not row["problem"]])
    for row in [*rows, *unread]:
        if row["problem"]:
            say(printable_line(f"{row['problem']}."))


def _local_row(name: str | None, program: str, **known: Any) -> dict[str, Any]:
    facts = dict.fromkeys(("architecture", "quantisation", "size_bytes", "sha256", "path", "problem"))
    return {"model": name, "program": program, **facts, **known}


def _print_local(usable: list[dict[str, Any]]) -> None:
    from localprompt.cli.tables import table  # noqa: PLC0415 - as above

    if not usable:
        say("No model was found on this machine. `localprompt models list` shows what can be pulled.")
        return
    cells = [
        (row["model"], row["architecture"] or "-", row["quantisation"] or "-", size_text(row["size_bytes"]))
        for row in usable
    ]
    console(wide=True).print(table(("name", "architecture", "mix", "size"), cells, right=("size",), wide=("name",)))


def _listed(card: ModelCard, path: Path | None) -> dict[str, Any]:
    return {
        "model": card.name,
        "family": card.family,
        "parameters": card.parameters,
        "quantisation": card.quantisation,
        "size_bytes": card.size_bytes,
        "context_length": card.context_length,
        "licence": card.licence,
        "kind": card.kind,
        "fim": card.fim,
        "sha256": [file.sha256 or None for file in card.files],
        "sha256_note": card.sha256_note,
        "sources": [str(source) for source in card.sources],
        "path": None if path is None else str(path),
    }


def _list_table(rows: Iterable[dict[str, Any]]) -> RenderableType:
    from localprompt.cli.tables import table  # noqa: PLC0415

    columns = ("name", "parameters", "mix", "size", "context", "kind", "licence", "installed")
    cells = [
        (
            row["model"],
            _count(row["parameters"]),
            row["quantisation"],
            size_text(row["size_bytes"]),
            f"{row['context_length']:,}",
            row["kind"] + (" + FIM" if row["fim"] else ""),
            row["licence"],
            "yes" if row["path"] else "-",
        )
        for row in rows
    ]
    return table(columns, cells, right=("parameters", "size", "context"), wide=(columns[1], *columns[5:]))


@models.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@debug_option
def pull(names: tuple[str, ...]) -> None:
    """Fetch models and check their SHA-256; print the path of each."""
    from localprompt.cli.progress import logged  # noqa: PLC0415
    from localprompt.hub.files import card_named, pull  # noqa: PLC0415

    wanted = [card_named(name) for name in names]  # an unknown name fails before anything is fetched
    with logged(lambda text: say(printable_line(text), err=True)):
        paths = [pull(each) for each in wanted]
    for path in paths:
        say(str(path))


@models.command()
@click.argument("name")
@debug_option
def path(name: str) -> None:
    """Print the path of a model that is installed or that another program keeps, and nothing else."""
    from localprompt.hub.files import present  # noqa: PLC0415 - `--help` must start fast

    say(str(present(name)))


@models.command()
@click.argument("name_or_file", metavar="NAME|FILE")
@report_options
def info(name_or_file: str, as_json: bool) -> None:
    """Describe a GGUF file and report problems; no weights are loaded."""
    from localprompt.engine.gguf_reader import read_header  # noqa: PLC0415
    from localprompt.engine.gguf_validator import validate  # noqa: PLC0415
    from localprompt.errors import ModelError  # noqa: PLC0415
    from localprompt.hub.files import present  # noqa: PLC0415

    file = present(name_or_file)
    header, problem = read_header(file), None
    try:
        header = validate(file)
    except ModelError as error:
        problem = error.message
    known, warnings = ({}, []) if problem else _vocabulary_facts(file)
    facts = {**_facts(header), **known, "problem": problem, "warnings": warnings}
    if as_json:
        say_json(facts)
    else:
        console(wide=True).print(_facts_table(facts))


def _vocabulary_facts(file: Path) -> tuple[dict[str, Any], list[str]]:
    """Return special tokens as llama.cpp sees them and what is done against thoughts, and what is doubtful."""
    from localprompt.engine.settings import EngineSettings  # noqa: PLC0415
    from localprompt.errors import ModelError  # noqa: PLC0415
    from localprompt.lm.local import LocalModel  # noqa: PLC0415 - starts a process

    try:
        with LocalModel(file, EngineSettings(), vocabulary_only=True) as words:
            known = {name: {"id": token, "text": text} for name, (token, text) in words.special_tokens.items()}
            fim = {role: known.get(f"fim_{role[:3]}") for role in ("prefix", "suffix", "middle")}
            tokens = {"bos": known.get("bos"), "eos": known.get("eos"), "fim_tokens": fim if words.has_fim else None}
            return {**tokens, "thinking": words.thinking}, list(words.doubts)
    except ModelError as error:
        return {}, [f"its vocabulary cannot be loaded: {error.message}"]


def _facts(header: GGUFHeader) -> dict[str, Any]:
    return {
        "path": str(header.path),
        "architecture": header.architecture,
        "name": header.name,
        "size_label": header.size_label,
        "parameters": header.parameters,
        "size_bytes": header.file_size,
        "quantisation": header.file_type,
        "requantised_from": header.requantised_from or None,
        "tensor_types": [
            {"type": share.name, "n_tensors": share.n_tensors, "n_bytes": share.n_bytes}
            for share in header.quantisation
        ],
        "context_length": header.context_length,
        "n_vocab": header.n_vocab,
        "chat_template": header.chat_template is not None,
        "add_bos": header.add_bos,
        **dict.fromkeys(("bos", "eos", "fim_tokens", "thinking")),
    }


def _facts_table(facts: dict[str, Any]) -> RenderableType:
    from localprompt.cli.tables import facts_table  # noqa: PLC0415

    size = facts["size_bytes"]
    mix = ", ".join(
        f"{share['type']} {share['n_bytes'] / max(size, 1):.0%} ({share['n_tensors']} tensors)"
        for share in facts["tensor_types"]
    )
    fim = facts["fim_tokens"] or {}
    made_from = f", requantised from {facts['requantised_from']}" if facts["requantised_from"] else ""
    rows = {
        "file": facts["path"],
        "architecture": facts["architecture"] or "not stated",
        "name": facts["name"] or "not stated",
        "size": f"{facts['size_label']} ({facts['parameters']:,} parameters), {size_text(size)}",
        "quantisation": f"{facts['quantisation'] or 'mix'}{made_from}: {mix}",
        "context": f"{facts['context_length']:,} tokens",
        "vocabulary": f"{facts['n_vocab']:,} tokens",
        "chat template": "yes" if facts["chat_template"] else "no: a base model",
        "BOS": f"{_show_token(facts['bos'])}, {'added' if facts['add_bos'] else 'not added'} before a text",
        "EOS": _show_token(facts["eos"]),
        "FIM tokens": "  ".join(f"{role} {_show_token(token)}" for role, token in fim.items() if token) or "none known",
        "usable": f"no: {facts['problem']}" if facts["problem"] else "yes",
    }
    if facts["thinking"]:
        rows["thinking"] = f"off in chats: {facts['thinking']}"
    return facts_table([*rows.items(), *(("warning", warning) for warning in facts["warnings"])])


def _show_token(token: dict[str, Any] | None) -> str:
    return "none known" if token is None else f"{token['text']} ({token['id']})"


def _count(n: int) -> str:
    return f"{n / 1e9:.1f}B" if n >= 1e9 else f"{n / 1e6:.0f}M"
