"""What normalization makes of a record: a change, or a reject.

Belongs here: the two types, and paths. Does not belong here: how they come about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sync_pipelines.contracts.streams import Identity, Operation


class Change(NamedTuple):
    """One accepted record, in the table's words. What it does not speak of is not in the mappings (X1).

    Attributes:
        position: where it stands in the export (X14).
        effective_at: its version's time (X4).
        operation: what it asks for.
        key: the match key (X2).
        values: column -> value.
        children: child table -> its rows in order, each column -> value.
        links: foreign key column -> the row meant, or None.
        extra: fields the contract does not know (X3).
    """

    position: str
    effective_at: datetime
    operation: Operation
    key: str
    values: Mapping[str, Any]
    children: Mapping[str, list[dict[str, Any]]]
    links: Mapping[str, Identity | None]
    extra: Mapping[str, Any]


class Reject(NamedTuple):
    """One refused record: where, why, and what it was."""

    position: str
    external_id: str | None
    code: str
    field_path: str | None
    message: str
    record: Any


@dataclass
class Findings:
    """What a file's records had in common: counted while it is normalized."""

    leniencies: Counter[str] = field(default_factory=Counter)
    unknown_fields: Counter[str] = field(default_factory=Counter)


class Refused(Exception):
    """A record is refused at a path; turned into a `Reject` at the record's edge."""

    def __init__(self, code: str, path: str | None, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.path = path
        self.message = message


def path_of(parts: Iterable[str | int]) -> str:
    """A field path in the partner page's spelling, indexes from 0: `OrderItems[2].Price` (X14)."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path
