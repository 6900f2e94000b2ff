"""Matches names in the file to fields of the contract (X3), including the source's `columns`.

Belongs here: matching names. Does not belong here: values, which columns a file must have (`exports.columns`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from json import JSONDecodeError
from typing import Any, Final, NamedTuple

from sync_pipelines.contracts.contract import Shape, folded, folded_header
from sync_pipelines.contracts.paths import Holds, Path, Way, holds_of, way_to
from sync_pipelines.contracts.raw import AmbiguousObject, Cell, CellError, NamedRecord
from sync_pipelines.contracts.reading import RecordRejected
from sync_pipelines.exports.columns import SoughtColumns
from sync_pipelines.exports.json_values import NestedTooDeep, decode_at, explain
from sync_pipelines.normalize.change import Fault, path_of, reject

_TWICE: Final = "the field appears twice with different values"
_NAMES_KNOWN: Final = 20_000
"""Names whose meaning is cached; a file may have any number."""
_OPENINGS: Final = {"list": "[", "object": "{"}
_OTHERWISE: Final = {"list": "not_a_list", "object": "not_an_object"}


class _Meaning(NamedTuple):
    """What a name in the file refers to.

    Attributes:
        aliases: fields of the contract.
        ways: places within them.
    """

    aliases: tuple[str, ...]
    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Matched:
    """A record with the contract's names.

    Attributes:
        fields: alias -> raw value.
        extra: fields that are not in the contract, with the file's names.
        nested_extra: the same for elements of nested lists: path -> fields.
        conflicts: how many of its lines disagreed (O12).
        mended_lists: paths of lists that were written as objects.
    """

    fields: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)
    nested_extra: dict[Path, dict[str, Any]] = field(default_factory=dict)
    conflicts: int = 0
    mended_lists: list[Path] = field(default_factory=list)


class Names:
    """Matches the names of one contract's fields in one source.

    Args:
        shape: the contract.
        columns: the source's `columns`: contract field -> name in the file. Such a field is found only under that
            name. One name may be used for several fields. `list[0].field` is a field of an element.
        flat: the names are column headers: they match across blanks, hyphens and dots too, paths are headers, and
            cells may hold the JSON text of a list or an object.
    """

    def __init__(self, shape: Shape, columns: Mapping[str, str], *, flat: bool = False) -> None:
        self._shape = shape
        self._flat = flat
        self.fold: Final = folded_header if flat else folded
        """Returns a name in the form that is compared."""
        self._by_name: dict[str, tuple[str, ...]] = {}
        mapped = {self.fold(name): column for name, column in columns.items()}
        for field_shape in shape.fields:
            column = mapped.get(self.fold(field_shape.alias))
            if column is not None:
                self._by_name[column] = (*self._by_name.get(column, ()), field_shape.alias)
        self._placed = _placed(shape, columns)
        self._by_folded = {self.fold(f): s.alias for f, s in shape.by_folded.items() if self.fold(f) not in mapped}
        self._holds = {f.alias: holds for f in shape.fields if flat and (holds := holds_of(f)) != "value"}
        # If nothing is mapped, a record with only the contract's names needs no matching.
        self._own = shape.aliases - self._holds.keys() if not mapped else frozenset()
        self._nested = [(f.alias, Names(f.children, columns, flat=flat)) for f in shape.nested if f.children]
        self._meanings: dict[str, _Meaning] = {}

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """Returns the contract fields of a name in the file; none for an unknown field."""
        return self._meaning_of(name).aliases

    def value_of(self, alias: str, raw: Mapping[str, Any]) -> Any:
        """Returns the first value in a raw record that is one of the contract's fields; None if none is."""
        return next((value for name, value in raw.items() if alias in self.aliases_of(name)), None)

    def _meaning_of(self, name: str) -> _Meaning:
        known = self._meanings.get(name)
        if known is None:
            if len(self._meanings) >= _NAMES_KNOWN:
                self._meanings.clear()
            known = self._meanings[name] = self._read_name(name)
        return known

    def _read_name(self, name: str) -> _Meaning:
        placed = self._placed.get(name, ())
        if name in self._by_name or placed:
            return _Meaning(self._by_name.get(name, ()), tuple(placed))
        alias = self._by_folded.get(self.fold(name))
        if alias is not None:
            return _Meaning((alias,), ())
        way = way_to(self._shape, name) if self._flat else None
        return _Meaning((), () if way is None else (way,))

    @property
    def is_mapped(self) -> bool:
        """Whether the source maps columns to fields."""
        return bool(self._by_name or self._placed)

    @property
    def unmapped(self) -> tuple[str, ...]:
        """The fields that are found by their own names."""
        return tuple(dict.fromkeys(self._by_folded.values()))

    @property
    def lists(self) -> tuple[str, ...]:
        """The fields that hold lists or objects."""
        return tuple(f.alias for f in self._shape.fields if holds_of(f) != "value")

    def nested(self, alias: str) -> Names:
        """Returns the names for a list's elements."""
        return next(names for name, names in self._nested if name == alias)

    def supplied_by(self, names: Iterable[str]) -> frozenset[str]:
        """Returns the contract fields that a file with these columns supplies, completely or in part."""
        meanings = [self._meaning_of(name) for name in names]
        whole = {alias for meaning in meanings for alias in meaning.aliases}
        return frozenset(whole | {str(way.path[0]) for meaning in meanings for way in meaning.ways})

    def match(self, raw: dict[str, Any], noted: list[Fault] | None = None) -> Matched:
        """Returns a record with the contract's names.

        Args:
            raw: the record.
            noted: collects fields that appear twice, if all errors of the record are wanted (F20).

        Raises:
            RecordRejected: a field appears twice with different values (X3), or lines of the record are missing.
        """
        matched = self.match_own(raw, (), noted)
        fields = self._with_nested(matched.fields, (), matched, noted)
        return matched if fields is matched.fields else replace(matched, fields=fields)

    def _with_nested(
        self, fields: dict[str, Any], path: Path, matched: Matched, noted: list[Fault] | None
    ) -> dict[str, Any]:
        """Returns the fields with nested objects renamed too; the same mapping if nothing changes.

        Adds unknown fields and mended lists to `matched`.
        """
        for alias, names in self._nested:
            elements = fields.get(alias)
            if isinstance(elements, dict) and (listed := list_of(elements)) is not None:
                matched.mended_lists.append((*path, alias))
                elements = listed
                fields = {**fields, alias: listed}
            if isinstance(elements, list):
                renamed = [names._nested_one(e, (*path, alias, i), matched, noted) for i, e in enumerate(elements)]
                if any(new is not old for new, old in zip(renamed, elements, strict=True)):
                    fields = {**fields, alias: renamed}
        return fields

    def _nested_one(self, element: Any, path: Path, whole: Matched, noted: list[Fault] | None) -> Any:
        if not isinstance(element, dict):
            return element
        matched = self.match_own(element, path, noted)
        if matched.extra:
            whole.nested_extra[path] = matched.extra
        return self._with_nested(matched.fields, path, whole, noted) if self._nested else matched.fields

    def match_own(self, raw: dict[str, Any], path: Path, noted: list[Fault] | None = None) -> Matched:
        """Returns a record, or a line of a flat file, with the contract's names. Lists stay as they are.

        Args:
            raw: the record, an element or a line.
            path: where it is in the record.
            noted: as in `match`.

        Raises:
            RecordRejected: as `match`.
        """
        if type(raw) is dict and raw.keys() <= self._own:
            return Matched(raw)
        if isinstance(raw, NamedRecord):
            if raw.incomplete is not None:
                raise RecordRejected("order_incomplete", None, raw.incomplete)
            if raw.twice is not None:
                raise RecordRejected("field_conflict", raw.twice, _TWICE)
            return Matched(dict(raw), raw.unknown, conflicts=raw.conflicts)
        if isinstance(raw, AmbiguousObject):
            for name in raw.names:
                reject(_conflict((*path, *(self.aliases_of(name)[:1] or (name,)))), noted)
        fields: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        placed: dict[str, Any] = {}
        for name, value in raw.items():
            aliases, ways = self._meaning_of(name)
            for alias in aliases:
                own = _opened(value, self._holds[alias], (*path, alias), noted) if alias in self._holds else value
                if alias in fields and not _same(fields[alias], own):
                    reject(_conflict((*path, alias)), noted)
                fields[alias] = own
            for way in ways:
                _place(placed, way.path, _opened(value, way.holds, (*path, *way.path), noted), path)
            if not aliases and not ways and type(value) is not CellError:
                extra[name] = value
        for alias, tree in placed.items():
            if fields.get(alias) is not None:
                reject(_conflict((*path, alias)), noted)
            fields[alias] = _built(tree)
        return Matched(fields, extra)


def list_of(value: dict[str, Any]) -> list[Any] | None:
    """Returns the list that PHP wrote as an object, empty or with numeric keys; None for any other object."""
    if isinstance(value, AmbiguousObject) or not all(name.isascii() and name.isdigit() for name in value):
        return None
    return list(value.values())


def sought_columns(
    names: Iterable[Names], stream: str, keys: Iterable[str], optional: Iterable[str], columns: Mapping[str, str]
) -> SoughtColumns:
    """Returns what the header of a source's flat files must have.

    Args:
        names: names of the contracts whose fields a row has.
        stream: for messages.
        keys: the fields that can be the key; none if the key is a constant.
        optional: columns or fields that may be missing.
        columns: the source's `columns`.
    """
    own = {alias: None for found in names for alias in found.unmapped}
    by_folded = {folded_header(alias): column for alias, column in columns.items()}
    return SoughtColumns(
        stream=stream,
        key=tuple(by_folded.get(folded_header(alias), alias) for alias in keys),
        fields=tuple(own),
        lists=tuple({alias: None for found in names for alias in found.lists}),
        mapped=dict(columns),
        optional=tuple(optional),
    )


def _placed(shape: Shape, columns: Mapping[str, str]) -> dict[str, list[Way]]:
    """Returns column of the file -> positions in lists and objects for its value."""
    found: dict[str, list[Way]] = {}
    for key, column in columns.items():
        way = way_to(shape, key)
        if way is not None:
            found.setdefault(column, []).append(way)
    return found


def _place(tree: dict[Any, Any], way: Path, value: Any, before: Path) -> None:
    """Puts a value into a tree of fields, in which a list is a mapping of positions."""
    *outer, last = way
    for step in outer:
        inner = tree.setdefault(step, _Tree())
        if not isinstance(inner, _Tree):
            raise _conflict((*before, *way))
        tree = inner
    if last in tree and not _same(tree[last], value):
        raise _conflict((*before, *way))
    tree[last] = value


class _Tree(dict[Any, Any]):
    """The values of one list or object, collected from columns."""

    @property
    def is_empty(self) -> bool:
        """Whether all its values are null."""
        return all(value is None or (isinstance(value, _Tree) and value.is_empty) for value in self.values())


def _built(tree: Any) -> Any:
    """Returns the list or object of a tree, without elements that have no value."""
    if not isinstance(tree, _Tree):
        return tree
    if any(isinstance(step, int) for step in tree):
        elements = (tree[place] for place in sorted(tree))
        return [_built(e) for e in elements if e is not None and not (isinstance(e, _Tree) and e.is_empty)]
    return {name: _built(value) for name, value in tree.items()}


def _opened(value: Any, holds: Holds, path: Path, noted: list[Fault] | None) -> Any:
    """Returns the list or object whose JSON text is in a cell; any other value unchanged.

    Raises:
        RecordRejected: the text looks like JSON but is invalid, and errors are not collected.
    """
    if holds == "value" or not isinstance(value, Cell):
        return value
    text = value.strip(" \t\r\n")
    if not text.startswith(_OPENINGS[holds]):
        return value
    try:
        opened, end = decode_at(text, 0)
        why = None if end == len(text) else f"unexpected text after the JSON, at character {end + 1}"
    except JSONDecodeError as error:
        why = f"not JSON: {explain(error)} at character {error.pos + 1}"
    except NestedTooDeep:
        why = "not JSON: nested too deeply"
    if why is not None:
        where = path_of(path)
        reject(RecordRejected(_OTHERWISE[holds], where, f"{where}: {why}"), noted)
        return None
    return opened


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _conflict(path: tuple[str | int, ...]) -> RecordRejected:
    return RecordRejected("field_conflict", path_of(path), _TWICE)
