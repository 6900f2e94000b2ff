"""Contracts: which fields a partner's record has, and what each may hold.

A contract is a pydantic model. Attribute names are the columns of the table; aliases are the partner's own spelling,
which error paths use too (X14). A field's default value has no meaning: only whether it was sent counts (X1).

Belongs here: the base class, and what can be derived from a contract. Does not belong here: field types (`fields`).
"""

from __future__ import annotations

import re
import types
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar, Final, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict

_NO_PART_OF_A_HEADER: Final = re.compile(r"[-\s_.\x00-\x1f\u200b-\u200f\u202a-\u202e\u2060\ufeff]+")


class Contract(BaseModel):
    """Base of every record and every nested object.

    Attributes:
        derived: columns computed from others, set together with them: column -> (field, function of its value).
        also: alias -> other names that the partner uses for the same field.
        not_columns: fields that say how to apply the record and are not columns themselves.
        pairs: fields that are only valid together; one alone counts as absent (X9).
        rules: column -> ids of its rules, if they differ from those of the whole contract.
    """

    model_config = ConfigDict(
        extra="ignore", populate_by_name=False, arbitrary_types_allowed=True, protected_namespaces=()
    )

    derived: ClassVar[Mapping[str, tuple[str, Any]]] = {}
    also: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    not_columns: ClassVar[frozenset[str]] = frozenset()
    pairs: ClassVar[tuple[tuple[str, str], ...]] = ()
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """Returns a field name in the form that is compared: without case and underscores (X3)."""
    return name.replace("_", "").lower()


@lru_cache(maxsize=4096)
def folded_header(name: str) -> str:
    """Returns a column's name as compared: also without blanks, hyphens, dots and invisible characters, in NFC."""
    return unicodedata.normalize("NFC", _NO_PART_OF_A_HEADER.sub("", name)).lower()


@dataclass(frozen=True)
class FieldShape:
    """One field of a contract, for reading records.

    Attributes:
        column: attribute and column name.
        alias: the partner's spelling.
        children: the shape of the objects in it, for a list of contracts.
        annotation: the bare type without null.
    """

    column: str
    alias: str
    annotation: Any
    metadata: tuple[Any, ...]
    children: Shape | None = None


@dataclass(frozen=True)
class Shape:
    """The fields of a contract by folded name, for matching names and naming paths."""

    contract: type[Contract]
    fields: tuple[FieldShape, ...]
    aliases: frozenset[str]
    by_folded: Mapping[str, FieldShape]

    @property
    def nested(self) -> tuple[FieldShape, ...]:
        """The fields that hold lists of objects."""
        return tuple(f for f in self.fields if f.children is not None)

    @property
    def scalars(self) -> tuple[FieldShape, ...]:
        """The fields that are columns of the record's own row."""
        return tuple(f for f in self.fields if f.children is None and f.column not in self.contract.not_columns)


@cache
def shape_of(contract: type[Contract]) -> Shape:
    """Returns the shape of a contract; computed once."""
    fields = tuple(_field_shape(name, info) for name, info in contract.model_fields.items())
    return Shape(
        contract=contract,
        fields=fields,
        aliases=frozenset(f.alias for f in fields),
        by_folded={folded(name): f for f in fields for name in (f.alias, *contract.also.get(f.alias, ()))},
    )


def rules_of(contract: type[Contract], column: str) -> tuple[str, ...]:
    """Returns the ids of a column's rules: the contract's own or the column's, and those of its type."""
    field = contract.derived[column][0] if column in contract.derived else column
    shape = next((f for f in shape_of(contract).fields if f.column == field), None)
    of_type = [rule for marker in (shape.metadata if shape else ()) for rule in getattr(marker, "rules", ())]
    own = contract.rules.get(column) or rules_in(contract.__doc__)
    return tuple(dict.fromkeys([*own, *of_type]))


def rules_in(text: str | None) -> tuple[str, ...]:
    """Returns the rule ids in a docstring; `T2 to T6` includes all between."""
    found: list[str] = []
    for letter, first, last in re.findall(r"\b([A-Z])(\d{1,2})\b(?: to [A-Z](\d{1,2})\b)?", text or ""):
        found += [f"{letter}{number}" for number in range(int(first), int(last or first) + 1)]
    return tuple(found)


def _field_shape(name: str, info: Any) -> FieldShape:
    annotation = _without_null(info.annotation)
    metadata = tuple(info.metadata)
    if get_origin(annotation) is not None and hasattr(annotation, "__metadata__"):
        metadata += annotation.__metadata__
        annotation = get_args(annotation)[0]
    children = None
    if get_origin(annotation) is list:
        item = get_args(annotation)[0]
        if isinstance(item, type) and issubclass(item, Contract):
            children = shape_of(item)
    return FieldShape(name, info.alias or name, annotation, metadata, children)


def _without_null(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        if len(parts) == 1:
            return parts[0]
    return annotation
