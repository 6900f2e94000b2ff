"""Words in cells that mean null, such as `NULL` or `nan`.

Belongs here: cells read as null. Does not belong here: empty cells (`exports.cells`), what null means for a field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sync_pipelines.contracts.characters import UNSEEN
from sync_pipelines.contracts.raw import Cell, RawRecord


def with_nulls(records: Iterable[RawRecord], words: Iterable[str]) -> Iterator[RawRecord]:
    """Yields records of cells, with null for each cell that is one of the words, in any case."""
    nulls = frozenset(word.strip(UNSEEN).casefold() for word in words)
    for raw in records:
        yield raw if raw.damage is not None else raw._replace(value=_with_nulls(raw.value, nulls))


def _with_nulls(record: dict[str, Any], nulls: frozenset[str]) -> dict[str, Any]:
    return {
        name: None if type(value) is Cell and value.strip(UNSEEN).casefold() in nulls else value
        for name, value in record.items()
    }
