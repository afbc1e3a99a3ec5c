"""A server on a port of its own, in a thread of the test's process; its engine may be a mortal one."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import openai
import uvicorn
from naive import EXACT

from localprompt.engine.process import EngineProcess
from localprompt.engine.settings import EngineSettings
from localprompt.engine.worker import ModelServer
from localprompt.lm.local import LocalModel
from localprompt.serve.app import Server
from localprompt.serve.running import listening
from localprompt.serve.service import Limits

SETTINGS = EngineSettings(**{name: value for name, value in EXACT.items() if name != "tune"}, n_ctx=4096)
DEADLY = "☕☕☕"
"""Bytes of a prompt that kill every mortal engine."""


class Mortal(LocalModel):
    """A model whose engine dies of every prompt that holds `DEADLY`."""

    @cached_property
    def engine(self) -> EngineProcess:
        return EngineProcess(self.path, self.settings, command=[sys.executable, __file__])

    def __enter__(self) -> Mortal:
        return self

    def close(self) -> None:
        self.engine.close()
        super().close()


@contextmanager
def served(model: LocalModel, limits: Limits = Limits(), api_key: str = "") -> Iterator[str]:  # noqa: B008 - frozen
    """Yield the URL of a server of this model."""
    server = uvicorn.Server(
        uvicorn.Config(Server(model, limits, api_key).app(), log_level="warning", timeout_graceful_shutdown=1)
    )
    with listening("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def client(url: str, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", **{"api_key": "none", "max_retries": 0, "timeout": 60, **options})


def _main() -> None:
    from localprompt.engine import worker  # noqa: PLC0415

    class MortalServer(ModelServer):
        def tokenwise(self, requests: list[Any]) -> list[Any]:
            self._die_of(requests)
            return super().tokenwise(requests)

        def score(self, requests: list[Any]) -> list[Any]:
            self._die_of(requests)
            return super().score(requests)

        def step(self, add: list[Any], cancel: list[int]) -> list[Any]:
            self._die_of([each[1:] for each in add])
            return super().step(add, cancel)

        def complete(self, requests: list[Any]) -> list[Any]:
            self._die_of([each[1:] for each in requests])
            return super().complete(requests)

        def _die_of(self, requests: list[Any]) -> None:
            for tokens, *_ in requests:
                if DEADLY.encode() in b"".join(map(self.pieces()[0].__getitem__, tokens)):
                    sys.exit(9)

    worker.ModelServer = MortalServer  # type: ignore[misc]
    worker.serve()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _main()
