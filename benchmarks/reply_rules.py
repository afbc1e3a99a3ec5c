"""Which rules for a proposer's replies do anything: stored searches replayed, each reply read again without one rule.

    python benchmarks/reply_rules.py STORE [STORE ...] [--json FILE]

Each run of a store is replayed from its answers, no model is needed, and what reached `filter_replies` is kept. Then
every rule is turned off by itself: a regular expression matches nothing, or one of its top-level alternatives is gone,
or a check never objects. Counted is how many replies are read or judged otherwise than with it, and how many of these
are accepted otherwise. A rule that changes nothing over many searches and models is one to delete.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import localprompt
from localprompt.errors import LocalPromptError
from localprompt.proposals import parsing, validation
from localprompt.search import proposer
from localprompt.store import Store
from localprompt.types import Generation


@dataclass(frozen=True)
class Seen:
    """One reply as it was read."""

    reply: Generation
    reading: parsing.ReplyFormat
    forbidden: validation.LeakCheck


def replies_of(path: Path) -> Iterator[Seen]:
    """Yield each different reply of the runs of a store, as it was read."""
    found: dict[tuple[str, str, str], Seen] = {}
    original = validation.filter_replies

    def watching(replies: Sequence[Generation], reading: parsing.ReplyFormat, *rest: object) -> object:
        for reply in replies:
            if reply.finish_reason != "failed":
                found.setdefault((reply.text, reply.finish_reason, str(reading)), Seen(reply, reading, rest[0]))  # type: ignore[arg-type]
        return original(replies, reading, *rest)  # type: ignore[arg-type]

    with Store(path, create=False) as store:
        vars(proposer)["filter_replies"] = watching
        try:
            for record in store.runs.all():
                try:
                    localprompt.replay(record.id, store=store, force=True)
                except LocalPromptError as error:
                    print(f"{path.name} {record.id}: {error}", file=sys.stderr)
        finally:
            vars(proposer)["filter_replies"] = original
    yield from found.values()


def judged(seen: Seen) -> tuple[str, str]:
    """Return the instruction of a reply, and why it is discarded; empty where it is not."""
    fenceless = replace(seen.reply, text=parsing.FENCE.sub("\n\n", seen.reply.text))
    text, truncated = parsing.parse_instruction(fenceless, seen.reading)
    broken = truncated or validation._BROKEN_OFF.search(text) is not None
    return text, "truncated" if broken else validation.objection(text, seen.forbidden, seen.reading.max_chars)


def alternatives(pattern: str) -> list[str]:
    """Return the parts between the top-level `|` of a regular expression."""
    parts, depth, in_class, start, i = [], 0, False, 0, 0
    while i < len(pattern):
        char = pattern[i]
        if char == "\\":
            i += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and depth == 0:
            parts.append(pattern[start:i])
            start = i + 1
        i += 1
    return [*parts, pattern[start:]]


@contextmanager
def changed(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """Have another value in a module for a time."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def rules() -> Iterator[tuple[str, ModuleType, str, object]]:
    """Yield each rule: what it is called, where it stands, and what stands there without it."""
    kept = {"_NEWLINE", "SENTENCE_END", "_PIECE"}
    for module in (parsing, validation):
        for name, value in sorted(vars(module).items()):
            if not isinstance(value, re.Pattern) or name in kept or (module is validation and name in vars(parsing)):
                continue
            yield name, module, name, re.compile("(?!)" + "".join(f"(?P<{group}>)" for group in value.groupindex))
            parts = alternatives(
                re.sub(r"(?<!\\)#.*", "", value.pattern) if value.flags & re.VERBOSE else value.pattern
            )
            if value.groupindex:  # whoever matches asks for its groups
                continue
            for number, part in enumerate(parts if len(parts) > 1 else ()):
                rest = "|".join(each for each in parts if each is not part)
                label = " ".join(part.split())[:60]
                yield f"{name}[{number}] {label}", module, name, re.compile(rest, value.flags)
    unchanged: dict[str, Callable[..., object]] = {
        "_without_suffix": lambda text, suffix: text,
        "_unwrapped": lambda text: text,
    }
    for name, function in unchanged.items():
        yield f"{name}()", parsing, name, function
    for name in ("_gives_answer_away", "_shows_example", "_quotes_example"):
        yield f"{name}()", validation, name, lambda *args: False


def main() -> None:
    """Count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    seen = [each for path in options.stores for each in replies_of(path)]
    before = [judged(each) for each in seen]
    reasons = Counter(reason or "accepted" for _, reason in before)
    print(f"{len(seen)} different replies: " + ", ".join(f"{n} {what}" for what, n in reasons.most_common()))
    rows = []
    for label, module, name, value in rules():
        with changed(module, name, value):
            others = [judged(each) for each in seen]
        n_other = sum(one != other for one, other in zip(before, others, strict=True))
        n_accepted = sum(one != other and "" in (one[1], other[1]) for one, other in zip(before, others, strict=True))
        rows.append({"rule": label, "changed": n_other, "accepted otherwise": n_accepted})
        print(f"{n_other:6} {n_accepted:6}  {label}")
    if options.json:
        found = {"replies": len(seen), "reasons": dict(reasons), "rules": rows}
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
