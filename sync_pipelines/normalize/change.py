"""What normalization makes of a record: a change, or a reject.

Belongs here: the two types, and paths. Does not belong here: how they come about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sync_pipelines.contracts.streams import ListMode, Operation


class Listed(NamedTuple):
    """A list of children as a record has it.

    Attributes:
        rows: column -> value each, in order; nested lists under their table's name.
        mode: what is asked for; None is the declaration's own.
        match: name of the way to match rows, where the payload chose one.
    """

    rows: list[dict[str, Any]]
    mode: ListMode | None = None
    match: str | None = None


class Change(NamedTuple):
    """One accepted record, in the table's words. What it does not speak of is not in the mappings (X1).

    Attributes:
        position: where it stands in the export (X14).
        effective_at: its version's time (X4).
        operation: what it asks for.
        key: the match key (X2); None where only `record_id` was given.
        values: column -> value.
        children: child table -> its rows.
        links: foreign key column -> the row meant (an `Identity`, or its id once it is known), or None.
        extra: fields the contract does not know (X3).
        record_id: the partner's own id, where it has one beside the key (P2).
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
    """One thing that is wrong with a record (F20)."""

    code: str
    path: str | None
    message: str


class Reject(NamedTuple):
    """One refused record: where, why, and what it was.

    Attributes:
        position: where it stands in the export (X14).
        external_id: its key, as far as it can be told.
        code, field_path, message: its first fault.
        record: what the export says.
        faults: all of its faults, where it has more than one, see `faults.MOST` (F20).
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
    """What a file's records had in common: counted while it is normalized."""

    leniencies: Counter[str] = field(default_factory=Counter)
    unknown_fields: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How much has been counted."""
        return self.leniencies.total() + self.unknown_fields.total()


class Refused(Exception):
    """A record is refused at a path; turned into a `Reject` at the record's edge."""

    def __init__(self, code: str, path: str | None, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.path = path
        self.message = message

    @property
    def fault(self) -> Fault:
        """The same as a value."""
        return Fault(self.code, self.path, self.message)


def refuse(refused: Refused, noted: list[Fault] | None) -> None:
    """Refuses a record, or notes why where all its faults are asked for (F20)."""
    if noted is None:
        raise refused
    noted.append(refused.fault)


def path_of(parts: Iterable[str | int]) -> str:
    """A field path in the partner page's spelling, indexes from 0: `OrderItems[2].Price` (X14)."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path
