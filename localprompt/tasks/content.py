"""The text of a data file, or what the file is instead. Level 3.

A fault of the whole file is named once, with what to do about it, and never blamed on its rows.
"""

from __future__ import annotations

import re
from pathlib import Path

from localprompt.errors import TaskError
from localprompt.tasks.records import composed

_MAX_BYTES = 256 * 1024 * 1024
_LOOKED_AT = 4096
"""Bytes at the beginning that tell what a file is."""
_UNPACK = "unpack it and name the file that was in it"
_SHEET = "save the sheet as CSV (UTF-8)"
_WIDE = "UTF-16 or UTF-32, not UTF-8"
_CODING = "save the file as UTF-8"
_ROWS = "write its rows as JSONL; with pandas: to_json(FILE, orient='records', lines=True, force_ascii=False)"
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (rb"\x1f\x8b|BZh[1-9]1AY&SY|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|7z\xbc\xaf", "a compressed file", _UNPACK),
    (rb"(?s)PK\x03\x04.*(xl/|\[Content_Types\]|opendocument)", "a spreadsheet", _SHEET),
    (rb"PK\x03\x04", "a zip archive", _UNPACK),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a spreadsheet", _SHEET),
    (rb"PAR1[\x00-\x1f]", "a Parquet file", _ROWS),
    (rb"ARROW1\x00|FEA1\x00|SQLite format 3\x00|\x93NUMPY|\x80[\x02-\x05]", "a binary file", _ROWS),
    (rb"%PDF-", "a PDF document", "copy its rows into a CSV or JSONL file"),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the data itself", "fetch the data: git lfs pull"),
    (rb"(\.\./)*(\.git/annex|/annex)/objects/", "a pointer of git-annex, not the data itself", "git annex get FILE"),
    (rb"(?i)\s*(<!doctype html|<html)", "a web page, not the data itself", "download the raw file"),
    (rb"\s*<\?xml", "an XML file", "write its rows as CSV or JSONL"),
    (rb"\{\\rtf", "a document with formats", "save it as plain text (UTF-8)"),
    (rb"\xff\xfe|\xfe\xff|\x00\x00\xfe\xff", _WIDE, _CODING),
)


def read_text(path: Path) -> str:
    r"""Return the text of a UTF-8 file, its lines divided by `\n` or `\r\n`, without byte-order marks.

    A file that has no `\n` at all but `\r`, as of an old Macintosh, gets `\n` for them. A file name counts as the same
    whether it is composed or not, since file systems change that.

    Raises:
        TaskError: if the file cannot be read, is too large, or is not such a text: it says what it is.
    """
    content = _content(path)
    start = content[:_LOOKED_AT]
    for pattern, what, hint in _FOREIGN:
        if re.match(pattern, start):
            raise TaskError(f"{path}: {what}", hint)
    if start.count(0) > len(start) / 4:  # in UTF-16 half of the bytes of plain English are zero
        raise TaskError(f"{path}: {_WIDE}", _CODING)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        hint = "save the file as UTF-8; it may be in Windows-1252 or Latin-1 now"
        raise TaskError(f"{path}, line {line}: not UTF-8", hint) from error
    if "\n" not in text:
        text = text.replace("\r", "\n")
    # Files that were put together have marks inside, where a line begins.
    return re.sub("^\ufeff+", "", text, flags=re.MULTILINE) if "\ufeff" in text else text


def _content(path: Path) -> bytes:
    try:
        found = path if path.is_file() else _same_name(path)
        if found is None:
            raise TaskError(f"{path}: no such data file", "paths are relative to the task file")
        with found.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror})", "check its name and permissions") from error
    if len(content) > _MAX_BYTES:
        raise TaskError(f"{path}: larger than {_MAX_BYTES // 2**20} MiB", "take a sample of its rows")
    return content


def _same_name(path: Path) -> Path | None:
    """Return the one file in the same folder whose name is the same but for composition; None if there is none."""
    if path.name.isascii() or not path.parent.is_dir():
        return None
    name = composed(path.name)
    same = [each for each in path.parent.iterdir() if composed(each.name) == name]
    return same[0] if len(same) == 1 and same[0].is_file() else None
