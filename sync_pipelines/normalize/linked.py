"""What the records of a block say of a reference, as columns.

Belongs here: links as kept records have them. Does not belong here: which row a link means (`contracts.links`, a
partner's own function), which records are plain (`plain`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.links import ByText
from sync_pipelines.contracts.streams import Identity, Link, LinkResult
from sync_pipelines.normalize.record import LONGEST_REFERENCE

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
_REMEMBERED: Final = 10_000
"""Results of a partner's function that are remembered."""


@dataclass(frozen=True)
class Linked:
    """A reference of some records.

    Attributes:
        spoken: which records speak of it (X1).
        identity: the parts of `Identity`, null where a record means no row.
        lenient: code -> the records it is counted for.
    """

    spoken: Mask
    identity: tuple[Any, ...]
    lenient: Mapping[str, Mask]

    @property
    def is_lenient(self) -> Mask:
        """Which records are forgiven something."""
        forgiven: Mask = np.logical_or.reduce([np.zeros(len(self.spoken), bool), *self.lenient.values()])
        return forgiven

    @property
    def is_too_long(self) -> Mask:
        """Which records mean a row whose key PostgreSQL can't index."""
        long = np.zeros(len(self.spoken), bool)
        for part in self.identity:
            found = pc.greater(pc.binary_length(part), LONGEST_REFERENCE)
            long |= pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        return long

    @property
    def owners(self) -> set[tuple[str, str]]:
        """Partner and tenant of the rows meant."""
        partners, tenants, *_ = (part.dictionary_encode() for part in self.identity)
        known = partners.indices.is_valid()
        codes = [part.indices.filter(known).to_numpy().astype(np.int64) for part in (partners, tenants)]
        pairs = np.unique(codes[0] * len(tenants.dictionary) + codes[1]).tolist()
        names, owners = partners.dictionary.to_pylist(), tenants.dictionary.to_pylist()
        return {(names[pair // len(owners)], owners[pair % len(owners)]) for pair in pairs}

    @property
    def leniencies(self) -> Counter[str]:
        """Code -> how often."""
        return Counter({code: int(mask.sum()) for code, mask in self.lenient.items() if mask.any()})

    def take(self, rows: Rows) -> Linked:
        """The same of some of the records."""
        chosen = pa.array(rows)
        return Linked(
            self.spoken[rows],
            tuple(part.take(chosen) for part in self.identity),
            {code: mask[rows] for code, mask in self.lenient.items()},
        )


class LinkReader:
    """Reads a reference of one source's stream.

    Args:
        link: the declaration.
        options: the partner's settings.
        tenant: as stored.
    """

    def __init__(self, link: Link, options: Any, tenant: str) -> None:
        self._link = link
        self._options = options
        self._tenant = tenant
        # Many records say the same.
        self._asked = lru_cache(_REMEMBERED)(self._ask)

    def read(self, columns: Mapping[str, Any], count: int) -> Linked:
        """What records say of it.

        Args:
            columns: the contract's attributes a link may be made of, as arrays; null for absent.
            count: how many records there are.
        """
        if isinstance(self._link, ByText):
            column = columns.get(self._link.column(self._options))
            return _by_text(self._link, column, count, self._options, self._tenant)
        names = tuple(columns)
        rows = list(zip(*(column.to_pylist() for column in columns.values()), strict=True)) if names else [()] * count
        places = {row: place for place, row in enumerate(dict.fromkeys(rows))}
        results = [self._asked(names, row) for row in places]
        parts: list[list[str | None]] = [
            [None if result.identity is None else result.identity[index] for result in results]
            for index in range(len(Identity._fields))
        ]
        codes = {result.leniency for result in results if result.leniency is not None}
        found = Linked(
            np.array([result.spoken for result in results], bool),
            tuple(pa.array(part, pa.string()) for part in parts),
            {code: np.array([result.leniency == code for result in results], bool) for code in codes},
        )
        return found.take(np.fromiter(map(places.__getitem__, rows), np.int64, count))

    def _ask(self, names: tuple[str, ...], row: tuple[Any, ...]) -> LinkResult:
        values = {name: value for name, value in zip(names, row, strict=True) if value is not None}
        return self._link(values, self._options, self._tenant)


def _by_text(link: ByText, column: Any, count: int, options: Any, tenant: str) -> Linked:
    texts = [None] * count if column is None else column.to_pylist()
    external_ids = pa.array([None if t is None else link.form(t, options) or None for t in texts], pa.string())
    known = external_ids.is_valid()
    partner, owner = (pc.if_else(known, part, None) for part in link.owner(options, tenant))
    spoken = np.zeros(count, bool) if column is None else column.is_valid().to_numpy(zero_copy_only=False)
    return Linked(
        spoken,
        (partner, owner, external_ids, pa.nulls(count, pa.string())),
        {link.absent: ~known.to_numpy(zero_copy_only=False)},
    )
