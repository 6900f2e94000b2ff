"""Where kept records are: the text that the ledger has in `kept`.

    records/<object>:<start>:<size>:<footer>:<checksum>

It names an object, the part of it that one export has, the size of the footer at the end of that part, and the checksum
of the footer. Where records of other exports are repeated, the locations of those follow, separated by spaces: number 1
is the first of them. One that no record refers to is `-`.

So the ledger alone tells which objects are needed, and a part can be moved into another object without being read.

Belongs here: that text. Does not belong here: what is in a part (`object_writer`, `object_reader`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

NOWHERE: Final = "-"
FOLDER: Final = "records"
_LOCATION: Final = re.compile(r"records/([0-9A-Za-z-]+):(\d+):(\d+):(\d+):([0-9a-f]{32})")


class Location(NamedTuple):
    """A part of an object.

    Attributes:
        name: of the object.
        start, size: of the part, in bytes.
        footer: bytes of its footer, which ends it.
        checksum: of the footer, which stays the same wherever the part is moved.
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
        """The object, relative to the archive."""
        return f"{FOLDER}/{self.name}"


def to_location(text: str) -> Location | None:
    """The location that a text is, None where it is none."""
    found = _LOCATION.fullmatch(text)
    return None if found is None else Location(found[1], int(found[2]), int(found[3]), int(found[4]), found[5])


def to_kept(own: Location, others: Sequence[str]) -> str:
    """The text for the ledger.

    Args:
        own: where the records are.
        others: locations of others' records, by number from 1, or `NOWHERE`.
    """
    return " ".join([str(own), *others])


def objects_in(kept: str) -> set[str]:
    """The names of all objects that such a text needs."""
    return {found.name for found in map(to_location, kept.split()) if found is not None}


def with_moved(kept: str, moved: Mapping[str, str]) -> str:
    """Such a text with new locations for those that were moved."""
    return " ".join(moved.get(part, part) for part in kept.split())
