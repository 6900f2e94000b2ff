"""Locations of kept records: the text in the ledger's column `kept`.

    records/<object>:<start>:<size>:<footer>:<checksum>

It names an object, the part of it that belongs to one export, the size of the footer at the end of that part, and the
footer's checksum. If records of other exports are repeated, their locations follow, separated by spaces: number 1 is
the first of them. A location that no record refers to is `-`.

So the ledger alone shows which objects are needed, and a part can be moved into another object without being read.

Belongs here: that text. Does not belong here: the content of a part (`object_writer`, `object_reader`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sync_pipelines.kept.object_store import RECORDS

NOWHERE: Final = "-"
_LOCATION: Final = re.compile(r"records/([0-9A-Za-z-]+):(\d+):(\d+):(\d+):([0-9a-f]{32})")


class Location(NamedTuple):
    """A part of an object.

    Attributes:
        name: name of the object.
        start, size: start and size of the part, in bytes.
        footer: size of the footer at the end of the part.
        checksum: checksum of the footer, which does not change when the part is moved.
    """

    name: str
    start: int
    size: int
    footer: int
    checksum: str

    def __str__(self) -> str:
        return f"{self.path}:{self.start}:{self.size}:{self.footer}:{self.checksum}"

    @property
    def path(self) -> str:
        """The object's path, relative to the archive."""
        return f"{RECORDS}/{self.name}"


def to_location(text: str) -> Location | None:
    """Returns the location in a text, or None if it is not one."""
    found = _LOCATION.fullmatch(text)
    return None if found is None else Location(found[1], int(found[2]), int(found[3]), int(found[4]), found[5])


def to_kept(own: Location, others: Sequence[str]) -> str:
    """Returns the text for the ledger.

    Args:
        own: location of the records.
        others: locations of other exports' records, by number from 1, or `NOWHERE`.
    """
    return " ".join([str(own), *others])


def objects_in(kept: str) -> set[str]:
    """Returns the names of all objects that such a text refers to."""
    return {found.name for found in map(to_location, kept.split()) if found is not None}


def with_moved(kept: str, moved: Mapping[str, str]) -> str:
    """Returns such a text with the new locations of moved parts."""
    return " ".join(moved.get(part, part) for part in kept.split())


def identity_of(kept: str) -> str:
    """Returns what is the same in such texts before and after parts were moved: the checksums of their footers."""
    places = (to_location(part) for part in kept.split())
    return " ".join(NOWHERE if place is None else place.checksum for place in places)
