"""A cache of row ids by name, in a sixth of the memory of a dictionary, so that a load need not look up ids again.

Belongs here: adding and finding ids. Does not belong here: the names (`references`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Digests = npt.NDArray[np.uint64]
"""128 bits of each name, as two columns (`normalize.keys.texts_of`)."""
_SMALL: Final = 16_384


class _Known(NamedTuple):
    """Ids by digests, sorted by the digests' first column."""

    first: npt.NDArray[np.uint64]
    second: npt.NDArray[np.uint64]
    ids: Ids

    def find(self, digests: Digests) -> Ids:
        """Returns the ids, 0 for unknown names."""
        found = np.zeros(len(digests), np.int64)
        places = np.searchsorted(self.first, digests[:, 0])
        here = np.flatnonzero(places < len(self.first))
        at = places[here]
        is_same = (self.first[at] == digests[here, 0]) & (self.second[at] == digests[here, 1])
        found[here[is_same]] = self.ids[at[is_same]]
        return found

    def also(self, other: _Known) -> _Known:
        """Returns both caches together."""
        places = np.searchsorted(self.first, other.first)
        return _Known(*(np.insert(mine, places, new) for mine, new in zip(self, other, strict=True)))


_NOTHING: Final = _Known(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64))


class IdCache:
    """Ids of rows by the digests of their names."""

    def __init__(self) -> None:
        # New ids go into a small part, so that the large part need not be moved each time.
        self._many = self._few = _NOTHING

    def __len__(self) -> int:
        return len(self._many.ids) + len(self._few.ids)

    def find(self, digests: Digests) -> Ids:
        """Returns the ids, 0 for names that are not cached."""
        return np.maximum(self._many.find(digests), self._few.find(digests))

    def add(self, digests: Digests, ids: Ids) -> None:
        """Adds new names, each once."""
        order = np.argsort(digests[:, 0])
        self._few = self._few.also(_Known(digests[order, 0], digests[order, 1], ids[order]))
        if len(self._few.ids) > _SMALL:
            self._many, self._few = self._many.also(self._few), _NOTHING

    def clear(self) -> None:
        """Removes all."""
        self._many = self._few = _NOTHING
