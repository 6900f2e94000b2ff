"""The results of normalizing a record: a change or a reject.

Belongs here: the two types, and paths. Does not belong here: producing them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sync_pipelines.contracts.reading import RecordRejected
from sync_pipelines.contracts.streams import ListMode, Operation


class Listed(NamedTuple):
    """A list of children in a record.

    Attributes:
        rows: column -> value for each row, in order; nested lists are under their table's name.
        mode: the requested mode; None is the declared one.
        match: name of the way to match rows, if the payload chose one.
    """

    rows: list[dict[str, Any]]
    mode: ListMode | None = None
    match: str | None = None


class Place(NamedTuple):
    """A record's position and time."""

    position: str
    effective_at: datetime


class Change(NamedTuple):
    """An accepted record, with the table's column names. Columns that it does not set are missing (X1).

    Attributes:
        position: its position in the export (X14).
        effective_at: the time of its version (X4).
        operation: the requested operation.
        key: the match key (X2); None if only `record_id` was sent.
        values: column -> value.
        children: child table -> its rows.
        links: foreign key column -> the referenced row (an `Identity`, or its id once known), or None.
        extra: fields that are not in the contract (X3).
        record_id: the partner's own id, if it has one beside the key (P2).
    """

    position: str
    effective_at: datetime
    operation: Operation
    key: str | None
    values: Mapping[str, Any]
    children: Mapping[str, Listed]
    links: Mapping[str, Any]
    extra: Mapping[str, Any]
    record_id: str | None = None


class Fault(NamedTuple):
    """One error of a record (F20)."""

    code: str
    path: str | None
    message: str


class Reject(NamedTuple):
    """A rejected record: its position, the errors, and the record.

    Attributes:
        position: its position in the export (X14).
        external_id: its key, if it can be read.
        code, field_path, message: its first error.
        record: its content in the export.
        faults: all errors if there are several, see `faults.MOST` (F20).
    """

    position: str
    external_id: str | None
    code: str
    field_path: str | None
    message: str
    record: Any
    faults: tuple[Fault, ...] = ()


@dataclass
class Findings:
    """What is counted while a file is normalized."""

    leniencies: Counter[str] = field(default_factory=Counter)
    unknown_fields: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """The sum of the counts."""
        return self.leniencies.total() + self.unknown_fields.total()


def reject(rejected: RecordRejected, noted: list[Fault] | None) -> None:
    """Rejects a record, or only notes the error if all errors are collected (F20)."""
    if noted is None:
        raise rejected
    noted.append(Fault(rejected.code, rejected.path, rejected.message))


def path_of(parts: Iterable[str | int]) -> str:
    """Returns a field path in the partner's spelling, indexes from 0: `OrderItems[2].Price` (X14)."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path
