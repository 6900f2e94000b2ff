"""Objects of kept records in the ledger: which ones it names, which ones it does not, and new places of moved ones.

Belongs here: queries. Does not belong here: what a name means (`kept.locations`), removing objects
(`stages.file_cleanup`), merging them (`stages.compaction`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import psycopg

_AT_ONCE: Final = 5_000
_NOTE: Final = """
insert into sync.unnamed_objects (name, seen_at) select unnest(%s::text[]), %s on conflict (name) do nothing
"""
_REPOINT: Final = """
update sync.export_files f set kept = moved.after
from (
    select f.id, given.after from sync.export_files f
    join unnest(%s::bigint[], %s::text[], %s::text[]) given (id, before, after)
        on given.id = f.id and given.before = f.kept
    order by f.id for update of f skip locked
) moved
where f.id = moved.id returning f.id
"""


class KeptEntry(NamedTuple):
    """A ledger entry and the place of its kept records.

    Attributes:
        id: of the entry.
        stream: partner, tenant and stream.
        is_loaded: whether it is loaded.
        kept: where its kept records are.
        seen_at: when the entry was created, in seconds since the epoch.
    """

    id: int
    stream: tuple[str, str, str]
    is_loaded: bool
    kept: str | None
    seen_at: float


def all_kept(connection: psycopg.Connection[Any]) -> Iterator[KeptEntry]:
    """Yields every entry, ordered by stream and time."""
    with connection.transaction(), connection.cursor("all_kept") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(
            "select id, partner, tenant, stream, status = 'loaded', kept, extract(epoch from seen_at)::float"
            " from sync.export_files order by partner, tenant, stream, effective_at, id"
        )
        for file_id, partner, tenant, stream, is_loaded, kept, seen_at in cursor:
            yield KeptEntry(file_id, (partner, tenant, stream), is_loaded, kept, seen_at)


def note_unnamed(connection: psycopg.Connection[Any], names: Sequence[str], now: float, before: float) -> list[str]:
    """Records which objects no entry names; returns those recorded before a given time.

    Args:
        connection: in autocommit mode.
        names: all objects that no entry names. One that was recorded earlier and is not among them is forgotten.
        now: seconds since the epoch.
        before: the given time, in seconds since the epoch.
    """
    with connection.transaction():
        connection.execute("delete from sync.unnamed_objects where name <> all(%s)", [names])
        connection.execute(_NOTE, [names, datetime.fromtimestamp(now, UTC)])
        rows = connection.execute(
            "select name from sync.unnamed_objects where seen_at < %s order by name",
            [datetime.fromtimestamp(before, UTC)],
        ).fetchall()
    return [name for (name,) in rows]


def repoint(connection: psycopg.Connection[Any], moved: Mapping[int, tuple[str, str]]) -> set[int]:
    """Sets new places of the same kept records, in one commit; returns the ids of the entries that were changed.

    Entries that have other kept records by now are skipped, and so are locked ones.

    Args:
        connection: in autocommit mode.
        moved: id of an entry -> old and new value of `kept`.
    """
    before, after = (list(texts) for texts in zip(*moved.values(), strict=True)) if moved else ([], [])
    return {file_id for (file_id,) in connection.execute(_REPOINT, [list(moved), before, after])}
