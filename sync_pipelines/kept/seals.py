"""Checksums of what the archive stores beside kept records: compressed raw bytes, and the notes of removed ones.

A compressed file ends with a frame that decompressors skip, with a checksum of the bytes before it: decompression alone
ignores some bits. Files of earlier versions have none.

Belongs here: these checksums. Does not belong here: the hash of an export (`archive`), sections of objects
(`checksums`).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from xxhash import xxh3_64, xxh3_64_hexdigest

_FRAME: Final = struct.Struct("<IIQ")
_MAGIC: Final = 0x184D2A5E
"""The number of a frame that Zstandard skips."""
_SIZE: Final = 8
_AT_ONCE: Final = 1 << 20
_NOTE: Final = re.compile(r"(([0-9a-f]{64}) (\d{4}-\d\d-\d\d(?:-erased)?))(?: ([0-9a-f]{16}))?")


class Seal:
    """The checksum of a compressed file while it is written."""

    def __init__(self) -> None:
        self._digest = xxh3_64()

    def add(self, data: bytes) -> bytes:
        """Returns the data, and counts it in."""
        self._digest.update(data)
        return data

    def to_bytes(self) -> bytes:
        """Returns the frame for the end of the file."""
        return _FRAME.pack(_MAGIC, _SIZE, self._digest.intdigest())


def is_sealed(stored: Path) -> bool:
    """Whether a compressed file is as it was written; true if it has no checksum."""
    with stored.open("rb") as file:
        left = file.seek(0, 2) - _FRAME.size
        if left < 0:
            return True
        file.seek(left)
        magic, size, expected = _FRAME.unpack(file.read(_FRAME.size))
        # A damaged frame still has one of the two.
        if magic != _MAGIC and size != _SIZE:
            return True
        file.seek(0)
        digest = xxh3_64()
        while left > 0 and (data := file.read(min(left, _AT_ONCE))):
            digest.update(data)
            left -= len(data)
    return (magic, size, expected) == (_MAGIC, _SIZE, digest.intdigest())


@dataclass
class Removals:
    """The notes of raw bytes that retention removed.

    Attributes:
        days: hash of an export -> the day, with `-erased` after it if a person was erased.
        damaged: numbers of the lines that are damaged, from 1.
        unsealed: whether some lines are of an earlier version, without a checksum.
    """

    days: dict[str, str] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)
    unsealed: bool = False


def read_removals(file: Path) -> Removals:
    """Returns the notes in a file; none if it does not exist."""
    found = Removals()
    content = file.read_bytes().decode("utf-8", "replace") if file.exists() else ""
    lines = content.split("\n")
    for number, line in enumerate(lines[:-1], 1):
        note = _NOTE.fullmatch(line)
        if note is None or (note[4] is not None and note[4] != _checksum(note[1])):
            found.damaged.append(number)
        else:
            found.days.setdefault(note[2], note[3])
            found.unsealed |= note[4] is None
    if lines[-1]:
        found.damaged.append(len(lines))
    return found


def add_removal(file: Path, sha256: str, day: str) -> None:
    """Adds a note."""
    note = f"{sha256} {day}"
    with file.open("a") as removed:
        removed.write(f"{note} {_checksum(note)}\n")


def write_removals(file: Path, days: dict[str, str]) -> None:
    """Writes notes with checksums, in place of the old ones."""
    notes = [f"{sha256} {day}" for sha256, day in days.items()]
    new = file.with_name(f"{file.name}.new")
    new.write_text("".join(f"{note} {_checksum(note)}\n" for note in notes))
    new.replace(file)


def _checksum(note: str) -> str:
    return xxh3_64_hexdigest(note.encode())
