"""Merges small objects of kept records into larger ones.

An export of a few records makes an object of a few kilobytes. Ten or more objects of one stream and similar size are
copied into one new object; then one commit updates their locations in the ledger. The stored records of an export do
not change. Housekeeping removes the old objects a day after the last entry referred to them. So a process may be killed
at any moment, and loads may run at the same time. Copies of ledger entries are merged, too.

Belongs here: which objects are merged. Does not belong here: copying (`kept.merging`), removing (`file_cleanup`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from sync_pipelines.database import kept_objects
from sync_pipelines.database.kept_objects import KeptEntry
from sync_pipelines.database.ledger_copies import keep_copy
from sync_pipelines.kept.ledger_files import merge_copies
from sync_pipelines.kept.locations import Location, to_location, with_moved
from sync_pipelines.kept.merging import can_move, merge
from sync_pipelines.kept.object_store import ObjectStore, open_store
from sync_pipelines.stages.workspace import Workspace

MERGED_AT_ONCE: Final = 10
"""Fewest objects of similar size that are merged, so that each record is copied only a few times."""
_SMALLEST: Final = 64 << 10
_LARGEST: Final = 64 << 20
"""Approximate bytes of a merged object."""


@dataclass
class Compacted:
    """The result of a round.

    Attributes:
        merged: number of objects that were merged.
        into: number of objects they were merged into.
        bytes: bytes of those.
    """

    merged: int = 0
    into: int = 0
    bytes: int = 0


def compact(workspace: Workspace) -> Compacted:
    """Merges small objects until there are few. An immediate second run merges nothing."""
    store = open_store(workspace.settings.archive)
    done = Compacted()
    with workspace.connection() as connection:
        entries = list(kept_objects.all_kept(connection))
    for _, of_stream in groupby(entries, key=lambda entry: entry.stream):
        _compact_stream(workspace, store, list(of_stream), done)
    merge_copies(workspace.settings.archive)
    return done


def _compact_stream(workspace: Workspace, store: ObjectStore, entries: list[KeptEntry], done: Compacted) -> None:
    """Merges the objects of one tenant's stream."""
    for tier in range(_tier(_LARGEST)):
        objects = [parts for parts in _objects(entries) if _tier(sum(part.size for part in parts)) == tier]
        if len(objects) < MERGED_AT_ONCE:
            continue
        objects = [parts for parts in objects if all(can_move(store, part) for part in parts)]
        for group in _groups(objects):
            moved = merge(store, [part for parts in group for part in parts])
            entries[:] = _repointed(workspace, entries, moved)
            done.merged += len(group)
            done.into += 1
            done.bytes += sum(part.size for parts in group for part in parts)


def _objects(entries: Sequence[KeptEntry]) -> list[list[Location]]:
    """Returns the objects that hold records of loaded exports, each as its used parts."""
    found: dict[str, list[Location]] = {}
    for entry in entries:
        place = to_location((entry.kept or "-").split()[0])
        if entry.is_loaded and place is not None:
            found.setdefault(place.name, []).append(place)
    return list(found.values())


def _tier(size: int) -> int:
    """Returns the size tier; sizes within a factor of ten share one."""
    tier, limit = 0, _SMALLEST
    while size >= limit:
        tier, limit = tier + 1, limit * 10
    return tier


def _groups(objects: Sequence[list[Location]]) -> Iterator[list[list[Location]]]:
    """Yields groups of ten or more objects to merge, in version order."""
    group: list[list[Location]] = []
    size = 0
    for parts in objects:
        group.append(parts)
        size += sum(part.size for part in parts)
        if size >= _LARGEST:
            yield group
            group, size = [], 0
    if len(group) >= MERGED_AT_ONCE:
        yield group


def _repointed(workspace: Workspace, entries: Sequence[KeptEntry], moved: dict[str, str]) -> list[KeptEntry]:
    """Updates the locations in the ledger in one commit. Returns the entries after that."""
    after = {entry.id: with_moved(entry.kept, moved) for entry in entries if entry.kept is not None}
    changed = {
        entry.id: (entry.kept, after[entry.id])
        for entry in entries
        if entry.kept is not None and entry.kept != after[entry.id]
    }
    with workspace.connection() as connection, connection.transaction():
        done = kept_objects.repoint(connection, changed)
        keep_copy(connection, workspace.settings.archive, *done)
    return [entry._replace(kept=after[entry.id]) if entry.id in done else entry for entry in entries]
