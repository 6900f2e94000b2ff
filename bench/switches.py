"""Switches the ways of a record off: what a way would have done is left to the others, and in the end to the fold.

Belongs here: a switch for each way. Does not belong here: the loads that are measured with and without it (`ways`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

import numpy as np

from sync_pipelines.normalize.plain import PlainReader
from sync_pipelines.stages import normalize_export
from sync_pipelines.upsert import late_patches, load, new_rows, references
from sync_pipelines.upsert.changed_rows import ChangedRowWriter
from sync_pipelines.upsert.empty_tables import DeferredIndexes
from sync_pipelines.upsert.key_index import KeyIndex
from sync_pipelines.upsert.new_rows import NewRowWriter
from sync_pipelines.upsert.repeated_keys import RepeatedKeyWriter
from sync_pipelines.upsert.streaming_load import StreamingLoad

_EXPORTS: Final = (
    "select id from sync.export_files where partner = %(partner)s and tenant = %(tenant)s and stream = %(stream)s"
    " and status = 'loaded' order by id"
)


def _none_found(stream: Any, layout: Any, mine: Any, *given: Any) -> Any:
    return np.zeros(mine.kept.count, bool)


def _none_written(self: Any, kept: Any, *given: Any) -> Any:
    return np.zeros(kept.count, bool)


def _nothing(*given: Any) -> None:
    return None


@contextmanager
def _indexed(connection: Any, *given: Any) -> Iterator[DeferredIndexes]:
    yield DeferredIndexes(connection)


def _every_export(self: KeyIndex, hashes: Any) -> Any:
    found = self._connection.execute(_EXPORTS, self._key).fetchall()
    return np.array([number for (number,) in found], np.int64)


_PATCHES: Final[Mapping[str, tuple[tuple[Any, str, Any], ...]]] = {
    "unchanged_rows": ((load, "unchanged_rows", _none_found),),
    "stale_rows": ((load, "stale_rows", _none_found),),
    "LatePatchWriter": ((late_patches, "FEW", 1 << 62),),
    "NewRowWriter": ((NewRowWriter, "write", _none_written), (NewRowWriter, "write_first", _nothing)),
    "ChangedRowWriter": ((ChangedRowWriter, "write", _none_written),),
    "RepeatedKeyWriter": ((RepeatedKeyWriter, "write", _none_written),),
    "StreamingLoad": ((StreamingLoad, "take", _nothing),),
    "without_indexes": ((new_rows, "without_indexes", _indexed),),
    # As if the cache were full: only the ids of the last chunk are known without a query.
    "IdCache": ((references, "_CACHED", 0),),
    "KnownLines": ((normalize_export, "build_known_lines", _nothing),),
    "PlainReader": ((PlainReader, "is_able", False),),
    "KeyIndex": ((KeyIndex, "knowing", _every_export),),
}
FOLDED: Final = (
    "unchanged_rows",
    "stale_rows",
    "LatePatchWriter",
    "NewRowWriter",
    "ChangedRowWriter",
    "RepeatedKeyWriter",
)
"""The ways without which every record is folded."""
SWITCHES: Final = frozenset(_PATCHES)
"""The ways that can be switched off."""


def switched_off(*ways: str) -> AbstractContextManager[None]:
    """Within the block, loads of this process do without some ways."""
    return _patched([patch for way in ways for patch in _PATCHES[way]])


@contextmanager
def _patched(patches: list[tuple[Any, str, Any]]) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, value in patches:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield
