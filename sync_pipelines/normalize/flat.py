"""Flat files whose lines are elements of a record: one line an item, the order's fields repeated (O12).

Lines of one key may stand anywhere in the file, so they are sorted by their key's first line in a private SQLite
database that spills to disk: memory does not grow with the file (law 6).

Belongs here: lines to nested raw records. Does not belong here: what the fields mean.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final

from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.raw import CellError, NamedRecord, RawRecord
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.contracts.texts import read_key
from sync_pipelines.normalize.change import Refused
from sync_pipelines.normalize.field_names import Names

_CACHE_KIB: Final = 16_000


class LineFold:
    """Folds the lines of one flat file into records.

    Args:
        stream: the declaration; `stream.flat` says which list the lines are.
        columns: the source's `columns`.
        constants: alias -> value for every line.
        own_times: folded names of the field that carries a record's own time; it is the record's, not a line's (X4).
    """

    def __init__(
        self,
        stream: Stream,
        columns: Mapping[str, str],
        constants: Mapping[str, Any],
        own_times: frozenset[str] = frozenset(),
    ) -> None:
        assert stream.flat is not None
        nested = next(f for f in stream.shape.nested if f.column == stream.flat.children)
        assert nested.children is not None
        self._list_alias = nested.alias
        self._key_alias = stream.key_alias
        self._record_names = Names(stream.shape, columns, flat=True)
        self._item_names = Names(nested.children, columns, flat=True)
        # A name both have, such as the key repeated in each line, is the record's.
        self._item_aliases = nested.children.aliases - stream.shape.aliases
        self._record_constants = {a: v for a, v in constants.items() if a in stream.shape.aliases}
        self._item_constants = {a: v for a, v in constants.items() if a in self._item_aliases}
        self._totals = {alias_of(stream, column): (column, total) for column, total in stream.flat.totals.items()}
        self._own_times = own_times
        self._supplied: frozenset[str] = frozenset()
        self._read = 0

    @property
    def lines(self) -> int | None:
        """How many lines were folded; None where they turned out to be whole records with a list of their own."""
        return None if self._is_nested else self._read

    @property
    def _is_nested(self) -> bool:
        return self._list_alias in self._supplied

    @property
    def missing_totals(self) -> dict[str, Callable[[list[Any]], Any]]:
        """The totals that no column of the file supplies, to be computed from the lines."""
        if self._is_nested:
            return {}
        supplied = self._supplied | self._record_constants.keys()
        return {column: total for alias, (column, total) in self._totals.items() if alias not in supplied}

    def fold(self, lines: Iterable[RawRecord]) -> Iterator[RawRecord]:
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
            if self._is_nested:
                for (content,) in spill.execute("select content from line order by number"):
                    yield pickle.loads(content)
                return
            ordered = spill.execute("select first, content from line order by first, number")
            yield from self._grouped(ordered)

    def _spilled(self, spill: sqlite3.Connection, lines: Iterable[RawRecord]) -> Iterator[tuple[int, int, bytes]]:
        names: set[str] = set()
        for number, line in enumerate(lines, start=1):
            self._read += 1
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
        try:
            key = read_key(self._key_cell(line), Reading(flat=True))
        except PydanticCustomError:
            return None
        return None if key is None else key.encode("utf-8", "surrogatepass").hex()

    def _key_cell(self, line: dict[str, Any]) -> Any:
        cells = (value for name, value in line.items() if self._key_alias in self._record_names.aliases_of(name))
        return next(cells, None)

    def _grouped(self, ordered: Iterable[tuple[int, bytes]]) -> Iterator[RawRecord]:
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

    def _record(self, lines: list[RawRecord]) -> RawRecord:
        first = lines[0]
        if first.damage is not None:
            return first
        record = NamedRecord()
        items: list[NamedRecord] = []
        try:
            for line in lines:
                items.append(self._item(line.value, record, len(items)))
        except Refused as refused:
            record.twice = refused.path
            record[self._key_alias] = self._key_cell(first.value)
        record.update(self._record_constants)
        if self._item_aliases & self._supplied:
            record[self._list_alias] = items
        else:
            for item in items:
                record.unknown.update(item.unknown)
        return first._replace(value=record)

    def _item(self, line: dict[str, Any], record: NamedRecord, index: int) -> NamedRecord:
        """One line's item; what the line says of the record goes into the record."""
        own = self._record_names.match_line(line)
        of_item = self._item_names.match_line(line, (self._list_alias, index))
        for alias, value in own.fields.items():
            self._merge(record, record, alias, value)
        unknown = {name: value for name, value in own.extra.items() if name in of_item.extra}
        for name in [name for name in unknown if self._record_names.fold(name) in self._own_times]:
            self._merge(record, record.unknown, name, unknown.pop(name))
        fields = {alias: value for alias, value in of_item.fields.items() if alias in self._item_aliases}
        return NamedRecord(fields | self._item_constants, unknown)

    def _merge(self, record: NamedRecord, fields: dict[str, Any], name: str, value: Any) -> None:
        """The last non-empty value wins; two that differ are counted, but for two spellings of one key (O12)."""
        known = fields.get(name)
        # An error of the workbook refuses the record, whatever other lines say.
        if (value is None and known is not None) or isinstance(known, CellError):
            return
        if known is not None and known != value and name != self._key_alias:
            record.conflicts += 1
        fields[name] = value


def alias_of(stream: Stream, column: str) -> str:
    """A column of the contract in the page's spelling."""
    return stream.contract.model_fields[column].alias or column
