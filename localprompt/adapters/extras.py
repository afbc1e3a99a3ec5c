"""Packages that an adapter needs and localprompt does not. Level 9."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from localprompt.errors import ConfigError


@contextmanager
def needing(package: str, extra: str) -> Iterator[None]:
    """Import what an adapter is made for.

    Raises:
        ConfigError: if it cannot be imported, with the command that installs it.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{package} cannot be imported ({error})", f"install it with: pip install 'localprompt[{extra}]'"
        ) from error
