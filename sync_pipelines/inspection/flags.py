"""Words for yes and no that boolean fields cannot read.

Belongs here: finding unknown words in a column. Does not belong here: the words themselves
(`contracts.fields`).
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.fields import read_flag
from sync_pipelines.contracts.raw import Cell
from sync_pipelines.contracts.reading import Reading


def unknown_flags(texts: Iterable[str]) -> list[str]:
    """Returns the distinct words that a boolean field rejects."""
    found = []
    for text in dict.fromkeys(texts):
        try:
            read_flag(Cell(text), Reading(flat=True))
        except (PydanticCustomError, ValueError):
            found.append(text)
    return found
