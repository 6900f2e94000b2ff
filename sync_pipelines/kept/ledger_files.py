"""Copies of ledger entries in the archive: what a lost database is rebuilt from, and what the ledger is compared with.

    <root>/ledger/<object>

An object has one line for each copy: 32 digits of a checksum, a space, a JSON object. Its first line says how many
follow. Objects are written once and never change. The newest copy of an entry is valid.

Belongs here: these files. Does not belong here: what a copy contains (`database.ledger_copies`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from xxhash import xxh3_128_digest, xxh3_128_hexdigest

from sync_pipelines.kept.object_store import ObjectStore, new_name, open_store

FOLDER: Final = "ledger"
_FORMAT: Final = 1
_DIGITS: Final = 32
_LARGEST: Final = 64 << 20
"""Approximate bytes of a merged object."""
_SMALL: Final = 1 << 20
"""Bytes of an object from which it is large; ten small ones are merged."""
MERGED_AT_ONCE: Final = 10
_TRIES: Final = 5


class Place(NamedTuple):
    """Where a copy is.

    Attributes:
        copied_at: microseconds since the epoch, by the clock of the database.
        name: name of the object.
        start, size: its JSON in the object, in bytes.
    """

    copied_at: int
    name: str
    start: int
    size: int


class Damage(NamedTuple):
    """A damaged object of copies.

    Attributes:
        path: relative to the archive.
        line: number of the line, from 1.
    """

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path} (line {self.line})"


@dataclass
class Copies:
    """The newest copy of each entry.

    Attributes:
        store: the objects.
        names: those that were read.
        places: identity of the entry -> its newest copy.
        damages: what cannot be read.
    """

    store: ObjectStore
    names: set[str] = field(default_factory=set)
    places: dict[bytes, Place] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)

    def read(self, identity: bytes) -> dict[str, Any]:
        """Returns an entry's newest copy."""
        place = self.places[identity]
        found: dict[str, Any] = json.loads(self.store.read(place.name, place.start, place.size))
        return found


def identity_of(copy: dict[str, Any]) -> bytes:
    """Returns what all copies of one entry share, as a digest."""
    return xxh3_128_digest(json.dumps([copy["kind"], *copy["identity"]]).encode())


def has_copies(root: Path) -> bool:
    """Whether the archive has any copy of a ledger entry."""
    return next(iter(open_store(root, FOLDER).list()), None) is not None


def write_copies(root: Path, copies: Iterable[str]) -> None:
    """Writes copies, each a JSON object in one line, as one object; none if there are none.

    It may not survive a power failure: the database has the original, and `verify` writes missing copies.
    """
    if lines := [copy.encode() for copy in copies]:
        _write(open_store(root, FOLDER), lines, is_durable=False)


def read_copies(root: Path, before: Copies | None = None) -> Copies:
    """Returns the newest copy of each entry. Objects may be merged meanwhile.

    Args:
        root: the archive's folder.
        before: copies that were read before; only new objects are read then.
    """
    store = open_store(root, FOLDER)
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            stored = list(store.list())
            is_kept = before is not None and before.names <= {item.name for item in stored}
            found = before if before is not None and is_kept else Copies(store)
            for item in stored:
                if item.name not in found.names:
                    _add(found, item.name, item.size)
            return found
    raise FileNotFoundError(f"the files in {FOLDER} of the archive change all the time")


def merge_copies(root: Path) -> tuple[int, int]:
    """Merges small objects without superseded copies. Returns how many were merged, and into how many.

    Damaged objects stay as they are. A process may be killed at any moment: then some copies exist twice.
    """
    store = open_store(root, FOLDER)
    small = [item for item in store.list() if item.size < _SMALL]
    if len(small) < MERGED_AT_ONCE:
        return 0, 0
    found = Copies(store)
    whole = []
    for item in small:
        damages = len(found.damages)
        _add(found, item.name, item.size)
        if len(found.damages) == damages:
            whole.append(item.name)
    kept = [place for place in found.places.values() if place.name in set(whole)]
    groups = list(_groups(sorted(kept, key=lambda place: (place.name, place.start))))
    for group in groups:
        _write(store, [store.read(place.name, place.start, place.size) for place in group], is_durable=True)
    for name in whole:
        store.remove(name)
    return len(whole), len(groups)


def rewrite_damaged(root: Path, names: Collection[str]) -> None:
    """Replaces damaged objects by their undamaged copies."""
    store = open_store(root, FOLDER)
    for name in names:
        found = Copies(store)
        with suppress(FileNotFoundError):
            _add(found, name, 2 * _LARGEST)
        if found.places:
            lines = [store.read(place.name, place.start, place.size) for place in found.places.values()]
            _write(store, lines, is_durable=True)
        store.remove(name)


def _groups(places: Sequence[Place]) -> Iterator[list[Place]]:
    group: list[Place] = []
    size = 0
    for place in places:
        group.append(place)
        size += place.size
        if size >= _LARGEST:
            yield group
            group, size = [], 0
    if group:
        yield group


def _write(store: ObjectStore, lines: Sequence[bytes], *, is_durable: bool) -> None:
    file = store.new_file()
    try:
        file.write_bytes(b"".join(_line(line) for line in (_header(len(lines)), *lines)))
        store.put(new_name(), file, is_durable=is_durable)
    finally:
        file.unlink(missing_ok=True)


def _header(count: int) -> bytes:
    return json.dumps({"format": _FORMAT, "copies": count}).encode()


def _line(content: bytes) -> bytes:
    return xxh3_128_hexdigest(content).encode() + b" " + content + b"\n"


def _add(found: Copies, name: str, size: int) -> None:
    """Adds the copies of an object."""
    content = found.store.read(name, 0, size)
    found.names.add(name)
    path, start, expected = f"{FOLDER}/{name}", 0, None
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        copy = _checked(line)
        if number == 1:
            expected = copy.get("copies") if copy is not None and copy.get("format") == _FORMAT else None
        if copy is None or (number == 1 and expected is None):
            found.damages.append(Damage(path, number))
        elif number > 1:
            place = Place(copy["copied_at"], name, start + _DIGITS + 1, len(line) - _DIGITS - 1)
            identity = identity_of(copy)
            if identity not in found.places or found.places[identity] <= place:
                found.places[identity] = place
        start += len(line) + 1
    if lines[-1] or (expected is not None and expected != len(lines) - 2) or not content:
        found.damages.append(Damage(path, len(lines)))


def _checked(line: bytes) -> dict[str, Any] | None:
    """Returns the JSON of a line, or None if it is damaged."""
    content = line[_DIGITS + 1 :]
    if line[: _DIGITS + 1] != xxh3_128_hexdigest(content).encode() + b" ":
        return None
    found: dict[str, Any] = json.loads(content)
    return found
