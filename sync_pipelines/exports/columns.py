"""Which columns a flat file must have, and which it has: checks the header before any record is read.

Belongs here: comparing column names with those a source expects. Does not belong here: which row is the header
(`tables`), which field of the contract a column means (`normalize.field_names`), cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, Final, NamedTuple

from sync_pipelines.contracts.characters import UNSEEN
from sync_pipelines.contracts.contract import folded_header
from sync_pipelines.contracts.near_names import near_name
from sync_pipelines.errors import ExportError, Position

_LIKE: Final = 0.5
_COMPARED: Final = 2_000
_LONGEST: Final = 200
"""How many columns, and characters of each, are compared with a missing one."""
_NO_NAME: Final = re.compile(r"@|\d{5}")
"""Matches text that is data rather than a column name, and may be personal."""
_FIRST: Final = "_1"
_SHOWN: Final = 12
"""How many columns a message lists."""
_PATH: Final = re.compile(r"([^\[\].]+)(?:\[\d+\]|\.).+|([^\[\].]+)\[\d+\]")
_LOG: Final = frozenset({"method", "path"})
"""Columns of a request log (X12), which has none of the records' fields."""


class Columns(NamedTuple):
    """The columns of a flat file, named as in its records. They precede the records.

    Attributes:
        names: the names, in order.
        position: position of the header, or None.
        delimiter: delimiter of a CSV.
        sheet: sheet of a workbook.
    """

    names: tuple[str, ...]
    position: Position | None = None
    delimiter: str | None = None
    sheet: str | None = None


@dataclass(frozen=True)
class SoughtColumns:
    """The columns that a source expects in the header of its flat files.

    Attributes:
        stream: the stream's name, for messages.
        key: the columns that can hold the key, as users would write them; none if the key is a constant.
        fields: the columns that are named after fields, as users would write them.
        lists: the fields that hold lists or objects, which paths such as `addresses[0].city` refer to.
        mapped: field -> column, from the setting `columns`.
        optional: columns or fields that may be missing.
    """

    stream: str
    key: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    mapped: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(map(folded_header, self.key))

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(map(folded_header, (*self.key, *self.fields, *self.mapped.values())))

    @cached_property
    def _outer(self) -> frozenset[str]:
        return frozenset(map(folded_header, self.lists))

    def has_key(self, names: Iterable[str]) -> bool:
        """Whether one of these columns holds the key, or they are those of a request log."""
        given = tuple(names)
        return any(folded_header(name) in self._keys for name in given) or {name.lower() for name in given} >= _LOG

    def is_header(self, names: Iterable[str]) -> bool:
        """Whether these names form a header: one holds the key, or any is known if the key is not a column."""
        return self.has_key(names) if self.key else bool(self.known_among(names))

    def needs(self, name: str) -> bool:
        """Whether a column is read into a field."""
        if folded_header(name) in self._known:
            return True
        path = _PATH.fullmatch(name)
        return path is not None and folded_header(path[1] or path[2]) in self._outer

    def known_among(self, names: Iterable[str]) -> list[str]:
        """Returns the columns that the stream knows."""
        return [name for name in names if self.needs(name)]

    def columns_of(self, field: str) -> list[str]:
        """Returns the columns that `columns` maps to a field."""
        return [column for name, column in self.mapped.items() if folded_header(name) == folded_header(field)]

    def as_mapped(self, names: Sequence[str]) -> list[str]:
        """Returns the names, spelled as in `columns` where that maps them; an exact match takes precedence.

        `Unidades_1` in `columns` is the first of several columns with that name; the others are `Unidades_2` and so on.
        """
        found = list(names)
        missing = dict.fromkeys(self.mapped.values()).keys() - set(names)
        if missing:
            places: dict[str, list[int]] = {}
            for place, name in enumerate(names):
                places.setdefault(folded_header(name), []).append(place)
            for column in missing:
                near = places.get(folded_header(column), [])
                first = places.get(folded_header(column.removesuffix(_FIRST)), []) if not near else []
                if len(near) == 1 or (first and column.endswith(_FIRST)):
                    found[(near or first)[0]] = column
        return found

    def check(self, names: Sequence[str], position: Position) -> None:
        """Checks that a header has the columns that the source needs.

        Raises:
            ExportError: `bad_header`, `column_missing`.
        """
        if not self.is_header(names):
            raise self.bad_header(names, position)
        free = {folded_header(name) for name in self.optional}
        for wanted, column in self.mapped.items():
            if column not in names and not {folded_header(wanted), folded_header(column)} & free:
                raise column_missing(column, f"{wanted} is read from", names, position)

    def bad_header(self, names: Sequence[str], position: Position | None, hint: str = "") -> ExportError:
        """Returns the error for a file whose header has no key or no column of the stream."""
        wanted = self.key or self.fields
        what = "has the key of" if self.known_among(names) else "belongs to"
        shown = ["…" if _NO_NAME.search(name) else name for name in names]
        message = f"no column {what} {self.stream}: expected {_listed(wanted, ' or ')}, found {_listed(shown)}"
        near = [near for name in wanted if (near := nearest(name, names))]
        remedy = f"if {near[0]!r} is the key, map it in `columns`" if near else "map the key column in `columns`"
        return ExportError(
            "bad_header", message, hint or f"{remedy}, or set the header's row in `header_row`", position
        )


def column_missing(
    column: str, why: str, names: Sequence[str], position: Position | None, setting: str = "columns"
) -> ExportError:
    """Returns the error for a file without a needed column; `why` precedes the column's name."""
    near = nearest(column, names)
    found = f"; the most similar column is {near!r}" if near else f"; found {_listed(names)}"
    may_lack = ", or add it to `optional` if files may lack it" if setting == "columns" else ""
    return ExportError(
        "column_missing",
        f"{why} the column {column!r}, which is missing{found}",
        f"correct `{setting}`{may_lack}",
        position,
    )


def gone_since(before: Iterable[str], now: Iterable[str]) -> list[str]:
    """Returns the columns that one header had and a later one lacks, ignoring spelling differences."""
    there = {folded_header(name) for name in now}
    return [name for name in before if folded_header(name) not in there]


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Returns the most similar name, or else one that shares a word; None if there is none."""
    given = [other for other in islice(names, _COMPARED) if len(other) <= _LONGEST]
    words = _words(name)
    return near_name(name, given, _LIKE) or next((other for other in given if words & _words(other)), None)


def cleaned(cell: Any) -> str:
    """Returns a header cell as a name, without surrounding white space and invisible characters."""
    return "" if cell is None else str(cell).strip(UNSEEN)


def _words(name: str) -> set[str]:
    return {word for word in re.split(r"[\W_]+", name.lower()) if len(word) > 2}


def _listed(names: Iterable[str], joiner: str = ", ") -> str:
    given = list(names)
    shown = joiner.join(repr(name[:60]) for name in given[:_SHOWN]) or "none"
    return shown + (f" and {len(given) - _SHOWN} more" if len(given) > _SHOWN else "")
