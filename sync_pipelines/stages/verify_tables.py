"""Verifies and repairs the tables: every row is compared with the fold of its kept records.

A difference is found, whatever changed: a value, a row of a main table or of its lists, a line number, a link, a
tombstone, a placeholder, a name from a pair, or the record that a row names as its source. What does not follow from
the archive is left out: ids, `run_id`, `created_at` and `updated_at`.

Rows whose columns equal those of their records are verified without locks, in one snapshot (`upsert.verified_columns`).
The definition decides about all others in short transactions that loads wait for (`verification`).

Belongs here: which keys are verified, and the result. Does not belong here: how (`upsert`), layout on a screen
(`commands`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import psycopg
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import verified_slices
from sync_pipelines.database.verified_slices import SLICES
from sync_pipelines.normalize.keys import are_among, distinct
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.stages.repair import repairing
from sync_pipelines.stages.workspace import Workspace
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.audit import LISTED, Difference
from sync_pipelines.upsert.copying import Ids
from sync_pipelines.upsert.history import Hashes
from sync_pipelines.verification.archived_exports import ArchivedExports, Span
from sync_pipelines.verification.orphans import delete_orphans
from sync_pipelines.verification.placeholders import Placeholders, Produced, owner_of
from sync_pipelines.verification.referrers import Group, Referrers
from sync_pipelines.verification.tenant_rows import NamedRows, named_rows
from sync_pipelines.verification.verified_columns import ColumnVerification, VerifiedKeys, is_verifiable
from sync_pipelines.verification.verified_rows import KEYS_AT_ONCE, Verification

__all__ = ["SLICES", "Difference", "Slice", "Verified", "verifiable", "verify_stream"]

_ROWS_AT_ONCE: Final = 1_000


@dataclass(frozen=True)
class Slice:
    """One of several equal ranges of the hashes of keys.

    Attributes:
        number: from 0.
        count: the number of slices.
    """

    number: int
    count: int = SLICES

    @property
    def span(self) -> Span:
        """The range."""
        return Span().part(self.number, self.count)


@dataclass(frozen=True)
class Verified:
    """The result of a verification.

    Attributes:
        keys: keys and other rows that were compared.
        records: kept records of these keys.
        count: the number of differences.
        differences: the first thousand of them.
        is_repaired: whether the differences were written.
    """

    keys: int
    records: int
    count: int
    differences: tuple[Difference, ...]
    is_repaired: bool


def verifiable(workspace: Workspace) -> list[tuple[Stream, str]]:
    """Returns every stream and tenant with loaded exports or with rows, in the order in which they are repaired.

    A row that should not be there can be removed only when no other row refers to it any more, so streams with
    references come before those that they refer to.
    """
    found: set[tuple[str, str, str]] = set()
    with workspace.connection() as connection:
        rows = connection.execute(
            "select distinct partner, stream, tenant from sync.export_files where status = 'loaded'"
        )
        found.update(rows.fetchall())
        for stream in STREAMS:
            statement = SQL("select distinct tenant from {} where partner = %s").format(
                Identifier(SCHEMA, stream.table)
            )
            tenants = connection.execute(statement, [stream.partner]).fetchall()
            found.update((stream.partner, stream.name, tenant) for (tenant,) in tenants)
    known = ((find_stream(partner, name), tenant) for partner, name, tenant in sorted(found))
    streams = [(stream, tenant) for stream, tenant in known if stream is not None]
    return sorted(streams, key=lambda one: _references_below(one[0]), reverse=True)


def _references_below(stream: Stream, above: tuple[Stream, ...] = ()) -> int:
    """Returns the length of the longest chain of references from a stream's rows."""
    tables = {reference.table for reference in stream.references}
    others = [other for other in STREAMS if other.table in tables and other not in (*above, stream)]
    return max((1 + _references_below(other, (*above, stream)) for other in others), default=0)


def verify_stream(
    workspace: Workspace,
    stream: Stream,
    tenant: str,
    *,
    slice: Slice | None = None,
    repair: bool = False,
    by_columns: bool = True,
) -> Verified:
    """Compares a tenant's rows with the fold of the archive.

    Args:
        workspace: the sync's workspace.
        stream: the declaration.
        tenant: the tenant.
        slice: only the keys of this slice; None for all.
        repair: whether differences are written.
        by_columns: whether rows that equal the columns of their records need no fold.

    Raises:
        ArchiveIncomplete: kept records are missing or damaged, and cannot be rebuilt.
    """
    with workspace.connection() as connection:
        run = _Run(workspace, connection, stream, tenant, slice, repair=repair)
        return run.run(by_columns=by_columns)


class _Run:
    def __init__(
        self,
        workspace: Workspace,
        connection: psycopg.Connection[Any],
        stream: Stream,
        tenant: str,
        slice: Slice | None,
        *,
        repair: bool,
    ) -> None:
        self._workspace = workspace
        self._connection = connection
        self._stream = stream
        self._tenant = tenant
        self._slice = slice
        self._span = Span() if slice is None else slice.span
        self._is_repair = repair
        archive = workspace.settings.archive
        self._verification = Verification(connection, stream, tenant, archive, is_repair=repair)
        self._audit = self._verification.audit

    def run(self, *, by_columns: bool) -> Verified:
        self._connection.execute("set datestyle to 'ISO, YMD'")
        exports = self._verification.exports
        exports.refresh(self._connection)
        own = Group(self._stream.table, self._stream.partner, self._tenant)
        if by_columns and is_verifiable(self._stream):
            known = repairing(self._workspace, self._by_columns)
        else:
            hashes = repairing(self._workspace, self._refreshed_hashes)
            known = VerifiedKeys(len(hashes), hashes, named_rows(self._connection, own), {})
        # Damaged ones were rebuilt meanwhile.
        exports.refresh(self._connection)
        records = sum(len(self._span.of(export.kept.keys.hashes)) for export in exports.all)
        for start in range(0, len(known.left), KEYS_AT_ONCE):
            some = known.left[start : start + KEYS_AT_ONCE]
            repairing(self._workspace, partial(self._verification.verify, some))
        others = self._unproduced(known.rows, np.array(self._audit.produced, np.int64))
        self._verify_placeholders(own, others)
        compared = known.compared + len(others)
        for group in self._referred_groups():
            if owner_of(group) is None:
                named = known.referred.get(group) or named_rows(self._connection, group, as_keys=False)
                ids = named.of(self._span).ids
                compared += len(ids)
                self._verify_placeholders(group, ids)
        self._audit.add(
            delete_orphans(self._connection, self._stream, self._tenant, self._slice_numbers, is_repair=self._is_repair)
        )
        found = Verified(
            compared,
            records,
            self._audit.count,
            tuple(self._audit.listed[:LISTED]),
            self._is_repair and self._audit.count > 0,
        )
        self._note(found)
        return found

    def _by_columns(self) -> VerifiedKeys:
        """Verifies what it can in one snapshot of tables and ledger."""
        with self._workspace.connection() as connection, connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            connection.execute("set local datestyle to 'ISO, YMD'")
            exports = ArchivedExports(self._stream, self._tenant, self._workspace.settings.archive)
            exports.refresh(connection)
            return ColumnVerification(connection, self._stream, self._tenant, exports).verify(self._span)

    def _refreshed_hashes(self) -> Hashes:
        self._verification.exports.refresh(self._connection)
        return self._verification.exports.hashes(self._span)

    @property
    def _slice_numbers(self) -> tuple[int, int]:
        return (0, 1) if self._slice is None else (self._slice.number, self._slice.count)

    def _unproduced(self, rows: NamedRows, produced: Ids) -> Ids:
        """Returns the rows of the range that no record produces.

        A row one of whose names is known, but outside the range, belongs to another slice.
        """
        mine = rows.of(self._span)
        mine = mine.chosen(~np.isin(mine.ids, produced))
        names = distinct(np.concatenate([mine.keys, mine.record_ids]))
        outside = names[~self._span.has(names)]
        known = [export.knows(outside) for export in self._verification.exports.all]
        known_elsewhere = distinct(np.concatenate([outside[:0], *known]))
        is_elsewhere = are_among(mine.keys, known_elsewhere) | are_among(mine.record_ids, known_elsewhere)
        return mine.ids[~is_elsewhere]

    def _verify_placeholders(self, group: Group, ids: Ids) -> None:
        if not len(ids):
            return
        referrers = Referrers(group, self._workspace.settings.archive)
        is_own = group.table == self._stream.table
        produced: Produced = self._verification.produced if is_own else lambda names: ()
        placeholders = Placeholders(self._connection, group, referrers, produced)
        suspects = repairing(self._workspace, partial(placeholders.suspects, ids)).tolist()
        for start in range(0, len(suspects), _ROWS_AT_ONCE):
            some = suspects[start : start + _ROWS_AT_ONCE]
            work = partial(placeholders.verify, some, self._audit, is_repair=self._is_repair)
            repairing(self._workspace, work)

    def _referred_groups(self) -> Iterator[Group]:
        """Yields the rows that the stream's records refer to."""
        tables = {reference.column: reference.table for reference in self._stream.references}
        exports = self._verification.exports.all
        targets = {tuple(target) for known in exports for target in known.kept.summary.referred}
        for link, partner, tenant in sorted(targets):
            yield Group(tables[link], partner, tenant)
        for table in sorted(set(tables.values())):
            # A tenant that never sent anything has no rows, unless someone made them.
            rows = self._connection.execute(
                SQL(
                    "select distinct tenant from {} t where partner = %s and not exists ("
                    "select from sync.export_files f where f.partner = t.partner and f.tenant = t.tenant)"
                ).format(Identifier(SCHEMA, table)),
                [self._stream.partner],
            )
            for (tenant,) in rows.fetchall():
                yield Group(table, self._stream.partner, tenant)

    def _note(self, found: Verified) -> None:
        """Notes when each slice was verified; the differences that remain."""
        remaining = 0 if found.is_repaired else found.count
        numbers = range(SLICES) if self._slice is None else [self._slice.number]
        if self._slice is None or self._slice.count == SLICES:
            of = (self._stream.partner, self._tenant, self._stream.name)
            verified_slices.note(self._connection, of, numbers, found.keys, remaining)
