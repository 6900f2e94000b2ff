"""Copies parts of several objects into one.

Belongs here: copying, and which parts can be copied. Does not belong here: choosing them (`stages.compaction`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.kept.locations import Location
from sync_pipelines.kept.object_reader import ObjectReader
from sync_pipelines.kept.object_store import ObjectStore, new_name

log = logging.getLogger(__name__)

LARGEST_PART: Final = 4 << 20
"""Largest part that is copied; memory holds one."""


def can_move(store: ObjectStore, part: Location) -> bool:
    """Whether a part is small, undamaged and independent of its position."""
    if part.size > LARGEST_PART:
        return False
    try:
        return ObjectReader(store, part, str(part)).can_move
    except ArchiveIncomplete as error:
        log.warning("kept records are not moved: %s", error)
        return False


def merge(store: ObjectStore, parts: Iterable[Location]) -> dict[str, str]:
    """Copies parts into one new object, which no ledger entry refers to yet.

    Returns:
        Location of each part -> its new location, without damaged parts.
    """
    file, name = store.new_file(), new_name()
    moved: dict[Location, Location] = {}
    try:
        with file.open("wb") as merged:
            for part in parts:
                moved[part] = part._replace(name=name, start=merged.tell())
                merged.write(store.read(part.name, part.start, part.size).ljust(part.size, b"\0"))
        store.put(name, file)
    finally:
        file.unlink(missing_ok=True)
    return {str(old): str(new) for old, new in moved.items() if _is_whole(store, new)}


def _is_whole(store: ObjectStore, part: Location) -> bool:
    try:
        ObjectReader(store, part, str(part)).verify()
    except ArchiveIncomplete as error:
        log.warning("kept records are not moved: %s", error)
        return False
    return True
