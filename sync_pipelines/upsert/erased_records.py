"""Kept records written again without erased people, as an object that refers to no other.

Belongs here: reading kept records and writing them again. Does not belong here: which records are dropped
(`normalize.erasure`), what follows in tables, ledger and archive (`stages.erase`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.types.json import Jsonb

from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.exports.storage_interface import ChangedWhileRead
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.kept.kept_writer import KeptWriter
from sync_pipelines.kept.record_batches import to_batch
from sync_pipelines.normalize.change import Change, Fault, Reject
from sync_pipelines.normalize.erasure import SUBJECT_ERASED, Eraser
from sync_pipelines.normalize.keys import by_row, hashes_of
from sync_pipelines.normalize.layout import Layout, layout_of
from sync_pipelines.privacy.erased_people import read_erased_people
from sync_pipelines.upsert.history import to_change
from sync_pipelines.upsert.row_references import Named


class Rewritten(NamedTuple):
    """Kept records that were written again.

    Attributes:
        kept: their location, for the ledger.
        erased: how many records and rejects changed or were dropped.
        positions: the positions of those records.
    """

    kept: str
    erased: int
    positions: list[str]


class Counted(NamedTuple):
    """How many records and rejects of kept records name an erased person."""

    records: int
    rejects: int


def named_in(archive: Path, kept_text: str, stream: Stream, eraser: Eraser, *, is_whole: bool = True) -> Counted:
    """Returns how many records and rejects name an erased person.

    Args:
        archive: the archive's folder.
        kept_text: location of an export's records.
        stream: the declaration.
        eraser: knows the people.
        is_whole: whether to include records in other exports' objects.
    """
    kept, layout, records = KeptRecords(archive, kept_text), layout_of(stream), 0
    for block in kept.blocks() if is_whole else kept.own_blocks():
        for index in np.flatnonzero(eraser.suspects(block)).tolist():
            change = plain_change(block.slice(index, 1).to_pylist()[0], layout, kept.bits)
            records += eraser.change(change) is not change
    return Counted(records, sum(eraser.reject(reject) is not reject for reject in map(to_reject, kept.rejects())))


def without_erased(
    archive: Path,
    kept_text: str,
    stream: Stream,
    tenant: str,
    eraser: Eraser,
    let_go: set[tuple[str, Named]],
    erasures: int,
) -> Rewritten:
    """Writes an export's kept records again without erased people.

    Positions, times, and all other records stay as they are.

    Args:
        archive: the archive's folder.
        kept_text: location of the records.
        stream: the declaration.
        tenant: of the export.
        eraser: removes the people.
        let_go: receives table and name of the rows that records named and now do not.
        erasures: as in `Summary`.
    """
    former, layout = KeptRecords(archive, kept_text), layout_of(stream)
    at = datetime.fromisoformat(former.summary.at)
    writer = KeptWriter(archive, layout, at)
    noted: list[tuple[Change, Change | None]] = []
    try:
        erased = _copy_records(former, writer, layout, eraser, noted)
        dropped = 0
        for kept_reject in former.rejects():
            reject = to_reject(kept_reject)
            cleaned = eraser.reject(reject)
            erased += cleaned is not reject
            dropped += cleaned is None
            if cleaned is not None:
                writer.add_reject(cleaned)
        rejected = former.summary.rejected - dropped
        leniencies = dict(former.summary.leniencies)
        if erased:
            leniencies[SUBJECT_ERASED] = leniencies.get(SUBJECT_ERASED, 0) + erased
        summary = replace(
            former.summary, read=writer.accepted + rejected, rejected=rejected, leniencies=leniencies, erasures=erasures
        )
        let_go |= _names(noted, stream, tenant)
        return Rewritten(writer.finish(summary), erased, [before.position for before, _ in noted])
    except BaseException:
        writer.discard()
        raise


def with_erased_since(
    connection: psycopg.Connection[Any], stream: Stream, entry: LedgerFile, archive: Path, *, is_streamed: bool
) -> LedgerFile:
    """Returns an export whose kept records are without people who were erased since they were read.

    Args:
        connection: in the transaction of a load, with the export's locks.
        stream: the declaration.
        entry: the export.
        archive: the archive's folder.
        is_streamed: whether rows of these records were written already.

    Raises:
        ChangedWhileRead: some rows name such a person; the next sync loads the export without them.
    """
    people, kept_text = read_erased_people(archive), entry.kept or "-"
    if people is None or (summary := KeptRecords(archive, kept_text).summary).erasures == people.changes:
        return entry
    owners = {(partner, tenant) for _, partner, tenant in summary.referred}
    subjects = people.those_of({(entry.partner, entry.tenant), *owners})
    eraser = None if subjects is None else Eraser(stream, subjects)
    if eraser is None or not sum(named_in(archive, kept_text, stream, eraser)):
        return entry
    if is_streamed:
        raise ChangedWhileRead(entry.path)
    made = without_erased(archive, kept_text, stream, entry.tenant, eraser, set(), people.changes)
    connection.execute("update sync.export_files set kept = %s where id = %s", [made.kept, entry.id])
    return replace(entry, kept=made.kept)


def _names(changes: Iterable[tuple[Change, Change | None]], stream: Stream, tenant: str) -> set[tuple[str, Named]]:
    """Returns table and name of the rows that only the former changes name."""
    found = set[tuple[str, Named]]()
    for before, after in changes:
        if after is None and stream.scope is None and before.key is not None:
            found.add((stream.table, Named(stream.partner, tenant, False, before.key)))
        for reference in stream.references:
            identity = before.links.get(reference.column)
            if isinstance(identity, Identity) and (after is None or after.links.get(reference.column) != identity):
                text = identity.external_id if identity.record_id is None else identity.record_id
                if text is not None:
                    is_own = identity.record_id is not None
                    found.add((reference.table, Named(identity.partner, identity.tenant, is_own, text)))
    return found


def to_reject(kept_reject: dict[str, Any]) -> Reject:
    """Returns a kept reject as the reject it was."""
    faults = tuple(Fault(**fault) for fault in kept_reject.get("faults") or ())
    return Reject(**{**kept_reject, "faults": faults})


def _copy_records(
    former: KeptRecords,
    writer: KeptWriter,
    layout: Layout,
    eraser: Eraser,
    noted_changes: list[tuple[Change, Change | None]],
) -> int:
    """Copies records; returns how many changed or were dropped."""
    first, second = by_row(former.keys)
    same_bits, erased, row = former.bits == layout.bits, 0, 0
    for block in former.blocks():
        rows = np.arange(row, row + block.num_rows)
        row += block.num_rows
        table = pa.Table.from_batches([block])
        again = eraser.suspects(block) if same_bits else np.ones(len(rows), bool)
        changes, changed_rows = [], []
        for index in np.flatnonzero(again).tolist():
            before = plain_change(table.slice(index, 1).to_pylist()[0], layout, former.bits)
            after = eraser.change(before)
            if after is before and same_bits:
                again[index] = False
                continue
            erased += after is not before
            if after is not before:
                noted_changes.append((before, after))
            if after is not None:
                changes.append(after)
                changed_rows.append((index, after is not before))
        texts = np.zeros((len(rows), 2), np.uint64) if former.texts is None else former.texts[rows].copy()
        noted = np.zeros(len(rows), bool) if former.noted is None else former.noted[rows].copy()
        for index, is_changed in changed_rows:
            if is_changed:
                texts[index], noted[index] = 0, True
        left = np.flatnonzero(~again)
        order = np.concatenate([left, np.array([index for index, _ in changed_rows], np.int64)])
        pieces = [_fitted(table.take(pa.array(left)), layout)] if len(left) else []
        if changes:
            hashes = [hashes_of(change)[0] for change in changes]
            pieces.append(pa.Table.from_batches([to_batch(layout, changes, np.array(hashes, np.uint64))]))
        if not pieces:
            continue
        sequence = np.argsort(order, kind="stable")
        chosen = rows[order[sequence]]
        at = order[sequence]
        records = pa.concat_tables(pieces).take(pa.array(sequence)).combine_chunks()
        writer.add_kept(records, (first[chosen], second[chosen]), texts[at], noted[at])
    former.let_go()
    return erased


def _fitted(table: pa.Table, layout: Layout) -> pa.Table:
    """Returns records with exactly the layout's columns."""
    return pa.Table.from_arrays(
        [
            table.column(field.name).cast(field.type)
            if field.name in table.column_names
            else pa.nulls(len(table), field.type)
            for field in layout.arrow
        ],
        schema=layout.arrow,
    )


def plain_change(record: dict[str, Any], layout: Layout, bits: dict[str, int]) -> Change:
    """Returns a kept record as the change it was; JSON columns as they were read."""
    change = to_change(record, layout, bits)
    values = {name: value.obj if isinstance(value, Jsonb) else value for name, value in change.values.items()}
    return change._replace(values=values)
