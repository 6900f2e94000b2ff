"""What each record of an export came to: a byte a record, in the order of its kept records (X11).

A byte is the place of the outcome in `OUTCOMES`, which therefore never changes its order. The bytes are compressed and
stored in the transaction of the load; the counts of the ledger are their sums.

Belongs here: collecting, storing and reading outcomes. Does not belong here: what a record comes to (`fold.outcome`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg
from backports import zstd

from sync_pipelines.tables.schema import OUTCOMES
from sync_pipelines.upsert.fold import Outcome

Codes = npt.NDArray[np.uint8]
_CODES: Final = {name: np.uint8(code) for code, name in enumerate(OUTCOMES)}
_OPEN: Final = np.uint8(255)


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
            connection.execute(
                "insert into sync.export_outcomes (export_file_id, outcomes) values (%s, %s)",
                [file_id, zstd.compress(self._codes.tobytes())],
            )


def stored_outcomes(connection: psycopg.Connection[Any], file_id: int) -> Codes | None:
    """The outcomes of a loaded export, by row, as places in `OUTCOMES`; None where none are stored."""
    row = connection.execute(
        "select outcomes from sync.export_outcomes where export_file_id = %s", [file_id]
    ).fetchone()
    return None if row is None else np.frombuffer(zstd.decompress(row[0]), np.uint8)
