"""The loaded exports of one tenant's stream, searched by their own key lists: the index in the database is not trusted.

Belongs here: which exports know a key, by the archive alone. Does not belong here: the same by the index (`history`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger
from sync_pipelines.normalize.keys import are_among, distinct
from sync_pipelines.upsert.history import Hashes, KnownExport
from sync_pipelines.upsert.locks import own_locks, referred_locks

_LOADED: Final = """
select id, kept from sync.export_files
where partner = %s and tenant = %s and stream = %s and status = 'loaded' and effective_to is not null
"""
LAST: Final = (1 << 64) - 1


class Span(NamedTuple):
    """A range of key hashes, both ends included."""

    first: int = 0
    last: int = LAST

    def of(self, hashes: Hashes) -> Hashes:
        """Returns those of some hashes (sorted) that are in the range."""
        first = np.searchsorted(hashes, np.uint64(self.first))
        return hashes[first : np.searchsorted(hashes, np.uint64(self.last), side="right")]

    def has(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Returns which hashes are in the range."""
        found: npt.NDArray[np.bool_] = (hashes >= np.uint64(self.first)) & (hashes <= np.uint64(self.last))
        return found

    def part(self, number: int, parts: int) -> Span:
        """Returns one of several equal parts; the first has number 0."""
        size = self.last - self.first + 1
        return Span(self.first + size * number // parts, self.first + size * (number + 1) // parts - 1)


class ArchivedExports:
    """The loaded exports of one tenant's stream.

    Args:
        stream: the declaration.
        tenant: the tenant.
        archive: the archive's folder.
    """

    def __init__(self, stream: Stream, tenant: str, archive: Path) -> None:
        self._stream = stream
        self._tenant = tenant
        self._archive = archive
        self._known: dict[int, KnownExport] = {}

    def refresh(self, connection: psycopg.Connection[Any]) -> None:
        """Reads which exports are loaded now."""
        values = [self._stream.partner, self._tenant, self._stream.name]
        loaded = dict(connection.execute(_LOADED, values).fetchall())
        self._known = {i: known for i, known in self._known.items() if loaded.get(i) == known.entry.kept}
        for entry in ledger.of_ids(connection, loaded.keys() - self._known.keys()):
            self._known[entry.id] = KnownExport.of(entry, self._archive)

    @property
    def all(self) -> list[KnownExport]:
        """All of them, in version order."""
        return sorted(self._known.values(), key=lambda known: known.entry.version)

    @property
    def locks(self) -> set[str]:
        """The names of the locks of everything that their records may write."""
        referred = {tuple(target) for known in self._known.values() for target in known.kept.summary.referred}
        return own_locks(self._stream, self._tenant) | referred_locks(self._stream, referred)

    def knowing(self, hashes: Hashes) -> list[KnownExport]:
        """Returns the exports that have records of one of the given key hashes, in version order."""
        found = []
        for known in self.all:
            if are_among(hashes, known.kept.keys.hashes).any():
                found.append(known)
            known.kept.let_go("keys")
        return found

    def hashes(self, span: Span) -> Hashes:
        """Returns the hashes of a range that some record has (sorted)."""
        return hashes_in(self.all, span)


def hashes_in(exports: Iterable[KnownExport], span: Span) -> Hashes:
    """Returns the hashes of a range that some record of some exports has (sorted)."""
    parts = [np.empty(0, np.uint64)]
    for known in exports:
        parts.append(distinct(span.of(known.kept.keys.hashes)))
        known.kept.let_go("keys")
    return distinct(np.concatenate(parts)) if len(parts) > 2 else parts[-1]
