"""What goes wrong in exports: each kind of dirt as a function of one good record.

Some of it is refused, some is let through and counted (X8, O2, X10); what becomes of it is said by the contract, not
here. Kinds take turns, so that a sample of some size shows all of them.

Belongs here: what a kind of dirt is, and whose turn it is. Does not belong here: the kinds themselves (`replenit_dirt`
and the other partners' modules), damage to a whole file or a line (`encode`).
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
        is_refused: whether the record cannot be accepted like this.
        needs: what a file must be able to say: "json" names, types, lists and objects as one likes; "text" any text in
            any cell; "float" binary floats; "typed" no more than the right type in every cell.
    """

    spoil: Callable[[Record], None]
    is_refused: bool
    needs: str


def setting(field: str, value: object) -> Callable[[Record], None]:
    """Dirt that puts a value into a field."""

    def spoil(record: Record) -> None:
        record[field] = value

    return spoil


def setting_in(list_name: str, field: str, value: object) -> Callable[[Record], None]:
    """Dirt that puts a value into the last element of a list; without elements nothing happens."""

    def spoil(record: Record) -> None:
        for element in (record.get(list_name) or [])[-1:]:
            element[field] = value

    return spoil


def without(field: str) -> Callable[[Record], None]:
    """Dirt that leaves a field out."""

    def spoil(record: Record) -> None:
        record.pop(field, None)

    return spoil


def _can_say(layout: Layout, dirt: Dirt) -> bool:
    if layout.form == "parquet":
        return dirt.needs == "typed" or (dirt.needs == "float" and not layout.nested)
    return not layout.is_flat or dirt.needs != "json"


@dataclass(frozen=True)
class Soiled:
    """A record as it is written, and whether it will be refused like this."""

    record: Record
    is_refused: bool


class Soiler:
    """Spoils about one record in a hundred; the kind whose turn is longest past comes first.

    Args:
        rng: draws whose turn it is.
        kinds: the kinds of dirt of one stream.
        share: of the records.
        needs: a field without which a record is left as it is.
    """

    def __init__(self, rng: random.Random, kinds: Sequence[Dirt], share: float = SHARE, needs: str = "") -> None:
        self._rng = rng
        self._waiting = list(kinds)
        self._share = share
        self._needs = needs
        rng.shuffle(self._waiting)

    def take(self, record: Record, layout: Layout) -> Soiled:
        """The record as written in a file of this layout: nearly always as it is."""
        if self._rng.random() >= self._share or (self._needs and not record.get(self._needs)):
            return Soiled(record, False)
        dirt = next((dirt for dirt in self._waiting if _can_say(layout, dirt)), None)
        if dirt is None:
            return Soiled(record, False)
        self._waiting.remove(dirt)
        self._waiting.append(dirt)
        spoiled = copy.deepcopy(record)
        dirt.spoil(spoiled)
        return Soiled(spoiled, dirt.is_refused)
