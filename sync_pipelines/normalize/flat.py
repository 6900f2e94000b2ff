"""Flat files whose lines are elements of a record: one line an item, the order's fields repeated (O12).

Lines of one key may stand anywhere in the file, so they are sorted by their key's first line in a private SQLite
database that spills to disk: memory does not grow with the file (law 6).

Belongs here: lines to nested raw records. Does not belong here: what the fields mean.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final, NamedTuple

from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.fields import read_key
from sync_pipelines.contracts.raw import RawRecord
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.names import Names

_CACHE_KIB: Final = 16_000


class Folded(NamedTuple):
    """One record made of lines.

    Attributes:
        raw: the record under the contract's own names; its position is its first line's.
        conflicts: how often lines disagreed on a field of the record; the last non-empty value won.
    """

    raw: RawRecord
    conflicts: int


class LineFold:
    """Folds the lines of one flat file into records.

    Args:
        stream: the declaration; `stream.flat` says which list the lines are.
        columns: the source's `columns`.
        constants: alias -> value for every line.
    """

    def __init__(self, stream: Stream, columns: Mapping[str, str], constants: Mapping[str, Any]) -> None:
        assert stream.flat is not None
        nested = next(f for f in stream.shape.nested if f.column == stream.flat.children)
        assert nested.children is not None
        self._list_alias = nested.alias
        self._key_alias = stream.key_alias
        self._record_names = Names(stream.shape, columns)
        self._item_names = Names(nested.children, columns)
        # A name both have, such as the key repeated in each line, is the record's.
        self._item_aliases = nested.children.aliases - stream.shape.aliases
        self._record_constants = {a: v for a, v in constants.items() if a in stream.shape.aliases}
        self._item_constants = {a: v for a, v in constants.items() if a in self._item_aliases}
        self._totals = {alias_of(stream, column): (column, total) for column, total in stream.flat.totals.items()}
        self._supplied: frozenset[str] = frozenset()
        self.lines = 0

    @property
    def missing_totals(self) -> dict[str, Callable[[list[Any]], Any]]:
        """The totals that no column of the file supplies, to be computed from the lines."""
        supplied = self._supplied | self._record_constants.keys()
        return {column: total for alias, (column, total) in self._totals.items() if alias not in supplied}

    def fold(self, lines: Iterable[RawRecord]) -> Iterator[Folded]:
        """Records in first-seen order; damaged lines and lines without a key stand for themselves."""
        with closing(sqlite3.connect("", isolation_level=None)) as spill:
            spill.execute(f"pragma cache_size = -{_CACHE_KIB}")
            spill.executescript(
                "pragma journal_mode = off; pragma synchronous = off; pragma temp_store = file;"
                "create table line (number integer primary key, first integer not null, content blob not null);"
                "create table key (key text primary key, first integer not null) without rowid;"
                "begin;"
            )
            spill.executemany("insert into line values (?, ?, ?)", self._spilled(spill, lines))
            ordered = spill.execute("select first, content from line order by first, number")
            yield from self._grouped(ordered)

    def _spilled(self, spill: sqlite3.Connection, lines: Iterable[RawRecord]) -> Iterator[tuple[int, int, bytes]]:
        names: set[str] = set()
        for number, line in enumerate(lines, start=1):
            self.lines += 1
            key = None
            if line.damage is None:
                names |= line.value.keys()
                key = self._key_of(line.value)
            first = number if key is None else self._first_of(spill, key, number)
            yield number, first, pickle.dumps(line)
        self._supplied = self._record_names.supplied_by(names) | self._item_names.supplied_by(names)

    @staticmethod
    def _first_of(spill: sqlite3.Connection, key: str, number: int) -> int:
        spill.execute("insert or ignore into key values (?, ?)", (key, number))
        (first,) = spill.execute("select first from key where key = ?", (key,)).fetchone()
        return int(first)

    def _key_of(self, line: dict[str, Any]) -> str | None:
        for name, value in line.items():
            if self._key_alias in self._record_names.aliases_of(name):
                try:
                    key = read_key(value, Reading(flat=True))
                except PydanticCustomError:
                    return None
                return None if key is None else key.encode("utf-8", "surrogatepass").hex()
        return None

    def _grouped(self, ordered: Iterable[tuple[int, bytes]]) -> Iterator[Folded]:
        group: list[RawRecord] = []
        current = None
        for first, content in ordered:
            if group and first != current:
                yield self._record(group)
                group = []
            current = first
            group.append(pickle.loads(content))
        if group:
            yield self._record(group)

    def _record(self, lines: list[RawRecord]) -> Folded:
        first = lines[0]
        if first.damage is not None:
            return Folded(first, 0)
        record: dict[str, Any] = {}
        items: list[dict[str, Any]] = []
        conflicts: Counter[str] = Counter()
        for line in lines:
            items.append(self._split(line.value, record, conflicts))
        record.update(self._record_constants)
        if self._item_aliases & self._supplied:
            record[self._list_alias] = items
        else:
            record.update({name: value for item in items for name, value in item.items() if name not in record})
        return Folded(RawRecord(first.position, record), conflicts.total())

    def _split(self, line: dict[str, Any], record: dict[str, Any], conflicts: Counter[str]) -> dict[str, Any]:
        item: dict[str, Any] = dict(self._item_constants)
        for name, value in line.items():
            own = self._record_names.aliases_of(name)
            of_item = [alias for alias in self._item_names.aliases_of(name) if alias in self._item_aliases]
            for alias in own:
                if alias in record and record[alias] != value:
                    conflicts[alias] += 1
                record[alias] = value
            for alias in of_item:
                item[alias] = value
            if not own and not of_item:
                item[name] = value
        return item


def alias_of(stream: Stream, column: str) -> str:
    """A column of the contract in the page's spelling."""
    return stream.contract.model_fields[column].alias or column
