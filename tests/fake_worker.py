"""A worker without a model: answers each request with its square, and does as some of them say.

"die" ends the process, "ill" by another signal, "die once FILE" too, unless the file is there already; "hang" computes
for ever with heartbeats, "stop" without; "rubbish" sends bytes that are no frame. A list is answered as its last item.
A model beside which lies a file `sick` ends the process over loading it, `sick once` too, and takes the file away.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from localprompt.engine.frames import read_frame, write_frame


def answer(request: Any) -> Any:
    out = sys.stdout.buffer
    if isinstance(request, list):
        request = request[-1]
    if request == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if request == "ill":
        os.kill(os.getpid(), signal.SIGILL)
    if isinstance(request, str) and request.startswith("die once ") and not Path(request[9:]).exists():
        Path(request[9:]).touch()
        os.abort()
    while request == "hang":
        write_frame(out, {"heartbeat": 1})
        time.sleep(0.01)
    if request == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if request == "rubbish":
        out.write(b"\x02\0\0\0\0\0\0\0\xc1\xc1")
        out.flush()
    return request**2 if isinstance(request, int) else request


def main() -> None:
    while True:
        try:
            asked = read_frame(sys.stdin.buffer)
        except EOFError:
            return
        results: object = {}
        n = 0
        if asked["op"] == "load" and Path(asked["path"]).with_name("sick").exists():
            os.abort()
        if asked["op"] == "load" and (once := Path(asked["path"]).with_name("sick once")).exists():
            once.unlink()
            os.abort()
        if asked["op"] != "load":
            results = [answer(request) for request in asked["requests"]]
            n = len(asked["requests"])
        write_frame(sys.stdout.buffer, {"heartbeat": 1})
        write_frame(sys.stdout.buffer, {"result": results, "stats": [n, 0, 0, 0, 0.0]})


if __name__ == "__main__":
    main()
