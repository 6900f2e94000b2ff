"""Writes rows in another thread, in order, while the next ones are prepared.

Belongs here: the order, and handling errors. Does not belong here: how rows are written (`copying`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

# Kept: starting and ending threads leaks memory.
_WRITERS: Final = ThreadPoolExecutor(8, "write-behind")
_ROWS: Final = 16_384
"""Waiting rows at which `add` waits too; memory is a multiple of it."""

Task = Callable[[], Any]


class WriteBehind:
    """Runs tasks one after the other; after a failure, no further task runs."""

    def __init__(self) -> None:
        self._waiting = deque[tuple[int, Task]]()
        self._is_running = False
        self._error: BaseException | None = None
        self._change = threading.Condition()

    def add(self, rows: int, task: Task) -> None:
        """Adds a task. Waits while many rows are waiting.

        Args:
            rows: number of rows that it writes.
            task: called in another thread.

        Raises:
            Exception: the error of an earlier task.
        """
        with self._change:
            self._change.wait_for(lambda: sum(waiting for waiting, _ in self._waiting) < _ROWS)
            self._complain()
            self._waiting.append((rows, task))
            if not self._is_running:
                self._is_running = True
                _WRITERS.submit(self._work)

    def wait(self) -> None:
        """Waits until no task is running or waiting."""
        with self._change:
            self._change.wait_for(lambda: not self._is_running)

    def drain(self) -> None:
        """Waits until every task is done.

        Raises:
            Exception: the error of a task.
        """
        self.wait()
        self._complain()

    def _complain(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while True:
            with self._change:
                if not self._waiting:
                    self._is_running = False
                    self._change.notify_all()
                    return
                _, task = self._waiting[0]
            try:
                task()
                self._done()
            except BaseException as error:
                self._done(error)

    def _done(self, error: BaseException | None = None) -> None:
        with self._change:
            self._waiting.popleft()
            if error is not None:
                self._error = error
                self._waiting.clear()
            self._change.notify_all()
