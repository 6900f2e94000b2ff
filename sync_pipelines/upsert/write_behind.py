"""Rows written behind: by another thread, in the order they were given, while the next ones are made ready.

Belongs here: the order, and what becomes of a fault. Does not belong here: how rows are written (`copying`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

# Kept: threads that come and go leave memory behind.
_WRITERS: Final = ThreadPoolExecutor(8, "behind")
_ROWS: Final = 16_384
"""Rows that wait, from which on whoever brings more waits too; memory is a multiple of it."""

Task = Callable[[], Any]


class WriteBehind:
    """Tasks done one after the other; after the first that fails none is."""

    def __init__(self) -> None:
        self._waiting = deque[tuple[int, Task]]()
        self._is_at_work = False
        self._fault: BaseException | None = None
        self._change = threading.Condition()

    def add(self, rows: int, task: Task) -> None:
        """Gives it a task; waits while many rows are waiting.

        Args:
            rows: how many are written by it.
            task: called by another thread.

        Raises:
            Exception: the fault of an earlier task.
        """
        with self._change:
            self._change.wait_for(lambda: sum(waiting for waiting, _ in self._waiting) < _ROWS)
            self._complain()
            self._waiting.append((rows, task))
            if not self._is_at_work:
                self._is_at_work = True
                _WRITERS.submit(self._work)

    def settle(self) -> None:
        """Returns when nothing is at work or waits."""
        with self._change:
            self._change.wait_for(lambda: not self._is_at_work)

    def drain(self) -> None:
        """Returns when every task is done.

        Raises:
            Exception: the fault of a task.
        """
        self.settle()
        self._complain()

    def _complain(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _work(self) -> None:
        while True:
            with self._change:
                if not self._waiting:
                    self._is_at_work = False
                    self._change.notify_all()
                    return
                _, task = self._waiting[0]
            try:
                task()
                self._done()
            except BaseException as fault:
                self._done(fault)

    def _done(self, fault: BaseException | None = None) -> None:
        with self._change:
            self._waiting.popleft()
            if fault is not None:
                self._fault = fault
                self._waiting.clear()
            self._change.notify_all()
