"""Rows within a row that turned out to be another one: folded again in its heir (X7, P5).

A business may be referred to by its id in one export and by its external id in another before any export defines it.
Two placeholders stand for it then, with customers in each; the definition makes them one.

Belongs here: which streams live within a stream, and folding their rows again. Does not belong here: how the
placeholders become one (`fold`, `write`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.keys import hashes_of_row
from sync_pipelines.partners import STREAMS
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.folding import Folding
from sync_pipelines.upsert.history import History
from sync_pipelines.upsert.write import remove_unused


def streams_within(stream: Stream) -> list[Stream]:
    """The streams of the same partner whose keys are unique within one row of this stream's table."""
    return [
        inner
        for inner in STREAMS
        if inner.partner == stream.partner
        and any(r.column == inner.scope and r.table == stream.table for r in inner.references)
    ]


class MergedPlaceholders:
    """Follows rows that have an heir, from before they are written to after.

    Args:
        context: of the load.
        archive: the archive's folder.
    """

    def __init__(self, context: LoadContext, archive: Path) -> None:
        self._load = context
        self._archive = archive
        self._ids: list[int] = []
        self._hashes: dict[str, set[int]] = defaultdict(set)

    def note(self, ids: Sequence[int]) -> None:
        """Remembers which rows live within rows that are about to be absorbed."""
        self._ids += ids
        for inner in streams_within(self._load.stream):
            assert inner.scope is not None
            statement = SQL("select external_id, partner_record_id from {t} where {scope} = any(%s)").format(
                t=Identifier(SCHEMA, inner.table), scope=Identifier(inner.scope)
            )
            for row in self._load.connection.execute(statement, [list(ids)]):
                self._hashes[inner.name].update(hashes_of_row(*row))

    def settle(self) -> None:
        """Folds those rows again over all their records, and removes what nothing refers to any more."""
        for inner in streams_within(self._load.stream):
            hashes = np.array(sorted(self._hashes[inner.name]), np.uint64)
            if len(hashes):
                history = History(
                    self._load.connection, inner.partner, self._load.entry.tenant, inner.name, self._archive
                )
                folding = Folding(replace(self._load, stream=inner), history.knowing)
                folding.fold_known(hashes)
        if self._ids:
            remove_unused(self._load.connection, self._load.stream, self._ids)
