"""Which exports know a key: an index in PostgreSQL, written in a load's own transaction.

For each tenant's stream it is a set of runs. A run is a sorted list of pairs (key hash, export), split into pages. An
export adds a run; ten runs of a level are merged into one of the next, so that there are few. Pairs are only added: one
too many costs a needless look into an export, one too few would lose a record.

Belongs here: adding, merging, looking up. Does not belong here: the format of a page (`key_pages`), the locks that
separate two writers of one stream (`locks`), what is done with the exports (`history`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg

from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import are_among, distinct
from sync_pipelines.upsert.key_pages import ExportIds, Hashes, Page, Pairs, as_bigint, joined, packed, unpacked

MERGED_AT_ONCE: Final = 10
LARGEST_RUN: Final = 4_000_000
"""Pairs. Runs with more in total are not merged, so that no load waits for more than seconds."""

_PAGES_AT_ONCE: Final = 2_000
_PROBES_AT_ONCE: Final = 1_000
_FIRST: Final = 32
"""Pages, or probes, that are read first: those of a full list tell of every export that has some of its keys."""
_GROWTH: Final = 4
_EXPORTS_LISTED: Final = 200
"""Most exports that a run lists. Every look-up reads the lists of all runs."""
_PAIRS_AT_ONCE: Final = 250_000
_LOWEST: Final = -(1 << 63)

_ADD_RUN: Final = """
insert into sync.key_runs (partner, tenant, stream, level, pairs, pages, exports)
values (%(partner)s, %(tenant)s, %(stream)s, %(level)s, %(pairs)s, %(pages)s, %(exports)s) returning id
"""
_ADD_TO_RUN: Final = """
update sync.key_runs set pairs = pairs + %(pairs)s, pages = pages + %(pages)s where id = %(run)s returning id
"""
_ADD_PAGES: Final = """
insert into sync.key_pages (run_id, first_hash, last_hash, first_export, hashes, exports)
select %b, * from unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[])
"""
_RUNS: Final = """
select id, level, pairs, pages, exports from sync.key_runs
where partner = %(partner)s and tenant = %(tenant)s and stream = %(stream)s order by id
"""
_PAGE: Final = "p.first_hash, p.last_hash, p.first_export, p.hashes, p.exports"
_PAGES_OF_RUNS: Final = f"select {_PAGE} from sync.key_pages p where run_id = any(%s)"
_PAGES_BY_HASH: Final = _PAGES_OF_RUNS + " order by first_hash"
_PAGES_OF_RUN: Final = f"""
select {_PAGE} from sync.key_pages p
where run_id = %s and first_hash >= %s and first_hash <= %s order by first_hash limit %s
"""
_PAGES_OF_HASHES: Final = f"""
select {_PAGE} from unnest(%b::bigint[]) hash cross join lateral (
    select * from sync.key_pages where run_id = %b and first_hash <= hash order by first_hash desc limit 1
) p where p.last_hash >= hash
"""
_REMOVE_RUNS: Final = """
with runs as (delete from sync.key_runs where id = any(%s) returning id)
delete from sync.key_pages p using runs where p.run_id = runs.id
"""
_NOT_INDEXED: Final = """
select id, kept from sync.export_files
where partner = %(partner)s and tenant = %(tenant)s and stream = %(stream)s
    and status = 'loaded' and effective_to is not null and not has_indexed_keys
"""


class _Run(NamedTuple):
    """A run; `exports` are None if there are many, or if an earlier version wrote it."""

    id: int
    level: int
    pairs: int
    pages: int
    exports: list[int] | None

    def is_within(self, found: set[int]) -> bool:
        """Whether it is known to have no other exports than these."""
        return self.exports is not None and found.issuperset(self.exports)


class KeyIndex:
    """The index of one tenant's stream.

    A writer must hold the stream's own lock (`locks.own_locks`) and be in a transaction.

    Args:
        connection: connection of the load.
        partner, tenant, stream: the exports' stream, as in the ledger.
    """

    def __init__(self, connection: psycopg.Connection[Any], partner: str, tenant: str, stream: str) -> None:
        self._connection = connection
        self._key = {"partner": partner, "tenant": tenant, "stream": stream}

    def add(self, export_id: int, hashes: Hashes) -> None:
        """Adds an export's keys and marks it as indexed in the ledger. Also adds keys after a replay.

        Args:
            export_id: id of its ledger entry.
            hashes: hashes of its keys, ascending and distinct.
        """
        if len(hashes):
            self._write(0, [Pairs(hashes, np.full(len(hashes), export_id, np.int64))], [export_id])
            self._merge()
        self._connection.execute("update sync.export_files set has_indexed_keys = true where id = %s", [export_id])

    def knowing(self, hashes: Hashes) -> ExportIds:
        """Returns the ids of the exports that have one of the given hashes (ascending), ascending."""
        found = set[int]()
        for run in self._runs() if len(hashes) else ():
            # If a run has fewer pages than hashes, nearly every page has one.
            reading = self._probed(run.id, hashes) if len(hashes) < run.pages else self._read(run.id, hashes)
            while not run.is_within(found) and (pages := next(reading, None)) is not None:
                pairs = unpacked(pages)
                found.update(distinct(pairs.export_ids[are_among(pairs.hashes, hashes)]).tolist())
        return np.array(sorted(found), np.int64)

    def is_complete(self) -> bool:
        """Whether the keys of every loaded export with records are here; not in databases of earlier versions."""
        return self._connection.execute(_NOT_INDEXED + " limit 1", self._key).rowcount == 0

    def build(self, archive: Path, hashes: Callable[[KeptRecords], Hashes]) -> int:
        """Adds the exports that are missing here. Returns their number.

        Args:
            archive: the archive's folder.
            hashes: returns what an export with these kept records is known by.

        Raises:
            ArchiveIncomplete: the kept records of one are missing.
        """
        missing = self._connection.execute(_NOT_INDEXED + " order by id", self._key).fetchall()
        for export_id, kept in missing:
            self.add(export_id, hashes(KeptRecords(archive, kept or "-")))
        return len(missing)

    def _runs(self) -> list[_Run]:
        return [_Run(*row) for row in self._connection.execute(_RUNS, self._key)]

    def _probed(self, run: int, hashes: Hashes) -> Iterator[list[Page]]:
        """Yields the pages of a run that may have some hashes, ever more at a time."""
        numbers, start, count = as_bigint(hashes).tolist(), 0, _FIRST
        while some := numbers[start : start + count]:
            yield self._pages(_PAGES_OF_HASHES, some, run)
            start, count = start + count, min(count * _GROWTH, _PROBES_AT_ONCE)

    def _read(self, run: int, hashes: Hashes) -> Iterator[list[Page]]:
        """Yields all pages of a run up to the last hash, ever more at a time."""
        last, first, count = int(as_bigint(hashes[-1:])[0]), _LOWEST, _FIRST
        while pages := self._pages(_PAGES_OF_RUN, run, first, last, count):
            yield pages
            if len(pages) < count:
                return
            first, count = pages[-1].first_hash + 1, min(count * _GROWTH, _PAGES_AT_ONCE)

    def _pages(self, statement: Any, *values: Any) -> list[Page]:
        with self._connection.cursor(binary=True) as cursor:
            return [Page(*row) for row in cursor.execute(statement, values)]

    def _merge(self) -> None:
        """Merges runs of a level while there are ten of them."""
        level = 0
        while len(runs := [run for run in self._runs() if run.level == level]) >= MERGED_AT_ONCE:
            if sum(run.pairs for run in runs) > LARGEST_RUN:
                return
            merged = [run.id for run in runs]
            is_small = sum(run.pages for run in runs) <= _PAGES_AT_ONCE
            parts = [self._merged_at_once(merged)] if is_small else self._merged(merged)
            self._write(level + 1, parts, _exports_of(runs))
            self._connection.execute(_REMOVE_RUNS, [merged])
            level += 1

    def _merged_at_once(self, runs: list[int]) -> Pairs:
        return unpacked(self._pages(_PAGES_OF_RUNS, runs)).ordered()

    def _merged(self, runs: list[int]) -> Iterator[Pairs]:
        """Yields the pairs of several runs in order, part by part."""
        waiting, count = list[Pairs](), 0
        with self._connection.cursor("merged_pages", binary=True) as cursor:
            cursor.itersize = _PAGES_AT_ONCE
            cursor.execute(_PAGES_BY_HASH, [runs])
            while rows := cursor.fetchmany(_PAGES_AT_ONCE):
                pages = [Page(*row) for row in rows]
                waiting.append(unpacked(pages))
                count += len(waiting[-1])
                if count < _PAIRS_AT_ONCE:
                    continue
                # Later pages have nothing before the start of the last page.
                pairs = joined(waiting).ordered()
                is_final = as_bigint(pairs.hashes) < pages[-1].first_hash
                yield pairs.of(is_final)
                waiting = [pairs.of(~is_final)]
                count = len(waiting[0])
        yield joined(waiting).ordered()

    def _write(self, level: int, parts: Sequence[Pairs] | Iterator[Pairs], exports: list[int] | None) -> None:
        """Writes a run of ordered pairs; no hash is in two parts."""
        run: int | None = None
        for pairs in parts:
            pages = list(packed(pairs))
            run = self._counted(run, level, len(pairs), len(pages), exports)
            for start in range(0, len(pages), _PAGES_AT_ONCE):
                columns = [list(column) for column in zip(*pages[start : start + _PAGES_AT_ONCE], strict=True)]
                self._connection.execute(_ADD_PAGES, [run, *columns])

    def _counted(self, run: int | None, level: int, pairs: int, pages: int, exports: list[int] | None) -> int:
        """Counts what is written to a run, which starts with its first part. Returns its id."""
        values = {**self._key, "run": run, "level": level, "pairs": pairs, "pages": pages, "exports": exports}
        row = self._connection.execute(_ADD_RUN if run is None else _ADD_TO_RUN, values).fetchone()
        assert row is not None
        return int(row[0])


def _exports_of(runs: Sequence[_Run]) -> list[int] | None:
    """Returns the exports of a run that some runs are merged into, see `_Run`."""
    found = set[int]()
    for run in runs:
        if run.exports is None:
            return None
        found.update(run.exports)
    return sorted(found) if len(found) <= _EXPORTS_LISTED else None
