"""The references of a block's records, as columns.

Belongs here: links as in kept records. Does not belong here: which row a link refers to (`contracts.links`, a
partner's own function), which records are plain (`plain`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.links import LONGEST_REFERENCE, ByText
from sync_pipelines.contracts.streams import Identity, Link, LinkResult
from sync_pipelines.normalize.keys import Rows
from sync_pipelines.normalize.list_duplicates import Mask, row_codes

_REMEMBERED: Final = 10_000
"""Cached results of a partner's function."""


@dataclass(frozen=True)
class LinkColumns:
    """One reference of some records.

    Attributes:
        is_set: which records set it (X1).
        identity: the parts of `Identity`; null if a record refers to no row.
        lenient: code -> the records it is counted for.
    """

    is_set: Mask
    identity: tuple[Any, ...]
    lenient: Mapping[str, Mask]

    @property
    def is_lenient(self) -> Mask:
        """Which records have a leniency."""
        forgiven: Mask = np.logical_or.reduce([np.zeros(len(self.is_set), bool), *self.lenient.values()])
        return forgiven

    @property
    def is_too_long(self) -> Mask:
        """Which records refer to a row whose key is too long for a PostgreSQL index."""
        long = np.zeros(len(self.is_set), bool)
        for part in self.identity:
            found = pc.greater(pc.binary_length(part), LONGEST_REFERENCE)
            long |= pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        return long

    @property
    def leniencies(self) -> Counter[str]:
        """Code -> count."""
        return Counter({code: int(mask.sum()) for code, mask in self.lenient.items() if mask.any()})

    def take(self, rows: Rows) -> LinkColumns:
        """Returns the references of some of the records."""
        chosen = pa.array(rows)
        return LinkColumns(
            self.is_set[rows],
            tuple(part.take(chosen) for part in self.identity),
            {code: mask[rows] for code, mask in self.lenient.items()},
        )


class LinkReader:
    """Reads one reference of a source's stream.

    Args:
        link: the declaration.
        options: the partner's settings.
        tenant: as stored.
    """

    def __init__(self, link: Link, options: Any, tenant: str) -> None:
        self._link = link
        self._options = options
        self._tenant = tenant
        # Many records have the same values.
        self._ask = lru_cache(_REMEMBERED)(partial(_asked, link, options, tenant))

    def read(self, columns: Mapping[str, Any], count: int) -> LinkColumns:
        """Returns the reference of each record.

        Args:
            columns: the contract's attributes that a link may be made of, as arrays; null for absent.
            count: number of records.
        """
        if isinstance(self._link, ByText):
            column = columns.get(self._link.column(self._options))
            return _by_text(self._link, column, count, self._options, self._tenant)
        first, kinds = _kinds(columns.values(), count)
        parts = [column.take(pa.array(first)).to_pylist() for column in columns.values()]
        rows = list(zip(*parts, strict=True)) if parts else [()] * len(first)
        return _linked([self._ask(tuple(columns), row) for row in rows]).take(kinds)


def _asked(link: Link, options: Any, tenant: str, names: tuple[str, ...], row: tuple[Any, ...]) -> LinkResult:
    return link({name: v for name, v in zip(names, row, strict=True) if v is not None}, options, tenant)


def _linked(results: Sequence[LinkResult]) -> LinkColumns:
    identities: list[list[str | None]] = [
        [None if result.identity is None else result.identity[index] for result in results]
        for index in range(len(Identity._fields))
    ]
    codes = {result.leniency for result in results if result.leniency is not None}
    return LinkColumns(
        np.array([result.is_sent for result in results], bool),
        tuple(pa.array(part, pa.string()) for part in identities),
        {code: np.array([result.leniency == code for result in results], bool) for code in codes},
    )


def _kinds(columns: Iterable[Any], count: int) -> tuple[Rows, Rows]:
    """Returns the first row of each group of equal rows, and the group of each row."""
    kinds = row_codes(columns, count)
    first = np.empty(kinds.max(initial=-1) + 1, np.int64)
    # Of several writes to one place the last wins.
    first[kinds[::-1]] = np.arange(count)[::-1]
    return first, kinds


def _by_text(link: ByText, column: Any, count: int, options: Any, tenant: str) -> LinkColumns:
    texts = [None] * count if column is None else column.to_pylist()
    external_ids = pa.array([None if t is None else link.form(t, options) or None for t in texts], pa.string())
    known = external_ids.is_valid()
    partner, owner = (pc.if_else(known, part, None) for part in link.owner(options, tenant))
    is_set = np.zeros(count, bool) if column is None else column.is_valid().to_numpy(zero_copy_only=False)
    return LinkColumns(
        is_set,
        (partner, owner, external_ids, pa.nulls(count, pa.string())),
        {link.absent: ~known.to_numpy(zero_copy_only=False)},
    )
