"""Which field of the contract a name in the file means (X3), and the source's own column names.

Belongs here: matching of names. Does not belong here: values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sync_pipelines.contracts.contract import Shape, folded
from sync_pipelines.contracts.raw import AmbiguousObject, NamedRecord
from sync_pipelines.normalize.change import Refused, path_of

_TWICE: Final = "the field stands twice with different values"


@dataclass(frozen=True)
class Matched:
    """A record under the contract's own names.

    Attributes:
        fields: alias -> raw value.
        extra: fields the contract does not know, under the file's names.
        nested_extra: the same for elements of nested lists: (alias, index) -> fields.
        conflicts: how often the lines it was folded from disagreed (O12).
    """

    fields: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)
    nested_extra: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    conflicts: int = 0


class Names:
    """Matches the names of one contract's fields in one source.

    Args:
        shape: the contract.
        columns: the source's `columns`: contract field -> name in the file. A field named there is found under
            that name alone; one name may stand for several fields.
    """

    def __init__(self, shape: Shape, columns: Mapping[str, str]) -> None:
        self._shape = shape
        self._by_name: dict[str, tuple[str, ...]] = {}
        mapped = {folded(name): column for name, column in columns.items()}
        for field_shape in shape.fields:
            column = mapped.get(folded(field_shape.alias))
            if column is not None:
                self._by_name[column] = (*self._by_name.get(column, ()), field_shape.alias)
        self._by_folded = {f: s.alias for f, s in shape.by_folded.items() if f not in mapped}
        # Where nothing is mapped, a record all of whose names are the page's own needs no matching at all.
        self._own = shape.aliases if not mapped else frozenset()
        self._nested = [(f.alias, Names(f.children, columns)) for f in shape.nested if f.children is not None]

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """The contract fields that a name in the file stands for; none for an unknown field."""
        found = self._by_name.get(name)
        if found is not None:
            return found
        alias = self._by_folded.get(folded(name))
        return (alias,) if alias is not None else ()

    def supplied_by(self, names: Iterable[str]) -> frozenset[str]:
        """The contract fields that a file with these columns supplies."""
        return frozenset(alias for name in names for alias in self.aliases_of(name))

    def match(self, raw: dict[str, Any]) -> Matched:
        """A record under the contract's names.

        Raises:
            Refused: one field stands twice with different values (X3).
        """
        matched = self._match_own(raw, ())
        for alias, names in self._nested:
            elements = matched.fields.get(alias)
            if isinstance(elements, list):
                matched = self._match_nested(matched, alias, elements, names)
        return matched

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
        for name, value in raw.items():
            aliases = self.aliases_of(name)
            for alias in aliases:
                if alias in fields and not _same(fields[alias], value):
                    raise _conflict((*path, alias))
                fields[alias] = value
            if not aliases:
                extra[name] = value
        return Matched(fields, extra)

    @staticmethod
    def _match_nested(matched: Matched, alias: str, elements: list[Any], names: Names) -> Matched:
        changed: dict[int, dict[str, Any]] = {}
        for index, element in enumerate(elements):
            if not isinstance(element, dict) or (type(element) is dict and element.keys() <= names._own):
                continue
            inner = names._match_own(element, (alias, index))
            changed[index] = inner.fields
            if inner.extra:
                matched.nested_extra[alias, index] = inner.extra
        if not changed:
            return matched
        renamed = [changed.get(index, element) for index, element in enumerate(elements)]
        return replace(matched, fields={**matched.fields, alias: renamed})


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _conflict(path: tuple[str | int, ...]) -> Refused:
    return Refused("field_conflict", path_of(path), _TWICE)
