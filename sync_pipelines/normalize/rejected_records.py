"""Rejects of records: the faults in the names that the record has, and the key to find it by.

Belongs here: what a reject says. Does not belong here: finding what is wrong with a record (`record`), in users' words
(`faults`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.contract import folded
from sync_pipelines.contracts.raw import NamedRecord
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.texts import read_key
from sync_pipelines.normalize.change import Fault, Place, Reject
from sync_pipelines.normalize.faults import MOST, distinct_faults, respelled
from sync_pipelines.normalize.record_source import RecordSource
from sync_pipelines.normalize.values import displayable


class Rejects:
    """Makes the rejects of one source's records.

    Args:
        source: where they come from.
    """

    def __init__(self, source: RecordSource) -> None:
        self._source = source

    def reject(self, raw: Any, place: Place, found: Sequence[Fault]) -> Reject:
        """Returns the reject of a record with what is wrong with it."""
        spelled = self._spelled(raw)
        errors = [respelled(error, spelled) for error in distinct_faults(found)]
        first, more = errors[0], len(errors) - 1
        message = f"{first.message} (and {more} more in this record)" if more else first.message
        kept = tuple(errors[:MOST]) if more else ()
        return Reject(place.position, self._key_in(raw), first.code, first.path, message, displayable(raw), kept)

    def _spelled(self, raw: Any) -> dict[str, str]:
        """Returns field -> the name that the record has for it, if that is another of the partner's names (F07)."""
        also = self._source.stream.contract.also
        if not also or not isinstance(raw, dict) or isinstance(raw, NamedRecord):
            return {}
        sent = {folded(name) for name in raw}
        others = ((alias, name) for alias, names in also.items() if folded(alias) not in sent for name in names)
        return {alias: name for alias, name in others if folded(name) in sent}

    def _key_in(self, raw: Any) -> str | None:
        """Returns the record's key if it can be read, to find the reject by."""
        if not isinstance(raw, dict):
            return None
        alias = self._source.stream.key_alias
        value = raw.get(alias) if isinstance(raw, NamedRecord) else self._source.names.value_of(alias, raw)
        try:
            key = read_key(value, Reading(self._source.reading.decimal, flat=self._source.reading.flat))
        except PydanticCustomError:
            return None
        return None if key is None else displayable(key)[:200]
