"""Pairs of names that records of other streams give to rows: which of them are valid, and how they are stored (F11).

A pair is valid from its first record on, unless the rows' own records or an earlier pair contradict it. This depends
only on the records, not on the order in which they are loaded (law 1).

Belongs here: that rule, and the table `sync.commerce_pairs`. Does not belong here: the effect on rows (`row_names`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import psycopg

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.upsert.referred_names import Pair, RowName

Lends = Literal["record_id", "external_id", "both"]
"""What a row has from a pair: one of its names; a placeholder may have both."""

_ADD: Final = """
insert into sync.commerce_pairs
    (partner, tenant, record_id, external_id, effective_at, path_order, revision, record_number)
select %(partner)s, %(tenant)s, s.record_id, s.external_id, s.effective_at, %(path)s, %(revision)s, s.number
from unnest(%(ids)s::text[], %(externals)s::text[], %(times)s::timestamptz[], %(rows)s::bigint[])
    s (record_id, external_id, effective_at, number)
where not exists (
    select from sync.commerce_pairs k
    where (k.partner, k.tenant, k.record_id, k.external_id)
            = (%(partner)s, %(tenant)s, s.record_id, s.external_id)
        and (k.effective_at, k.path_order, k.revision, k.record_number)
            <= (s.effective_at, %(path)s, %(revision)s, s.number)
)
on conflict (partner, tenant, record_id, external_id) do update
set effective_at = excluded.effective_at, path_order = excluded.path_order, revision = excluded.revision,
    record_number = excluded.record_number
returning record_id, external_id
"""
_REMOVE: Final = """
delete from sync.commerce_pairs k using unnest(%(ids)s::text[], %(externals)s::text[]) s (record_id, external_id)
where (k.partner, k.tenant, k.record_id, k.external_id) = (%(partner)s, %(tenant)s, s.record_id, s.external_id)
"""
_ANY: Final = """
select exists (select from sync.commerce_pairs where partner = %(partner)s and tenant = %(tenant)s)
"""
_FIND: Final = """
select record_id, external_id, effective_at, path_order, revision, record_number, commerce_id, lends
from sync.commerce_pairs
where partner = %(partner)s and tenant = %(tenant)s
    and (record_id = any(%(ids)s::text[]) or external_id = any(%(externals)s::text[]))
"""
_LENT: Final = """
select record_id, external_id from sync.commerce_pairs
where partner = %(partner)s and tenant = %(tenant)s and lends is not null
"""
_MARK: Final = """
update sync.commerce_pairs k set commerce_id = s.commerce_id, lends = s.lends
from unnest(%(ids)s::text[], %(externals)s::text[], %(rows)s::bigint[], %(lends)s::text[])
    s (record_id, external_id, commerce_id, lends)
where (k.partner, k.tenant, k.record_id, k.external_id) = (%(partner)s, %(tenant)s, s.record_id, s.external_id)
"""


class Mark(NamedTuple):
    """Which row has names from a pair, and which names."""

    commerce_id: int
    lends: Lends


class KnownPair(NamedTuple):
    """A stored pair, with the version of its first record (X4)."""

    pair: Pair
    version: tuple[datetime, bytes, int, int]
    mark: Mark | None


@dataclass(frozen=True)
class NamePairs:
    """The pairs of one tenant.

    Attributes:
        connection: in the load's transaction, with the locks of the rows' table.
        partner, tenant: partner and tenant of the rows.
    """

    connection: psycopg.Connection[Any]
    partner: str
    tenant: str

    def add(self, entry: LedgerFile, pairs: Mapping[Pair, tuple[datetime, int]]) -> list[Pair]:
        """Stores pairs of an export. Returns those that are new, or whose first record is earlier than the stored one.

        Args:
            entry: the export.
            pairs: pair -> time and row of its first record.
        """
        if not pairs:
            return []
        order = {"path": entry.version[1], "revision": entry.revision}
        firsts = {"times": [moment for moment, _ in pairs.values()], "rows": [row for _, row in pairs.values()]}
        return [Pair(*row) for row in self.connection.execute(_ADD, {**self._names(pairs), **order, **firsts})]

    def remove(self, pairs: Collection[Pair]) -> None:
        """Removes pairs."""
        self.connection.execute(_REMOVE, self._names(pairs))

    def exist(self) -> bool:
        """Whether the tenant has any."""
        values = {"partner": self.partner, "tenant": self.tenant}
        return self.connection.execute(_ANY, values).fetchone() == (True,)

    def connected(self, names: Iterable[RowName]) -> list[KnownPair]:
        """Returns the pairs with one of these names, and those that share a name with them, in version order."""
        found = dict[Pair, KnownPair]()
        asked, open_names = set[RowName](), set(names)
        while open_names:
            known = self._having(open_names)
            found |= {each.pair: each for each in known}
            asked |= open_names
            open_names = {name for each in known for name in each.pair.names} - asked
        return sorted(found.values(), key=lambda each: each.version)

    def lent(self) -> list[Pair]:
        """Returns the pairs from which some row has a name."""
        return [Pair(*row) for row in self.connection.execute(_LENT, {"partner": self.partner, "tenant": self.tenant})]

    def lends(self, rows: Sequence[int]) -> dict[int, Lends]:
        """Returns id of a row -> what it has from a pair."""
        statement = "select commerce_id, lends from sync.commerce_pairs where commerce_id = any(%s)"
        return dict(self.connection.execute(statement, [list(rows)]).fetchall())

    def forget_marks(self, rows: Sequence[int]) -> None:
        """Records that rows have only the names from their own records."""
        statement = "update sync.commerce_pairs set commerce_id = null, lends = null where commerce_id = any(%s)"
        self.connection.execute(statement, [list(rows)])

    def mark(self, marks: Mapping[Pair, Mark | None]) -> None:
        """Records which rows have names from pairs."""
        if marks:
            rows = [(None, None) if mark is None else mark for mark in marks.values()]
            also = {"rows": [row for row, _ in rows], "lends": [lends for _, lends in rows]}
            self.connection.execute(_MARK, {**self._names(marks), **also})

    def _having(self, names: Collection[RowName]) -> list[KnownPair]:
        wanted = {
            "ids": [name.text for name in names if name.is_record_id],
            "externals": [name.text for name in names if not name.is_record_id],
        }
        rows = self.connection.execute(_FIND, {"partner": self.partner, "tenant": self.tenant, **wanted}).fetchall()
        return [
            KnownPair(Pair(*row[:2]), (row[2], bytes(row[3]), *row[4:6]), None if row[7] is None else Mark(*row[6:]))
            for row in rows
        ]

    def _names(self, pairs: Collection[Pair]) -> dict[str, Any]:
        return {
            "partner": self.partner,
            "tenant": self.tenant,
            "ids": [pair.record_id for pair in pairs],
            "externals": [pair.external_id for pair in pairs],
        }


def valid_pairs(pairs: Iterable[Pair], own: Iterable[tuple[str | None, str | None]]) -> list[Pair]:
    """Returns the pairs that are valid.

    Args:
        pairs: in version order.
        own: id and external id of each row, from its own records.
    """
    rows = list(own)
    external_of = {record_id: external_id for record_id, external_id in rows if record_id is not None}
    id_of = {external_id: record_id for record_id, external_id in rows if external_id is not None}
    used = set[RowName]()
    found = []
    for pair in pairs:
        is_free = external_of.get(pair.record_id) is None and id_of.get(pair.external_id) is None
        # Two rows are never merged (P2).
        is_free &= pair.record_id not in external_of or pair.external_id not in id_of
        if is_free and used.isdisjoint(pair.names):
            used.update(pair.names)
            found.append(pair)
    return found
