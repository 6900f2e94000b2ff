"""The locks of loads: one per table, partner and tenant that a load may write, held until its transaction ends.

Belongs here: their names, acquiring them. Does not belong here: when they are acquired (`load`,
`streaming_load`, `refold`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.upsert.row_names import streams_within


def locks_of(stream: Stream, tenant: str, kept: Iterable[KeptRecords]) -> set[str]:
    """Returns the names of the locks of everything that applying kept records may write."""
    referred = [target for records in kept for target in records.summary.referred]
    return own_locks(stream, tenant) | referred_locks(stream, referred)


def own_locks(stream: Stream, tenant: str) -> set[str]:
    """Returns the names of the locks of a stream's own rows and of those within them."""
    return {f"{s.table}/{s.partner}/{tenant}" for s in (stream, *streams_within(stream))}


def referred_locks(stream: Stream, referred: Iterable[Iterable[str]]) -> set[str]:
    """Returns the names of the locks of referenced rows, each given by foreign key, partner and tenant."""
    tables = {reference.column: reference.table for reference in stream.references}
    return {f"{tables[link]}/{partner}/{tenant}" for link, partner, tenant in referred}


def take_locks(connection: psycopg.Connection[Any], names: Iterable[str]) -> None:
    """Acquires locks until the transaction ends, always in the same order."""
    connection.execute(
        "select pg_advisory_xact_lock(hashtextextended('sync:' || name, 0))"
        " from unnest(%s::text[]) with ordinality n (name, number) order by number",
        [sorted(set(names))],
    )


def try_locks(connection: psycopg.Connection[Any], names: Iterable[str]) -> bool:
    """Acquires locks without waiting. Returns False if another transaction holds one."""
    statement = "select pg_try_advisory_xact_lock(hashtextextended('sync:' || %s, 0))"
    return all(connection.execute(statement, [name]).fetchone() == (True,) for name in sorted(set(names)))
