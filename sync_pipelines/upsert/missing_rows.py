"""Creates rows that verified records refer to and that are missing (X7).

Belongs here: which are missing, and the record that each names as its source. Does not belong here: finding and
creating rows (`references`), rows that nothing refers to (`placeholders`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from sync_pipelines.contracts.streams import Identity
from sync_pipelines.upsert.audit import Audit
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.history import VersionedRecord
from sync_pipelines.upsert.references import ReferenceIds


def create_missing(context: LoadContext, records: Sequence[VersionedRecord], audit: Audit) -> set[Identity]:
    """Creates the missing rows that records refer to. Returns their identities.

    Args:
        context: context of the verification.
        records: in version order; the first that refers to a row is its source.
        audit: receives the missing rows.
    """
    found: set[Identity] = set()
    searching = ReferenceIds.searching(context)
    for reference in context.stream.references:
        referring: dict[Identity, VersionedRecord] = {}
        for record in records:
            identity = record.change.links.get(reference.column)
            if identity is not None:
                referring.setdefault(identity, record)
        for identity in searching.missing(reference, referring):
            audit.missing(reference.table, identity)
            found.add(identity)
            record = referring[identity]
            parts = {f"{reference.column}_{part}": [value] for part, value in identity._asdict().items()}
            own = {name: pa.array(values, pa.string()) for name, values in parts.items()}
            own |= {
                "effective_at": pa.array([record.change.effective_at], pa.timestamp("us", "UTC")),
                "position": pa.array([record.change.position], pa.string()),
            }
            ReferenceIds.searching(replace(context, entry=record.entry)).ids(reference, pa.table(own))
    return found
