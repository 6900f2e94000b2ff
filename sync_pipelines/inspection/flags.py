"""Words for yes and no, as the fields that hold them read them.

Belongs here: which words of a column they do not read. Does not belong here: the words themselves
(`contracts.fields`).
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.fields import read_flag
from sync_pipelines.contracts.raw import Cell
from sync_pipelines.contracts.reading import Reading


def unknown_flags(texts: Iterable[str]) -> list[str]:
    """The words that a yes/no field refuses, each once."""
    found = []
    for text in dict.fromkeys(texts):
        try:
            read_flag(Cell(text), Reading(flat=True))
        except (PydanticCustomError, ValueError):
            found.append(text)
    return found
