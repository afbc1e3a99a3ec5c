"""Programs outside, and a server that keeps what it is sent."""

from __future__ import annotations

import json
import os
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HERE = ROOT / "tests" / "outside"
PYTHON = Path(os.environ.get("OUTSIDE_PYTHON", ROOT / ".venv-outside" / "bin" / "python"))
PACKAGES = Path(os.environ.get("OUTSIDE_NODE_PACKAGES", ROOT / ".venv-outside" / "node"))
QUIET = {
    "OMP_WAIT_POLICY": "passive",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
}

FIGURES: list[str] = []
"""What the tests measured, a row of docs/exports.md each."""


def called(*command: object, folder: Path, **more: str) -> list[Any]:
    """What a program outside prints: the lines that are JSON, read."""
    environment = {**os.environ, **QUIET, "PROMPTFOO_CONFIG_DIR": str(folder / "promptfoo-home"), **more}
    environment.pop("PYTHONPATH", None)
    arguments = [str(each) for each in command]
    run = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert run.returncode == 0, run.stderr[-4000:] + run.stdout[-1000:]
    return [json.loads(line) for line in run.stdout.split("\n") if line.startswith(('"', '{"'))]


class Recorder(ThreadingHTTPServer):
    """A server that answers everything with the same word, and keeps what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.word = "word"
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        word = self.server.word
        reply: dict[str, Any] = {"content": word, "tokens_evaluated": 1, "tokens_predicted": 1}
        if self.path.endswith("/chat/completions"):
            message = {"role": "assistant", "content": word}
            reply = {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        elif self.path.endswith("/v1/completions"):
            reply = {"choices": [{"index": 0, "finish_reason": "stop", "text": word}]}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        sent = json.dumps({"id": "1", "object": "x", "created": 1, "model": "any", "usage": usage, **reply}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
