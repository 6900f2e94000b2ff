"""What each record of an export came to: a byte a record, in the order of its kept records (X11).

A byte is the place of the outcome in `OUTCOMES`, which therefore never changes its order. The bytes are compressed and
stored in the transaction of the load; the counts of the ledger are their sums. Rejects of normalization have no byte:
they are `rejected`. An export that is read again keeps the outcomes of its load: its records are found by their
positions, and bytes for the rejects of the new reading follow, where one of them was not rejected before.

Belongs here: collecting, storing and reading outcomes. Does not belong here: what a record comes to (`fold.outcome`).
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
"""A record that the load did not have: it is in a later reading alone."""


class RecordOutcome(NamedTuple):
    """One record of a loaded export.

    Attributes:
        position: where it stands in the export (X14).
        key: its key, or the partner's own id where it has no key; None where it has neither.
        outcome: what it came to; None of a record that the load did not have.
    """

    position: str
    key: str | None
    outcome: str | None


class Outcomes:
    """The outcomes of one load, noted by whichever way a record goes.

    Args:
        count: records that are kept of the export.
    """

    def __init__(self, count: int) -> None:
        self._codes: Codes = np.full(count, _OPEN, np.uint8)

    def note(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | int, outcome: Outcome) -> None:
        """Notes what records came to; each has one outcome.

        Args:
            rows: a mask by row, or numbers of rows.
            outcome: of each of them.
        """
        assert (self._codes[rows] == _OPEN).all(), f"a record that is {outcome} has another outcome already"
        self._codes[rows] = _CODES[outcome]

    @property
    def counts(self) -> dict[str, int]:
        """Outcome -> records that came to it; every record has to have one."""
        assert not (self._codes == _OPEN).any(), "a record has no outcome"
        return dict(zip(OUTCOMES, np.bincount(self._codes, minlength=len(OUTCOMES)).tolist(), strict=True))

    def store(self, connection: psycopg.Connection[Any], file_id: int) -> None:
        """Stores them in the load's transaction; nothing where the export has no records."""
        if len(self._codes):
            _store(connection, file_id, self._codes)


def stored_outcomes(connection: psycopg.Connection[Any], file_id: int) -> Codes | None:
    """The outcomes of a loaded export, by row, as places in `OUTCOMES`; None where none are stored."""
    row = connection.execute(
        "select outcomes from sync.export_outcomes where export_file_id = %s", [file_id]
    ).fetchone()
    return None if row is None else np.frombuffer(zstd.decompress(row[0]), np.uint8)


def _store(connection: psycopg.Connection[Any], file_id: int, codes: Codes) -> None:
    connection.execute(
        "insert into sync.export_outcomes (export_file_id, outcomes) values (%s, %s)"
        " on conflict (export_file_id) do update set outcomes = excluded.outcomes",
        [file_id, zstd.compress(codes.tobytes())],
    )


def carry_over(connection: psycopg.Connection[Any], file_id: int, former: KeptRecords, mine: KeptRecords) -> None:
    """Gives the records of another reading the outcomes that records in their positions had in the load (X11).

    Args:
        connection: inside the transaction that takes the other reading over.
        file_id: the ledger entry.
        former: the kept records that were loaded.
        mine: those that take their place.
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
    """The positions of records, and of rejects after them."""
    pieces = [block.column(0) for block in kept.blocks(["position"])] if kept.count else []
    rejects = pa.array([reject["position"] for reject in kept.rejects()], pa.string())
    return pa.concat_arrays([*(piece.cast(pa.string()) for piece in pieces), rejects])


def outcomes_in(kept: KeptRecords, codes: Codes | None, only: Collection[str] = OUTCOMES) -> Iterator[RecordOutcome]:
    """The records of a loaded export in file order, rejects of normalization among them.

    Args:
        kept: its kept records.
        codes: what is stored of them; None of an export whose records were all rejected.
        only: outcomes that are wanted. A record that the load did not have comes with all of them.
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
