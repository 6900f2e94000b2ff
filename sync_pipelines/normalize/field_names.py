"""Which field of the contract a name in the file means (X3), and the source's own column names.

Belongs here: matching of names. Does not belong here: values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from sync_pipelines.contracts.contract import Shape, folded
from sync_pipelines.contracts.raw import AmbiguousObject, CellError, NamedRecord
from sync_pipelines.normalize.change import Refused, path_of

_TWICE: Final = "the field stands twice with different values"


Path = tuple[str | int, ...]

PLACED: Final = re.compile(r"(\w+)\[(\d{1,3})\]\.(\w+)", re.ASCII)
"""A key of `columns` that reaches into a list: `addresses[0].zipCode`, indexes from 0."""


class _Placed(NamedTuple):
    """Where in a list a column's value goes."""

    list_alias: str
    place: int
    alias: str


@dataclass(frozen=True)
class Matched:
    """A record under the contract's own names.

    Attributes:
        fields: alias -> raw value.
        extra: fields the contract does not know, under the file's names.
        nested_extra: the same for elements of nested lists: path -> fields.
        conflicts: how often the lines it was folded from disagreed (O12).
    """

    fields: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)
    nested_extra: dict[Path, dict[str, Any]] = field(default_factory=dict)
    conflicts: int = 0


class Names:
    """Matches the names of one contract's fields in one source.

    Args:
        shape: the contract.
        columns: the source's `columns`: contract field -> name in the file. A field named there is found under
            that name alone; one name may stand for several fields. `list[0].field` is a field of an element.
    """

    def __init__(self, shape: Shape, columns: Mapping[str, str]) -> None:
        self._by_name: dict[str, tuple[str, ...]] = {}
        mapped = {folded(name): column for name, column in columns.items()}
        for field_shape in shape.fields:
            column = mapped.get(folded(field_shape.alias))
            if column is not None:
                self._by_name[column] = (*self._by_name.get(column, ()), field_shape.alias)
        self._placed = _placed(shape, columns)
        self._by_folded = {f: s.alias for f, s in shape.by_folded.items() if f not in mapped}
        # Where nothing is mapped, a record all of whose names are the page's own needs no matching at all.
        self._own = shape.aliases if not mapped else frozenset()
        self._nested = [(f.alias, Names(f.children, columns)) for f in shape.nested if f.children is not None]

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """The contract fields that a name in the file stands for; none for an unknown field."""
        found = self._by_name.get(name)
        if found is not None:
            return found
        alias = self._by_folded.get(folded(name)) if name not in self._placed else None
        return (alias,) if alias is not None else ()

    @property
    def is_mapped(self) -> bool:
        """Whether the source says which name of the file stands for which field."""
        return bool(self._by_name or self._placed)

    def nested(self, alias: str) -> Names:
        """The names in the elements of a list."""
        return next(names for name, names in self._nested if name == alias)

    def supplied_by(self, names: Iterable[str]) -> frozenset[str]:
        """The contract fields that a file with these columns supplies."""
        return frozenset(alias for name in names for alias in self.aliases_of(name))

    def match(self, raw: dict[str, Any]) -> Matched:
        """A record under the contract's names.

        Raises:
            Refused: one field stands twice with different values (X3).
        """
        matched = self._match_own(raw, ())
        fields = self._with_nested(matched.fields, (), matched.nested_extra)
        return matched if fields is matched.fields else replace(matched, fields=fields)

    def _with_nested(self, fields: dict[str, Any], path: Path, extras: dict[Path, dict[str, Any]]) -> dict[str, Any]:
        """The fields with every nested object under the contract's names; the same mapping where nothing changes."""
        for alias, names in self._nested:
            elements = fields.get(alias)
            if isinstance(elements, list):
                renamed = [names._nested_one(e, (*path, alias, i), extras) for i, e in enumerate(elements)]
                if any(new is not old for new, old in zip(renamed, elements, strict=True)):
                    fields = {**fields, alias: renamed}
        return fields

    def _nested_one(self, element: Any, path: Path, extras: dict[Path, dict[str, Any]]) -> Any:
        if not isinstance(element, dict):
            return element
        matched = self._match_own(element, path)
        if matched.extra:
            extras[path] = matched.extra
        return self._with_nested(matched.fields, path, extras) if self._nested else matched.fields

    def match_line(self, raw: dict[str, Any], path: tuple[str | int, ...] = ()) -> Matched:
        """A line of a flat file under the contract's names; lists are left as they are.

        Raises:
            Refused: one field stands twice with different values (X3).
        """
        return self._match_own(raw, path)

    def _match_own(self, raw: dict[str, Any], path: tuple[str | int, ...]) -> Matched:
        if type(raw) is dict and raw.keys() <= self._own:
            return Matched(raw)
        if isinstance(raw, NamedRecord):
            if raw.twice is not None:
                raise Refused("field_conflict", raw.twice, _TWICE)
            return Matched(dict(raw), raw.unknown, conflicts=raw.conflicts)
        if isinstance(raw, AmbiguousObject):
            raise _conflict((*path, raw.names[0]))
        fields: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        lists: dict[str, dict[int, dict[str, Any]]] = {}
        for name, value in raw.items():
            aliases = self.aliases_of(name)
            for alias in aliases:
                if alias in fields and not _same(fields[alias], value):
                    raise _conflict((*path, alias))
                fields[alias] = value
            for placed in self._placed.get(name, ()):
                lists.setdefault(placed.list_alias, {}).setdefault(placed.place, {})[placed.alias] = value
            if not aliases and name not in self._placed and type(value) is not CellError:
                extra[name] = value
        for alias, elements in lists.items():
            if alias in fields:
                raise _conflict((*path, alias))
            fields[alias] = [elements[index] for index in sorted(elements)]
        return Matched(fields, extra)


def _placed(shape: Shape, columns: Mapping[str, str]) -> dict[str, list[_Placed]]:
    """Column of the file -> where in lists its value goes; elements without any value are left out."""
    lists = {folded(f.alias): f for f in shape.nested}
    found: dict[str, list[_Placed]] = {}
    for key, column in columns.items():
        parts = PLACED.fullmatch(key)
        field_shape = lists.get(folded(parts[1])) if parts else None
        if parts and field_shape is not None and field_shape.children is not None:
            inner = field_shape.children.by_folded[folded(parts[3])]
            found.setdefault(column, []).append(_Placed(field_shape.alias, int(parts[2]), inner.alias))
    return found


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _conflict(path: tuple[str | int, ...]) -> Refused:
    return Refused("field_conflict", path_of(path), _TWICE)
