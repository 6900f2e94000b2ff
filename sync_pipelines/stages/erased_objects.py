"""Objects of the archive that may have an erased person, removed at once instead of a day later.

Belongs here: which objects go, and moving what is still in use. Does not belong here: the ordinary removal
(`file_cleanup`), rewriting records (`erase`).
"""

from __future__ import annotations

from typing import Any

import psycopg

from sync_pipelines.database import kept_objects
from sync_pipelines.kept.locations import Location, objects_in, to_location, with_moved
from sync_pipelines.kept.merging import merge
from sync_pipelines.kept.object_store import open_store
from sync_pipelines.stages.workspace import Workspace


def remove_unused_objects(workspace: Workspace) -> int:
    """Removes what no ledger entry refers to, at once, and parts of merged objects that none does."""
    store, removed = open_store(workspace.settings.archive), 0
    with workspace.connection() as connection:
        _move_out(workspace, connection)
        stored = [item.name for item in store.list()]
        named: set[str] = set()
        for entry in kept_objects.all_kept(connection):
            named |= objects_in(entry.kept or "")
        for name in stored:
            if name not in named:
                store.remove(name)
                removed += 1
    return removed


def _move_out(workspace: Workspace, connection: psycopg.Connection[Any]) -> None:
    """Copies the parts in use out of merged objects in which others are not in use any more."""
    store = open_store(workspace.settings.archive)
    sizes = {item.name: item.size for item in store.list()}
    entries = list(kept_objects.all_kept(connection))
    parts: dict[str, set[Location]] = {}
    for entry in entries:
        for place in map(to_location, (entry.kept or "").split()):
            if place is not None:
                parts.setdefault(place.name, set()).add(place)
    for name, used in parts.items():
        if name in sizes and sum(part.size for part in used) < sizes[name]:
            moved = merge(store, sorted(used, key=lambda part: part.start))
            changed = {
                entry.id: (entry.kept, after)
                for entry in entries
                if entry.kept is not None and (after := with_moved(entry.kept, moved)) != entry.kept
            }
            if changed:
                kept_objects.repoint(connection, changed)
