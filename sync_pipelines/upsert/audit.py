"""Compares stored rows with folded ones cell by cell, to verify them.

Unlike a load, which needs to know only what to write, it also compares what no load looks at: line numbers, columns
that a stream does not have, what a tombstone lost, and the record that a row names as its source.

Pure. Belongs here: which cells differ. Does not belong here: the fold (`folding`), which keys are verified
(`verification`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sync_pipelines.contracts.streams import Children, Identity, Stream
from sync_pipelines.upsert.fold import Row
from sync_pipelines.upsert.lists import ChildRow, aligned
from sync_pipelines.upsert.referred_names import RowName
from sync_pipelines.upsert.stored_rows import Source, StoredChild, StoredRow

LISTED: Final = 1_000
"""Differences that are listed; further ones are counted."""
ROW: Final = "row"
"""The column of a difference that is a whole row."""


@dataclass(frozen=True)
class Difference:
    """A cell of the tables that is not what the archive says, or a row that is missing or too many.

    Attributes:
        table: the table of the cell.
        partner, tenant: of the row.
        key: key of the main row: its external id, or else `id ` and the partner's own id.
        line: the line of the row in a child table; None for a main row.
        column: the column, or `row` for a whole row.
        stored: the stored value; None if a row is missing.
        archived: the value by the archive; None if the row is too many.
    """

    table: str
    partner: str
    tenant: str
    key: str
    column: str
    stored: Any
    archived: Any
    line: int | None = None


@dataclass
class Audit:
    """Collects the differences of one tenant's stream.

    Attributes:
        count: the number of differences.
        listed: the first of them.
        produced: ids of main rows that records produce.
        strays: column -> ids of main rows with a value that no load writes there.
    """

    stream: Stream
    tenant: str
    count: int = 0
    listed: list[Difference] = field(default_factory=list)
    produced: list[int] = field(default_factory=list)
    strays: dict[str, list[int]] = field(default_factory=dict)

    def mark(self) -> tuple[int, int, int]:
        """Returns a mark to which `reset` goes back."""
        return self.count, len(self.listed), len(self.produced)

    def reset(self, mark: tuple[int, int, int]) -> None:
        """Forgets what came after a mark."""
        self.count = mark[0]
        del self.listed[mark[1] :], self.produced[mark[2] :]
        self.strays.clear()

    def add(self, differences: Iterable[Difference]) -> bool:
        """Adds differences. Returns whether there are any."""
        before = self.count
        for difference in differences:
            self.count += 1
            if len(self.listed) < LISTED:
                self.listed.append(difference)
        return self.count > before

    def compare(self, stored: StoredRow | None, row: Row, sources: Collection[Source]) -> bool:
        """Adds the differences between a stored row, or none, and the folded one. Returns whether there are any.

        Args:
            stored: the row as stored.
            row: the row as it should be.
            sources: the records that it may name as its source; empty if any will do.
        """
        key = key_of(row.external_id, row.record_id)
        if stored is None:
            return self.add([self._whole(self.stream.table, key, None, "present")])
        for column in stored.strays:
            self.strays.setdefault(column, []).append(stored.id)
        return self.add(self._cells(key, stored, row, sources))

    def superfluous(self, stored: StoredRow) -> None:
        """Adds a row that no record produces."""
        key = key_of(stored.row.external_id, stored.row.record_id)
        self.add([self._whole(self.stream.table, key, "present", None)])

    def missing(self, table: str, identity: Identity) -> None:
        """Adds a row that a record refers to and that is missing (X7)."""
        key = key_of(None if identity.record_id is not None else identity.external_id, identity.record_id)
        self.add([Difference(table, identity.partner, identity.tenant, key, ROW, None, "present")])

    def add_names(self, table: str, stored: Sequence[RowName], archived: Sequence[RowName]) -> None:
        """Adds differences between the names of a row (F11)."""
        before, after = (
            {"partner_record_id" if name.is_record_id else "external_id": name.text for name in names}
            for names in (stored, archived)
        )
        names = after or before
        key = key_of(names.get("external_id"), names.get("partner_record_id"))
        self.add(self._differing(table, key, before, after))

    def _whole(self, table: str, key: str, stored: Any, archived: Any, line: int | None = None) -> Difference:
        return Difference(table, self.stream.partner, self.tenant, key, ROW, stored, archived, line)

    def _cells(self, key: str, stored: StoredRow, row: Row, sources: Collection[Source]) -> Iterator[Difference]:
        before = {**_main_cells(self.stream, stored.row), **stored.strays}
        yield from self._differing(self.stream.table, key, before, _main_cells(self.stream, row))
        if sources and stored.source not in sources:
            source = {} if stored.source is None else stored.source._asdict()
            yield from self._differing(self.stream.table, key, source, next(iter(sources))._asdict())
        for declared in self.stream.children:
            lists = stored.children.get(declared.table, []), row.children.get(declared.table, [])
            yield from self._children(key, declared, *lists)

    def _differing(
        self, table: str, key: str, stored: Mapping[str, Any], archived: Mapping[str, Any], line: int | None = None
    ) -> Iterator[Difference]:
        for column in sorted(stored.keys() | archived.keys()):
            mine, theirs = stored.get(column), archived.get(column)
            if mine != theirs:
                yield Difference(table, self.stream.partner, self.tenant, key, column, mine, theirs, line)

    def _children(
        self, key: str, declared: Children, stored: Sequence[StoredChild], rows: Sequence[ChildRow]
    ) -> Iterator[Difference]:
        places = list(aligned(declared, [child.row for child in stored], rows))
        kept = set(places)
        for place, child in enumerate(stored):
            if place not in kept:
                yield self._whole(declared.table, key, "present", None, child.line_no)
        for line, (found, row) in enumerate(zip(places, rows, strict=True), start=1):
            if found is None:
                yield self._whole(declared.table, key, None, "present", line)
            else:
                yield from self._child(key, declared, stored[found], row, line)

    def _child(
        self, key: str, declared: Children, stored: StoredChild, row: ChildRow, line: int
    ) -> Iterator[Difference]:
        nested = dict.fromkeys(inner.table for inner in declared.nested)
        before: dict[str, Any] = {**stored.row, **nested, "line_no": stored.line_no}
        after: dict[str, Any] = {**row, **nested, "line_no": line}
        yield from self._differing(declared.table, key, before, after, stored.line_no)
        for inner in declared.nested:
            yield from self._children(key, inner, stored.nested.get(inner.table, []), row.get(inner.table, []))


def key_of(external_id: str | None, record_id: str | None) -> str:
    """Returns the key by which a difference names a main row."""
    return external_id if external_id is not None else f"id {record_id}"


def has_gaps(children: Mapping[str, Sequence[StoredChild]]) -> bool:
    """Whether the lines of a list do not count from 1."""
    return any(
        [child.line_no for child in rows] != list(range(1, len(rows) + 1))
        or any(has_gaps(child.nested) for child in rows)
        for rows in children.values()
    )


def _main_cells(stream: Stream, row: Row) -> dict[str, Any]:
    cells = {
        "external_id": row.external_id,
        "partner_record_id": row.record_id,
        **row.values,
        **row.links,
        "extra": row.extra or None,
        "is_placeholder": row.is_placeholder,
        "deleted_at": row.deleted_at,
    }
    if stream.lists_defaults:
        cells["defaulted_fields"] = list(row.defaulted) if row.is_live else None
    return {name: value for name, value in cells.items() if value is not None}
