"""What the ledger says of objects of kept records: which are named, since when others are not, and where parts moved.

Belongs here: statements. Does not belong here: what a name means (`kept.locations`), removing objects
(`stages.file_cleanup`), making others (`stages.compaction`).
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
    """What a ledger entry says of its kept records.

    Attributes:
        id: of the entry.
        stream: partner, tenant and stream.
        is_loaded: whether it is loaded.
        kept: where its kept records are.
        seen_at: when the entry was made, in seconds since the epoch.
    """

    id: int
    stream: tuple[str, str, str]
    is_loaded: bool
    kept: str | None
    seen_at: float


def all_kept(connection: psycopg.Connection[Any]) -> Iterator[KeptEntry]:
    """Every entry, streams together, by time."""
    with connection.transaction(), connection.cursor("all_kept") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(
            "select id, partner, tenant, stream, status = 'loaded', kept, extract(epoch from seen_at)::float"
            " from sync.export_files order by partner, tenant, stream, effective_at, id"
        )
        for file_id, partner, tenant, stream, is_loaded, kept, seen_at in cursor:
            yield KeptEntry(file_id, (partner, tenant, stream), is_loaded, kept, seen_at)


def note_unnamed(connection: psycopg.Connection[Any], names: Sequence[str], now: float, before: float) -> list[str]:
    """Notes which objects no entry names, and returns those of which that was noted before a moment.

    Args:
        connection: in autocommit.
        names: of all of them; one noted earlier and not among them is named again, or gone.
        now: seconds since the epoch.
        before: the moment, likewise.
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
    """Notes other places of the same kept records, all in one commit; returns the entries that have them now.

    An entry that has others by now stays, and one that somebody is at work on.

    Args:
        connection: in autocommit.
        moved: id of an entry -> what it had in `kept`, and what it gets.
    """
    before, after = (list(texts) for texts in zip(*moved.values(), strict=True)) if moved else ([], [])
    return {file_id for (file_id,) in connection.execute(_REPOINT, [list(moved), before, after])}
