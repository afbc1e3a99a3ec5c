"""Standard output and error that cost a character or a line where they fail, never a result. Level 10.

A stream may lack a character (a redirected output on Windows, a latin-1 locale), its reader may have gone (`| head`),
its disk may be full. The command goes on all the same, since what it does is kept in the store; what could not be
written is known at the end.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from localprompt.interface.values import finite

if TYPE_CHECKING:
    from rich.console import Console

_NARROWEST, _WIDEST = 40, 1000
"""Columns of a page: COLUMNS may say 0, or anything."""
_OF_A_PIPE = 200


class Lasting:
    """A text stream whose failure is remembered instead of raised; what is written after it goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        with contextlib.suppress(AttributeError, ValueError):  # not every stream can be told
            stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            return self._failed(error, len(text))

    def flush(self) -> None:
        """Write what waits."""
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error, 0)

    @property
    def lost(self) -> str:
        """Why it could not be written; empty if it was, or if its reader wanted no more."""
        error = self.failure
        return "" if error is None or error.errno == errno.EPIPE else error.strerror or str(error)

    def _failed(self, error: OSError, length: int) -> int:
        self.failure = self.failure or error
        # Else Python tries what waits in the buffer once more when it ends, and fails again.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        return length


@contextlib.contextmanager
def lasting_streams() -> Iterator[Lasting | None]:
    """Make standard output and error last while the context does; yields standard output, if there is one."""
    for number in range(3):
        # A file that is opened next would get the number of a stream that is closed, and what is printed into it.
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    out, sys.stderr = (None if stream is None else Lasting(stream) for stream in before)
    sys.stdout = out
    try:
        yield out
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def say(text: str, *, err: bool = False) -> None:
    """Print a line on standard output, or on standard error."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:
        stream.write(f"{text}\n")
        stream.flush()


def say_json(value: object) -> None:
    """Print a value as one line of JSON in ASCII, which every stream can hold; a number that JSON has not is null."""
    try:
        say(json.dumps(value, ensure_ascii=True, allow_nan=False))
    except ValueError:  # what a store from elsewhere holds
        say(json.dumps(finite(value), ensure_ascii=True))


def tell(found: Any, page: Callable[..., None], *beside: object, as_json: bool) -> None:
    """Print a result as JSON, or for people, by `page` with what it wants to know beside it."""
    if as_json:
        say_json(found.to_json())
    else:
        page(found, *beside)


def console(*, err: bool = False, wide: bool = False) -> Console:
    """Return what prints tables and coloured text, in a width that can be read.

    Args:
        err: on standard error.
        wide: for tables: where the output is piped, a row is a line, however long, for grep.
    """
    from rich.console import Console  # noqa: PLC0415 - `--help` must start fast

    stream = sys.stderr if err else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    width = _OF_A_PIPE if wide and not is_terminal else shutil.get_terminal_size().columns
    return Console(highlight=False, stderr=err, width=min(max(width, _NARROWEST), _WIDEST))
