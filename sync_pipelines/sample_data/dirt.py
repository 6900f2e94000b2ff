"""Errors in exports: each kind of dirt is a function that changes a good record.

The contract decides which dirt is rejected, and which is accepted and counted (X8, O2, X10). Kinds take turns, so that
a sample of some size has all of them.

Belongs here: the class of a kind, and which kind is next. Does not belong here: the kinds (`replenit_dirt` and the
other partners' modules), damaged files and lines (`encode`).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sync_pipelines.sample_data.encode import Layout
from sync_pipelines.sample_data.sample_files import Record

SHARE = 0.01


@dataclass(frozen=True)
class Dirt:
    """A kind of dirt.

    Attributes:
        spoil: changes a copy of a good record in place.
        is_rejected: whether the record is rejected.
        needs: what the file format must support: "json" any names, types, lists and objects; "text" any text in any
            cell; "float" binary floats; "typed" only the right type in every cell.
    """

    spoil: Callable[[Record], None]
    is_rejected: bool
    needs: str


def setting(field: str, value: object) -> Callable[[Record], None]:
    """Dirt that puts a value into a field."""

    def spoil(record: Record) -> None:
        record[field] = value

    return spoil


def setting_in(list_name: str, field: str, value: object) -> Callable[[Record], None]:
    """Dirt that puts a value into the last element of a list, if there is one."""

    def spoil(record: Record) -> None:
        for element in (record.get(list_name) or [])[-1:]:
            element[field] = value

    return spoil


def without(field: str) -> Callable[[Record], None]:
    """Dirt that removes a field."""

    def spoil(record: Record) -> None:
        record.pop(field, None)

    return spoil


def _supports(layout: Layout, dirt: Dirt) -> bool:
    if layout.form == "parquet":
        return dirt.needs == "typed" or (dirt.needs == "float" and not layout.nested)
    return not layout.is_flat or dirt.needs != "json"


@dataclass(frozen=True)
class Soiled:
    """A record as it is written, and whether it will be rejected."""

    record: Record
    is_rejected: bool


class Soiler:
    """Spoils about one record in a hundred. The kind that was used longest ago is next.

    Args:
        rng: draws which records are spoiled.
        kinds: the kinds of dirt of one stream.
        share: of the records.
        needs: records without this field are not spoiled.
    """

    def __init__(self, rng: random.Random, kinds: Sequence[Dirt], share: float = SHARE, needs: str = "") -> None:
        self._rng = rng
        self._waiting = list(kinds)
        self._share = share
        self._needs = needs
        rng.shuffle(self._waiting)

    def take(self, record: Record, layout: Layout) -> Soiled:
        """Returns the record as written in a file of this layout, which is nearly always unchanged."""
        if self._rng.random() >= self._share or (self._needs and not record.get(self._needs)):
            return Soiled(record, False)
        dirt = next((dirt for dirt in self._waiting if _supports(layout, dirt)), None)
        if dirt is None:
            return Soiled(record, False)
        self._waiting.remove(dirt)
        self._waiting.append(dirt)
        spoiled = copy.deepcopy(record)
        dirt.spoil(spoiled)
        return Soiled(spoiled, dirt.is_rejected)
