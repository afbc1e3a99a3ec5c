"""The server on a socket. Level 9."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

import uvicorn

from localprompt.errors import ConfigError
from localprompt.lm.local import LocalModel
from localprompt.serve.app import Server
from localprompt.serve.service import Limits

_BACKLOG = 1024
"""Connections that may wait to be accepted."""
_GRACE = 5
"""Seconds that answers under way have once the process is told to end."""


class _Uvicorn(uvicorn.Server):
    """Has `stop` called when the answers under way have had most of their time, so that the rest are told."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(_GRACE - 1, self._stop)
        await super().shutdown(sockets)


def run(
    model: LocalModel, address: tuple[str, int], limits: Limits, api_key: str, ready: Callable[[str], None]
) -> None:
    """Serve a model until the process is told to end.

    Args:
        model: loaded, and not used otherwise.
        address: host and port to listen at; port 0 for any that is free.
        limits: what requests may ask.
        api_key: what each request must bring; empty: nothing.
        ready: is told the URL as soon as somebody may connect.

    Raises:
        ConfigError: if nobody can listen there.
    """
    served = Server(model, limits, api_key)
    config = uvicorn.Config(
        served.app(), log_level="warning", lifespan="on", timeout_graceful_shutdown=_GRACE, access_log=False
    )
    server = _Uvicorn(config, served.stop)
    with listening(*address) as listener:
        host, port = listener.getsockname()[:2]
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1")
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has ended in order, and raises it again
            server.run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigError: if it cannot.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        problem = f"cannot listen at {host}, port {port}: {error.strerror or error}"
        raise ConfigError(problem, "name another with --port or --host") from None
