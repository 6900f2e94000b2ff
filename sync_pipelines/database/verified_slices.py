"""The table `sync.verified_slices`: when each slice of a tenant's stream was last compared with the archive.

Belongs here: every statement on that table. Does not belong here: verifying (`stages.verify_tables`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg

SLICES: Final = 28
"""The nightly job verifies one of as many slices of the keys, so that each key is compared once a month."""
_NOTE: Final = """
insert into sync.verified_slices (partner, tenant, stream, slice, verified_at, keys, differences)
values (%s, %s, %s, %s, now(), %s, %s)
on conflict (partner, tenant, stream, slice) do update
set verified_at = excluded.verified_at, keys = excluded.keys, differences = excluded.differences
"""
_OF_STREAM: Final = """
select tenant, coalesce(min(loaded_at), min(verified_at)), count(verified_at), min(verified_at),
    coalesce(sum(keys), 0)::bigint, coalesce(sum(differences), 0)::bigint
from (
    select tenant, min(loaded_at) as loaded_at, null::timestamptz as verified_at, 0 as keys, 0 as differences
    from sync.export_files
    where partner = %(partner)s and stream = %(stream)s and status = 'loaded' group by tenant
    union all
    select tenant, null, verified_at, keys, differences from sync.verified_slices
    where partner = %(partner)s and stream = %(stream)s and slice < %(slices)s
) known
group by tenant order by tenant
"""


class VerifiedTenant(NamedTuple):
    """What is known of a tenant with loaded exports or rows.

    Attributes:
        tenant: the tenant.
        since: when its first export was loaded.
        slices: how many slices were ever verified.
        oldest: when the slice was verified that was verified longest ago; None if none was.
        keys, differences: the sums of the last verification of each slice.
    """

    tenant: str
    since: datetime
    slices: int
    oldest: datetime | None
    keys: int
    differences: int

    @property
    def due_since(self) -> datetime:
        """Since when its oldest slice has not been verified."""
        return self.since if self.oldest is None or self.slices < SLICES else self.oldest


def note(
    connection: psycopg.Connection[Any],
    stream: tuple[str, str, str],
    numbers: Iterable[int],
    keys: int,
    differences: int,
) -> None:
    """Notes that slices were verified now.

    Args:
        connection: in autocommit.
        stream: partner, tenant and stream.
        numbers: the slices; keys and differences of several are noted at the first.
        keys: compared keys.
        differences: differences that remain.
    """
    rows = [
        [*stream, number, keys if place == 0 else 0, differences if place == 0 else 0]
        for place, number in enumerate(numbers)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_NOTE, rows)


def of_stream(connection: psycopg.Connection[Any], partner: str, stream: str) -> list[VerifiedTenant]:
    """Returns the tenants of a stream with loaded exports or verified rows, in order."""
    values = {"partner": partner, "stream": stream, "slices": SLICES}
    return [VerifiedTenant(*row) for row in connection.execute(_OF_STREAM, values).fetchall()]
