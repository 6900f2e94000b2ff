"""Flat files whose lines are elements of a record: one line per item, with the order's fields repeated (O12).

Lines with one key may be anywhere in the file. So they are sorted by the first line with their key, in a private SQLite
database that spills to disk: memory does not grow with the file (law 6).

A record that lacks a line, or may lack one, is rejected as a whole: its stored row does not change.

Belongs here: lines to nested raw records. Does not belong here: what fields mean, which lines are damaged.
"""

from __future__ import annotations

import pickle
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.raw import Cell, CellError, NamedRecord, PartialRow, RawRecord
from sync_pipelines.contracts.reading import Reading, RecordRejected
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.contracts.texts import read_key
from sync_pipelines.normalize.field_names import Names
from sync_pipelines.normalize.fill_down import is_empty
from sync_pipelines.normalize.lost_lines import Losses

_CACHE_KIB: Final = 16_000
_UNREADABLE: Final = re.compile("[\ufffd\ud800-\udfff]")
"""Replacement for invalid bytes."""


class LineFold:
    """Groups the lines of one flat file into records.

    Args:
        stream: the declaration; `stream.flat` names the list that the lines belong to.
        names: how the file names the fields of a record.
        constants: alias -> value for every line.
        own_times: folded names of the field with the record's time; it belongs to the record, not to a line (X4).
        decimal: the source's decimal separator; with it, `22423,0` and `22423` are one key.
    """

    def __init__(
        self,
        stream: Stream,
        names: Names,
        constants: Mapping[str, Any],
        own_times: frozenset[str] = frozenset(),
        decimal: Literal[".", ","] = ".",
    ) -> None:
        nested = stream.line_field
        assert stream.flat is not None and nested is not None and nested.children is not None
        self._list_alias = nested.alias
        self._key_alias = stream.key_alias
        self._record_names = names
        self._item_names = names.nested(nested.alias)
        # A name that both have, such as the key in each line, belongs to the record.
        self._item_aliases = nested.children.aliases - stream.shape.aliases
        self._record_constants = {a: v for a, v in constants.items() if a in stream.shape.aliases}
        self._item_constants = {a: v for a, v in constants.items() if a in self._item_aliases}
        self._totals = stream.flat.totals
        self._of_item: dict[str, bool] = {}
        self._own_times = own_times
        self._reading = Reading(decimal=decimal, flat=True)
        self._supplied: frozenset[str] = frozenset()
        self._read = 0

    @property
    def lines(self) -> int | None:
        """The number of grouped lines; None if the lines are records with lists of their own."""
        return None if self._is_nested else self._read

    @property
    def _is_nested(self) -> bool:
        return self._list_alias in self._supplied

    @property
    def _has_items(self) -> bool:
        return bool(self._item_aliases & self._supplied)

    @property
    def totals(self) -> Mapping[str, Callable[[list[Any]], Any]]:
        """Functions that compute totals from a record's lines, for records without a value of their own."""
        return {} if self._is_nested else self._totals

    def fold(self, lines: Iterable[RawRecord]) -> Iterator[RawRecord]:
        """Yields records in the order of their first lines. Damaged lines and lines without a key stay single."""
        with closing(sqlite3.connect("", isolation_level=None)) as spill:
            spill.execute(f"pragma cache_size = -{_CACHE_KIB}")
            spill.executescript(
                "pragma journal_mode = off; pragma synchronous = off; pragma temp_store = file;"
                "create table line (number integer primary key, first integer not null, content blob not null);"
                "create table key (key text primary key, first integer not null) without rowid;"
                "begin;"
            )
            losses = Losses(spill)
            spill.executemany("insert into line values (?, ?, ?)", self._spilled(spill, lines, losses))
            if self._is_nested:
                for (content,) in spill.execute("select content from line order by number"):
                    yield pickle.loads(content)
                return
            # Without item cells, an order needs only its readable line.
            incomplete = losses.by_first_line() if self._has_items else iter(())
            ordered = spill.execute("select first, content from line order by first, number")
            yield from self._grouped(ordered, incomplete)

    def _spilled(
        self, spill: sqlite3.Connection, lines: Iterable[RawRecord], losses: Losses
    ) -> Iterator[tuple[int, int, bytes]]:
        names: set[str] = set()
        for number, line in enumerate(lines, start=1):
            self._read += 1
            key = None
            if line.damage is not None:
                line = self._noted(line, losses)
            else:
                names |= line.value.keys()
                cell = self._record_names.value_of(self._key_alias, line.value)
                key = _stored_key(cell, self._reading)
                if key is not None:
                    losses.passed(key)
                elif isinstance(cell, CellError):
                    losses.of_any((), _doubt(line, "cell_error"), is_one=False)
                elif is_empty(cell) and self.is_line(line.value):
                    losses.of_above(self._goes_on(line))
            first = number if key is None else self._first_of(spill, key, number)
            yield number, first, pickle.dumps(line)
        self._supplied = self._record_names.supplied_by(names) | self._item_names.supplied_by(names)

    @staticmethod
    def _first_of(spill: sqlite3.Connection, key: str, number: int) -> int:
        spill.execute("insert or ignore into key values (?, ?)", (key, number))
        (first,) = spill.execute("select first from key where key = ?", (key,)).fetchone()
        return int(first)

    def _noted(self, line: RawRecord, losses: Losses) -> RawRecord:
        """Returns a damaged line with its key if that is certain. Notes the records that may lack the line."""
        damage = line.damage
        assert damage is not None
        why = f"the line at {line.position} is damaged ({damage.code}), so the whole order is rejected"
        cells = self._key_cells(damage.row)
        if cells.is_certain and cells.texts == ("",):
            losses.of_above(why)
            return line
        keys = [key for cell in cells.texts if (key := _key_in(cell, self._reading)) is not None]
        if cells.is_certain and keys:
            losses.of_key(_stored(keys[0]), why)
            return line._replace(damage=damage._replace(key=keys[0]))
        losses.of_any(map(_stored, keys), _doubt(line, damage.code), is_one=cells.is_near)
        return line

    def _key_cells(self, row: PartialRow | None) -> _KeyCells:
        """Returns the cells of a damaged row that may hold its key."""
        names = row.names if row is not None else ()
        keys = (n for n, name in enumerate(names) if self._key_alias in self._record_names.aliases_of(name))
        place = next(keys, None)
        if row is None or place is None:
            return _KeyCells((), is_certain=False, is_near=False)
        texts = tuple("" if cell is None else str(cell).strip() for cell in row.cells)
        if place < row.certain and not _UNREADABLE.search(texts[place]):
            return _KeyCells(texts[place : place + 1], is_certain=True, is_near=True)
        more = len(texts) - len(row.names)
        near = texts[place : place + more + 1] if more > 0 else ()
        return _KeyCells(near or texts[row.certain :], is_certain=False, is_near=bool(near))

    def is_line(self, line: dict[str, Any]) -> bool:
        """Whether an item cell is filled: such a line without a key may belong to the record above."""
        return any(self._is_of_item(name) and not is_empty(value) for name, value in line.items())

    def _is_of_item(self, name: str) -> bool:
        if name not in self._of_item:
            self._of_item[name] = bool(self._item_aliases & set(self._item_names.aliases_of(name)))
        return self._of_item[name]

    def _goes_on(self, line: RawRecord) -> str:
        return (
            f"the line at {line.position} below it has no {self._key_alias}: if it belongs to this order, set"
            f" `fill_down: [{self._key_alias}]`; if not, for example a total, exclude it with `skip`"
        )

    def _grouped(
        self, ordered: Iterable[tuple[int, bytes]], incomplete: Iterator[tuple[int, str]]
    ) -> Iterator[RawRecord]:
        rejected = next(incomplete, None)
        for first, lines in groupby(ordered, key=itemgetter(0)):
            why = None
            if rejected is not None and rejected[0] == first:
                why = rejected[1]
                rejected = next(incomplete, None)
            yield self._record([pickle.loads(content) for _, content in lines], why)

    def _record(self, lines: list[RawRecord], incomplete: str | None) -> RawRecord:
        first = lines[0]
        if first.damage is not None:
            return first
        record = NamedRecord()
        record.incomplete = incomplete
        items: list[NamedRecord] = []
        try:
            for line in lines:
                items.append(self._item(line.value, record, len(items)))
        except RecordRejected as rejected:
            record.twice = rejected.path
            record[self._key_alias] = self._record_names.value_of(self._key_alias, first.value)
        record.update(self._record_constants)
        if self._has_items:
            record[self._list_alias] = items
        else:
            for item in items:
                record.unknown.update(item.unknown)
        return first._replace(value=record)

    def _item(self, line: dict[str, Any], record: NamedRecord, index: int) -> NamedRecord:
        """Returns one line's item; adds the line's record fields to the record."""
        own = self._record_names.match_own(line, ())
        of_item = self._item_names.match_own(line, (self._list_alias, index))
        for alias, value in own.fields.items():
            self._merge(record, record, alias, value)
        unknown = {name: value for name, value in own.extra.items() if name in of_item.extra}
        for name in [name for name in unknown if self._record_names.fold(name) in self._own_times]:
            self._merge(record, record.unknown, name, unknown.pop(name))
        fields = {alias: value for alias, value in of_item.fields.items() if alias in self._item_aliases}
        return NamedRecord(fields | self._item_constants, unknown)

    def _merge(self, record: NamedRecord, fields: dict[str, Any], name: str, value: Any) -> None:
        """Uses the last non-empty value. Counts different values, except spellings of one key (O12)."""
        known = fields.get(name)
        # A cell error rejects the record, whatever other lines hold.
        if (value is None and known is not None) or isinstance(known, CellError):
            return
        if known is not None and known != value and name != self._key_alias:
            record.conflicts += 1
        fields[name] = value


class _KeyCells(NamedTuple):
    """Texts of which one may be the key of a damaged line.

    Attributes:
        texts: the texts of the cells.
        is_certain: there is only one.
        is_near: one of them is the key, unless it is damaged itself.
    """

    texts: tuple[str, ...]
    is_certain: bool
    is_near: bool


def _key_in(cell: Any, reading: Reading) -> str | None:
    try:
        key: str | None = read_key(Cell(cell) if type(cell) is str else cell, reading)
    except PydanticCustomError:
        return None
    return key


def _stored_key(cell: Any, reading: Reading) -> str | None:
    key = _key_in(cell, reading)
    return None if key is None else _stored(key)


def _doubt(line: RawRecord, code: str) -> str:
    return f"the line at {line.position} is damaged ({code}) and may belong to this order"


def _stored(key: str) -> str:
    return key.encode("utf-8", "surrogatepass").hex()
