"""Threads that are kept: those that come and go leave memory behind.

Belongs here: keeping them. Does not belong here: what they do (`copy_format`, `write_behind`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """Some threads; a forked process begins with none and makes its own.

    Args:
        count: at most.
        name: of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def submit(self, work: Callable[..., T], *given: Any) -> Future[T]:
        """Has a thread do it."""
        return self._pool.submit(work, *given)

    def _begin(self) -> None:
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix=self._name)
