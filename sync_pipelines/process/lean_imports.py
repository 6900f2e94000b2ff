"""Modules that libraries import where they are installed, kept from a process that has no use for them.

Belongs here: keeping them out. Does not belong here: which ones (whoever imports the library).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from typing import Any


class _Without(MetaPathFinder):
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name in self._names:
            raise ModuleNotFoundError(name=name)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Within the block, modules are not installed; those that are imported already stay."""
    finder = _Without(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
