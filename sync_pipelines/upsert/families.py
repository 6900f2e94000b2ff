"""Records and stored rows grouped by key, for folding.

Belongs here: which records and rows are folded together. Does not belong here: folding them (`folding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sync_pipelines.upsert.history import VersionedRecord
from sync_pipelines.upsert.stored_rows import StoredRow


@dataclass(frozen=True)
class Family:
    """Records and stored rows of one key, or of keys that records connect (P2).

    Attributes:
        mine: records of the export being loaded, in version order.
        applied: records of loaded exports, in version order; empty if the stored rows are the base.
        stored: rows as in the tables.
    """

    mine: list[VersionedRecord]
    applied: list[VersionedRecord]
    stored: list[StoredRow]

    @property
    def newest(self) -> VersionedRecord | None:
        """The newest record."""
        return max((*self.applied, *self.mine), key=lambda record: record.version, default=None)

    @property
    def matches(self) -> dict[str, str]:
        """How the newest record that sets a list matches its rows, if it chose (T8)."""
        if not any(sent.match for record in self.mine for sent in record.change.children.values()):
            return {}
        records = sorted((*self.applied, *self.mine), key=lambda record: record.version)
        return {table: sent.match for s in records for table, sent in s.change.children.items() if sent.match}


def families_of(
    mine: Sequence[VersionedRecord],
    applied: Sequence[VersionedRecord],
    former: Sequence[VersionedRecord],
    stored: Sequence[StoredRow],
) -> list[Family]:
    """Groups records and rows by key. Keys that a record connects are one, even if it no longer applies (P2)."""
    records = [*mine, *applied, *former]
    groups = _Groups()
    for record in records:
        groups.join(_names_of(record.change.key, record.change.record_id))
    for row in stored:
        groups.join(_names_of(row.row.external_id, row.row.record_id))

    def root(record: VersionedRecord) -> _Name:
        return groups.root(_names_of(record.change.key, record.change.record_id)[0])

    families = {root(record): Family([], [], []) for record in records}
    for record in mine:
        families[root(record)].mine.append(record)
    for record in applied:
        families[root(record)].applied.append(record)
    for row in stored:
        family = families.get(groups.root(_names_of(row.row.external_id, row.row.record_id)[0]))
        if family is not None:
            family.stored.append(row)
    return list(families.values())


_Name = tuple[bool, str]


def _names_of(key: str | None, record_id: str | None) -> list[_Name]:
    """Returns the names of a record or row: its key, and the partner's own id with a mark (P2)."""
    names = [] if key is None else [(False, key)]
    return names if record_id is None else [*names, (True, record_id)]


class _Groups:
    """Groups of connected names: union-find."""

    def __init__(self) -> None:
        self._parent: dict[_Name, _Name] = {}

    def root(self, member: _Name) -> _Name:
        parent = self._parent.setdefault(member, member)
        while parent != self._parent[parent]:
            self._parent[parent] = self._parent[self._parent[parent]]
            parent = self._parent[parent]
        return parent

    def join(self, members: Sequence[_Name]) -> None:
        first = self.root(members[0])
        for member in members[1:]:
            self._parent[self.root(member)] = first
