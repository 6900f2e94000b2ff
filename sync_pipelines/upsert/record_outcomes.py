"""The outcome of each record of an export: one byte per record, in the order of its kept records (X11).

A byte is an index into `OUTCOMES`, whose order therefore never changes. The bytes are compressed and stored in the
transaction of the load; the counts of the ledger are their sums. Rejects of normalization have no byte: their outcome
is `rejected`. An export that is read again keeps the outcomes of its load: its records are found by their positions,
and bytes for the rejects of the new reading follow if one of them was not rejected before.

Belongs here: collecting, storing and reading outcomes. Does not belong here: deciding them (`fold.outcome`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from backports import zstd

from sync_pipelines.exports.naming import natural_order
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.tables.schema import OUTCOMES
from sync_pipelines.upsert.fold import Outcome

Codes = npt.NDArray[np.uint8]
_CODES: Final = {name: np.uint8(code) for code, name in enumerate(OUTCOMES)}
_OPEN: Final = np.uint8(255)
_UNREAD: Final = np.uint8(254)
"""A record that is only in a later reading, not in the load."""


class RecordOutcome(NamedTuple):
    """One record of a loaded export.

    Attributes:
        position: its position in the export (X14).
        key: its key, or the partner's own id if it has no key; None if it has neither.
        outcome: its outcome; None for a record that was not in the load.
    """

    position: str
    key: str | None
    outcome: str | None


class Outcomes:
    """The outcomes of one load, recorded by the path that a record takes.

    Args:
        count: number of the export's kept records.
    """

    def __init__(self, count: int) -> None:
        self._codes: Codes = np.full(count, _OPEN, np.uint8)

    def note(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | int, outcome: Outcome) -> None:
        """Records the outcome of some records; each has one outcome.

        Args:
            rows: a mask by row, or numbers of rows.
            outcome: the outcome of each of them.
        """
        assert (self._codes[rows] == _OPEN).all(), f"a record with the outcome {outcome} already has another one"
        self._codes[rows] = _CODES[outcome]

    @property
    def counts(self) -> dict[str, int]:
        """Outcome -> number of records; every record must have one."""
        assert not (self._codes == _OPEN).any(), "a record has no outcome"
        return dict(zip(OUTCOMES, np.bincount(self._codes, minlength=len(OUTCOMES)).tolist(), strict=True))

    def store(self, connection: psycopg.Connection[Any], file_id: int) -> None:
        """Stores them in the load's transaction; nothing if the export has no records."""
        if len(self._codes):
            _store(connection, file_id, self._codes)


def stored_outcomes(connection: psycopg.Connection[Any], file_id: int) -> Codes | None:
    """Returns the outcomes of a loaded export, by row, as indexes into `OUTCOMES`; None if none are stored."""
    row = connection.execute(
        "select outcomes from sync.export_outcomes where export_file_id = %s", [file_id]
    ).fetchone()
    return None if row is None else decoded(row[0])


def decoded(stored: bytes) -> Codes:
    """Returns outcomes as they are stored, by row, as indexes into `OUTCOMES`."""
    return np.frombuffer(zstd.decompress(stored), np.uint8)


def _store(connection: psycopg.Connection[Any], file_id: int, codes: Codes) -> None:
    connection.execute(
        "insert into sync.export_outcomes (export_file_id, outcomes) values (%s, %s)"
        " on conflict (export_file_id) do update set outcomes = excluded.outcomes",
        [file_id, zstd.compress(codes.tobytes())],
    )


def carry_over(connection: psycopg.Connection[Any], file_id: int, former: KeptRecords, mine: KeptRecords) -> None:
    """Gives the records of a new reading the outcomes of the load's records at their positions (X11).

    Args:
        connection: in the transaction that switches to the new reading.
        file_id: the ledger entry.
        former: the kept records that were loaded.
        mine: the records that replace them.
    """
    codes = stored_outcomes(connection, file_id)
    if codes is None and former.count:
        return
    before, after = _positions(former), _positions(mine)
    known = np.full(len(before), _CODES["rejected"])
    if codes is not None:
        known[: len(codes)] = codes
    places = pc.index_in(after, value_set=before)
    found = np.full(len(after), _UNREAD)
    has_place = places.is_valid().to_numpy(zero_copy_only=False)
    found[has_place] = known[places.drop_null().to_numpy()]
    if (found[mine.count :] == _CODES["rejected"]).all():
        found = found[: mine.count]
    _store(connection, file_id, found)


def _positions(kept: KeptRecords) -> pa.Array:
    """Returns the positions of records, and of rejects after them."""
    pieces = [block.column(0) for block in kept.blocks(["position"])] if kept.count else []
    rejects = pa.array([reject["position"] for reject in kept.rejects()], pa.string())
    return pa.concat_arrays([*(piece.cast(pa.string()) for piece in pieces), rejects])


def outcomes_in(kept: KeptRecords, codes: Codes | None, only: Collection[str] = OUTCOMES) -> Iterator[RecordOutcome]:
    """Yields the records of a loaded export in file order, including rejects of normalization.

    Args:
        kept: its kept records.
        codes: the stored outcomes; None for an export whose records were all rejected.
        only: the wanted outcomes. A record that was not in the load is yielded only if all are wanted.
    """
    known: Codes = np.empty(0, np.uint8) if codes is None else codes
    rejects = _rejects(kept, known[kept.count :], only)
    waiting = next(rejects, None)
    for found in _accepted(kept, known[: kept.count], only):
        while waiting is not None and natural_order(waiting.position) < natural_order(found.position):
            yield waiting
            waiting = next(rejects, None)
        yield found
    if waiting is not None:
        yield waiting
        yield from rejects


def _accepted(kept: KeptRecords, codes: Codes, only: Collection[str]) -> Iterator[RecordOutcome]:
    rows = np.flatnonzero(np.isin(codes, _wanted(only)))
    if not len(rows):
        return
    for here, block in kept.chosen(rows, ["position", "external_id", "record_id"]):
        keys = pc.coalesce(block.column("external_id"), block.column("record_id"))
        for position, key, code in zip(
            block.column("position").to_pylist(), keys.to_pylist(), codes[here].tolist(), strict=True
        ):
            yield RecordOutcome(position, key, _name(code))


def _rejects(kept: KeptRecords, codes: Codes, only: Collection[str]) -> Iterator[RecordOutcome]:
    wanted = _wanted(only)
    of_rejects = codes.tolist() or repeat(int(_CODES["rejected"]))
    for reject, code in zip(kept.rejects(), of_rejects, strict=False):
        if code in wanted:
            yield RecordOutcome(reject["position"], reject["external_id"], _name(code))


def _wanted(only: Collection[str]) -> list[int]:
    codes = [int(_CODES[name]) for name in only]
    return [*codes, int(_UNREAD)] if len(codes) == len(OUTCOMES) else codes


def _name(code: int) -> str | None:
    return OUTCOMES[code] if code < len(OUTCOMES) else None
