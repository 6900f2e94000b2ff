"""Lines that repeat lines of exports loaded before, whose records are stored already.

With equal settings, equal texts are equal records, except for their position and the time of their export. They are
neither read nor written again: the new export refers to the objects of the earlier ones.

Belongs here: finding such lines. Does not belong here: storing them (`kept_writer`, `kept_records`), whether an
equal record changes anything (`upsert.unchanged`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.kept.kept_records import Hashes, KeptRecords, Rows
from sync_pipelines.normalize.keys import by_row

log = logging.getLogger(__name__)

Link = Callable[[str], int | None]
_ENOUGH: Final = 1_000_000
"""Records after which no further export is searched; memory is a multiple of it."""
_FILES: Final = 16
"""Most exports whose records repeated lines may refer to; more make an export slow to read."""


class Repeats(NamedTuple):
    """Repeated lines of a block.

    Attributes:
        lines: the index of each in the block, ascending.
        files, places: where its record is, see `kept.Places`.
        first, second: hashes of its record (second 0: none).
        referred: link, partner and tenant of the rows that their records may refer to.
    """

    lines: Rows
    files: npt.NDArray[np.uint8]
    places: npt.NDArray[np.uint32]
    first: Hashes
    second: Hashes
    referred: frozenset[tuple[str, str, str]]


class KnownLines:
    """The lines of loaded exports by their texts.

    Args:
        exports: their kept records, read with the same settings, the most likely ones first.
        link: assigns a number in the new export to the records at a location; None if that is not possible.
    """

    def __init__(self, exports: Sequence[KeptRecords], link: Link) -> None:
        known = _enough(exports)
        numbers = _numbered(known, link)
        parts = [_lines_of(export, numbers) for export in known]
        # The texts of a single export are sorted from the mapped section, without a copy.
        files, places, texts, first, second = (
            column[0] if len(column) == 1 else np.concatenate(column) for column in zip(*parts, strict=True)
        )
        # Everything is sorted by the first half of the texts.
        order = np.argsort(texts[:, 0], kind="stable")
        self._sorted, self._rest = texts[order, 0], texts[order, 1]
        self._files, self._places, self._first = files[order], places[order], first[order]
        # Zeros that take no memory, if no record has two hashes.
        self._second = second if second.strides == (0,) else second[order]
        for export in known:
            export.let_go()
        self._referred = frozenset(
            (link, partner, tenant) for e in known for link, partner, tenant in e.summary.referred
        )

    def find(self, texts: Hashes) -> Repeats:
        """Returns the known lines among those with the given texts."""
        at = np.minimum(np.searchsorted(self._sorted, texts[:, 0]), len(self._sorted) - 1)
        lines = np.flatnonzero((self._sorted[at] == texts[:, 0]) & (self._rest[at] == texts[:, 1]))
        here = at[lines]
        return Repeats(
            lines, self._files[here], self._places[here], self._first[here], self._second[here], self._referred
        )


def build_known_lines(exports: Iterable[KeptRecords], read_under: tuple[str, str], link: Link) -> KnownLines | None:
    """Returns the lines of exports that may be repeated, or None if there are none.

    Args:
        exports: kept records, with any settings.
        read_under: see `Summary.reading`; exports with other settings are skipped.
        link: as in `KnownLines`.
    """
    try:
        comparable = [e for e in exports if e.summary.reading == read_under and e.texts is not None]
        earlier = KnownLines(comparable, link) if comparable else None
    except ArchiveIncomplete as error:
        # A replay has replaced some meanwhile, or one is damaged: then all lines are read.
        log.info("no lines are reused from earlier exports: %s", error)
        return None
    return earlier if earlier is not None and len(earlier._sorted) else None


def _enough(exports: Sequence[KeptRecords]) -> list[KeptRecords]:
    before = accumulate((export.count for export in exports), initial=0)
    return [export for export, count in zip(exports, before, strict=False) if count < _ENOUGH]


def _numbered(exports: Iterable[KeptRecords], link: Link) -> dict[str, int]:
    """Assigns numbers to the exports whose objects hold most of the records, by their identity."""
    sizes: Counter[str] = Counter()
    locations: dict[str, str] = {}
    for export in exports:
        for number, count in _counts(export):
            name = export.identity(number)
            sizes[name] += count
            locations[name] = export.location(number)
    numbers = {name: link(locations[name]) for name, _ in sizes.most_common(_FILES)}
    return {name: number for name, number in numbers.items() if number is not None}


def _counts(export: KeptRecords) -> list[tuple[int, int]]:
    """Returns the numbers under which an export refers to records, and how many records each has."""
    if export.places is None:
        return [(0, export.count)]
    return [(number, count) for number, count in enumerate(np.bincount(export.places.files).tolist()) if count]


def _lines_of(
    export: KeptRecords, numbers: dict[str, int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32], Hashes, Hashes, Hashes]:
    """Returns file, place, text and hashes of an export's rows that can be repeated."""
    table = np.zeros(256, np.uint8)
    for number, _ in _counts(export):
        table[number] = numbers.get(export.identity(number), 0)
    places = export.places
    if places is None:
        files, at = np.full(export.count, table[0]), np.arange(export.count, dtype=np.uint32)
    else:
        files, at = table[places.files], np.asarray(places.places)
    texts = export.texts
    assert texts is not None
    usable = (files > 0) & (texts[:, 0] != 0)
    if export.noted is not None:
        # Leniencies must be counted again, so these lines are read again.
        usable &= ~export.noted
    first, second = by_row(export.keys)
    columns = (files, at, texts, first, second)
    return columns if usable.all() else tuple(column[usable] for column in columns)
