"""Lines that repeat lines of exports loaded before: their records are there already.

Equal texts under one way of reading are equal records, but for their position and the time of their export. They need
not be read again, nor written: the new export names the objects of the earlier ones.

Belongs here: finding such lines. Does not belong here: how they are kept (`kept_writer`, `kept_records`), whether an
equal record changes anything (`upsert.unchanged`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.kept.kept_records import Hashes, KeptRecords, Rows
from sync_pipelines.normalize.keys import by_row

log = logging.getLogger(__name__)

Link = Callable[[str], int | None]
_ENOUGH: Final = 1_000_000
"""Records after which no further export is looked at; memory is a multiple of it."""
_FILES: Final = 16
"""Exports whose records repeated lines may name; more make an export slow to read."""


class Repeats(NamedTuple):
    """Repeated lines of a block.

    Attributes:
        lines: the index of each in the block, ascending.
        files, places: where its record is, see `kept.Places`.
        first, second: hashes its record is known by (second 0: none).
        referred: link, partner and tenant of rows that their records may refer to.
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
        exports: their kept records, all read one way, those first that are most likely repeated.
        link: gives the records at a location a number in the new export, None where they can't have one.
    """

    def __init__(self, exports: Iterable[KeptRecords], link: Link) -> None:
        known = _enough(exports)
        numbers = _numbered(known, link)
        parts = [_lines_of(export, numbers) for export in known]
        # What one export has is ordered as it is mapped, without a copy of it before.
        files, places, texts, first, second = (
            column[0] if len(column) == 1 else np.concatenate(column) for column in zip(*parts, strict=True)
        )
        # Everything in the order of the first half of the texts.
        order = np.argsort(texts[:, 0], kind="stable")
        self._sorted, self._rest = texts[order, 0], texts[order, 1]
        self._files, self._places, self._first = files[order], places[order], first[order]
        # Zeros that take no memory, where no record is known by two.
        self._second = second if second.strides == (0,) else second[order]
        for export in known:
            export.let_go()
        self._referred = frozenset(
            (link, partner, tenant) for e in known for link, partner, tenant in e.summary.referred
        )

    def find(self, texts: Hashes) -> Repeats:
        """The lines with the given texts that are known."""
        at = np.minimum(np.searchsorted(self._sorted, texts[:, 0]), len(self._sorted) - 1)
        lines = np.flatnonzero((self._sorted[at] == texts[:, 0]) & (self._rest[at] == texts[:, 1]))
        here = at[lines]
        return Repeats(
            lines, self._files[here], self._places[here], self._first[here], self._second[here], self._referred
        )


def build_known_lines(exports: Iterable[KeptRecords], read_under: tuple[str, str], link: Link) -> KnownLines | None:
    """The lines of exports that may be repeated, None where there are none.

    Args:
        exports: kept records, however they were read.
        read_under: see `Summary.reading`; those read otherwise are left out.
        link: as `KnownLines` has it.
    """
    try:
        told = [e for e in exports if e.summary.reading == read_under and e.texts is not None]
        earlier = KnownLines(told, link) if told else None
    except ArchiveIncomplete as fault:
        # A replay that ended meanwhile has put others in the place of some, or one is damaged: all lines are read then.
        log.info("no line is taken from earlier exports: %s", fault)
        return None
    return earlier if earlier is not None and len(earlier._sorted) else None


def _enough(exports: Iterable[KeptRecords]) -> list[KeptRecords]:
    found: list[KeptRecords] = []
    for export in exports:
        if sum(known.count for known in found) >= _ENOUGH:
            break
        found.append(export)
    return found


def _numbered(exports: Iterable[KeptRecords], link: Link) -> dict[str, int]:
    """Numbers for the exports whose objects hold most of the records, by what tells those apart."""
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
    """The numbers under which an export names records, and how many."""
    if export.places is None:
        return [(0, export.count)]
    return [(number, count) for number, count in enumerate(np.bincount(export.places.files).tolist()) if count]


def _lines_of(
    export: KeptRecords, numbers: dict[str, int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32], Hashes, Hashes, Hashes]:
    """Of an export's rows that can be repeated: file, place, text, hashes."""
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
        # What was counted for them is to be counted again.
        usable &= ~export.noted
    first, second = by_row(export.keys)
    columns = (files, at, texts, first, second)
    return columns if usable.all() else tuple(column[usable] for column in columns)
