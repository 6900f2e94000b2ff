"""Records, rows and messages of a stream with their personal values masked, as its contract declares them.

Belongs here: masking of everything that is displayed by default. Does not belong here: how a value is masked
(`masking`), which fields are personal (`partners`, by `contracts.personal`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from sync_pipelines.contracts.contract import Contract, FieldShape, Shape, folded, shape_of
from sync_pipelines.contracts.personal import Kind, Personal
from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.privacy.masking import masked, masked_message

EXTRA: Final = "extra"
_INDEX: Final = re.compile(r"\[\d+\]")
_IN_LIST: Final = re.compile(r"(\w+)\[\d+\]\.")
_OURS: Final = frozenset({"at", "method", "operation", "key"})
"""Fields of a request log's line, and of a record rejected by a key's state, beside the partner's fields."""


def kind_of(field: FieldShape) -> Kind:
    """Returns how a field is masked; a list of objects is personal if one of their fields is."""
    if field.children is not None:
        return "contact" if any(kind_of(below) != "plain" for below in field.children.fields) else "plain"
    marks = [mark.kind for mark in field.metadata if isinstance(mark, Personal)]
    return marks[-1] if marks else "plain"


@cache
def _columns(contract: type[Contract]) -> dict[str, Kind]:
    kinds = {field.column: kind_of(field) for field in shape_of(contract).fields}
    derived: dict[str, Kind] = {name: kinds.get(source, "plain") for name, (source, _) in contract.derived.items()}
    return {**kinds, **derived, EXTRA: "contact"}


def _all_columns(stream: Stream) -> dict[str, dict[str, Kind]]:
    """Returns table -> column -> kind, for a stream's table and those of its lists."""

    def below(children: Iterable[Children], contract: type[Contract]) -> dict[str, dict[str, Kind]]:
        fields = {field.column: field for field in shape_of(contract).fields}
        found: dict[str, dict[str, Kind]] = {}
        for child in children:
            inner = fields[child.column].children
            if inner is not None:
                found |= {child.table: _columns(inner.contract), **below(child.nested, inner.contract)}
        return found

    return {stream.table: _columns(stream.contract), **below(stream.children, stream.contract)}


def masked_row(stream: Stream, row: Mapping[str, Any], table: str | None = None) -> dict[str, Any]:
    """Returns a row of one of the stream's tables, or any columns of it, with personal values masked.

    Args:
        stream: the stream of the tables.
        row: column -> value; a list of children is under the name of its table.
        table: the table; the main one by default.
    """
    tables = _all_columns(stream)
    kinds = tables.get(table or stream.table, {})
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, list) and name in tables:
            shown[name] = [masked_row(stream, child, name) if isinstance(child, Mapping) else child for child in value]
        else:
            shown[name] = masked(value, kinds.get(name, "plain"))
    return shown


def masked_example(stream: Stream, row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns columns of any of the stream's tables, masked if they are personal in one of them."""
    kinds: dict[str, Kind] = {}
    for columns in _all_columns(stream).values():
        kinds |= {name: kind for name, kind in columns.items() if kind != "plain"}
    return {name: masked(value, kinds.get(name, "plain")) for name, value in row.items()}


def masked_record(stream: Stream, record: Any) -> Any:
    """Returns a record as in the export, masked. Fields that are not in the contract are personal."""
    return _masked_record(stream.shape, record)


def _masked_record(shape: Shape, record: Any) -> Any:
    if isinstance(record, list):
        return [_masked_record(shape, element) for element in record]
    if not isinstance(record, Mapping):
        return masked(record, "contact")
    shown: dict[str, Any] = {}
    for name, value in record.items():
        field = shape.by_folded.get(folded(name))
        if field is None:
            shown[name] = masked(value, "plain" if name in _OURS and isinstance(value, str) else "contact")
        elif field.children is not None:
            shown[name] = _masked_record(field.children, value)
        else:
            shown[name] = masked(value, kind_of(field))
    return shown


def masked_reason(stream: Stream, field_path: str | None, message: str) -> str:
    """Returns why a record is rejected, with quoted personal values masked."""
    within = _IN_LIST.match(field_path or "")
    if within and any(within[1] in route.lists for route in stream.routes if route.names_lists):
        # The record is in a list of a body, and its field is in the record (F07).
        field_path = (field_path or "")[within.end() :]
    return masked_message(message, _kind_at(stream.shape, field_path))


def masked_faults(stream: Stream, errors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the errors of a record (code, path, message) with messages masked as in `masked_reason`."""
    return [{**error, "message": masked_reason(stream, error["path"], error["message"])} for error in errors]


def _kind_at(shape: Shape, path: str | None) -> Kind:
    """Returns the kind of a field by its path, such as `users[0].contacts[1].value`."""
    kind: Kind = "plain"
    for name in _INDEX.sub("", path or "").split("."):
        field = shape.by_folded.get(folded(name))
        if field is None:
            return kind
        kind = kind_of(field)
        if field.children is None:
            return kind
        shape = field.children
    return kind
