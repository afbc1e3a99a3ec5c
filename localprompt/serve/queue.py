"""Items that wait for the engine, and whose turn it is. Level 9."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from localprompt.errors import LocalPromptError
from localprompt.serve.work import Item, Job

Waiting = tuple[Job, int]
"""A job, and which of its items waits."""


class QueueFull(LocalPromptError):  # noqa: N818 - says what happened
    """More would wait than the server holds."""


class Queue:
    """Clients take turns, one item each; what one of them asks comes in its order. For one thread at a time.

    Args:
        most: items that wait, at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._clients: dict[str, deque[Waiting]] = {}  # whose turn is next comes first
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, job: Job) -> None:
        """Let the items of a job wait.

        Raises:
            QueueFull: if they are too many beside those that wait; then none of them does.
        """
        if self._n + len(job.items) > self._most:
            self._forget_cancelled()
        if self._n + len(job.items) > self._most:
            problem = f"{self._n} items wait and this request has {len(job.items)}; at most {self._most} may wait"
            raise QueueFull(problem, "try again later, or with fewer prompts")
        self._clients.setdefault(job.client, deque()).extend((job, i) for i in range(len(job.items)))
        self._n += len(job.items)

    def _forget_cancelled(self) -> None:
        alive = {who: deque(each for each in has if not each[0].is_cancelled) for who, has in self._clients.items()}
        self._clients = {client: waiting for client, waiting in alive.items() if waiting}
        self._n = sum(map(len, self._clients.values()))

    def take(self, n_items: int, fits: Callable[[Item], bool]) -> list[Waiting]:
        """Return at most `n_items` that wait, a turn a client; a client whose next one does not fit has none."""
        taken: list[Waiting] = []
        passed = 0
        while len(taken) < n_items and passed < len(self._clients):
            client, waiting = next(iter(self._clients.items()))
            del self._clients[client]
            while waiting and waiting[0][0].is_cancelled:
                waiting.popleft()
                self._n -= 1
            if not waiting:
                continue
            job, number = waiting[0]
            if fits(job.items[number]):
                waiting.popleft()
                self._n -= 1
                taken.append((job, number))
                passed = 0
            else:
                passed += 1
            if waiting:
                self._clients[client] = waiting
        return taken
