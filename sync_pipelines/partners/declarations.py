"""Checks a stream's declaration: it must fit the tables, and a load must be able to carry it out.

Belongs here: errors in the declaration itself. Does not belong here: what its functions do with records
(`sync_pipelines.testing`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from sync_pipelines.contracts.codes import REJECT_CODES
from sync_pipelines.contracts.contract import Contract, Shape, folded, shape_of
from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.tables.schema import MAIN_TABLES, SCHEMA, metadata

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED_PARTNERS: Final = frozenset({"tables"})
_RESERVED_ENDINGS: Final = ("_exports", "_records")
"""Dagster's asset names consist of a stream's name and one of these."""


def declaration_errors(stream: Stream) -> list[str]:
    """Returns the errors of a declaration, one sentence each."""
    errors = [*_name_errors(stream)]
    if stream.table not in {table.name for table in MAIN_TABLES}:
        known = ", ".join(table.name for table in MAIN_TABLES)
        return [*errors, f"there is no table {stream.table!r}; tables are {known}"]
    return [*errors, *_column_errors(stream), *_list_errors(stream.children, stream.contract), *_route_errors(stream)]


def _name_errors(stream: Stream) -> Iterator[str]:
    for what, name in (("partner", stream.partner), ("stream", stream.name)):
        if _NAME.fullmatch(name) is None:
            yield f"the {what} {name!r} must be lower-case letters, digits and underscores, starting with a letter"
    if stream.partner in _RESERVED_PARTNERS:
        yield f"the partner name {stream.partner!r} is reserved"
    if stream.name.endswith(_RESERVED_ENDINGS):
        yield f"the stream name {stream.name!r} must not end in {' or '.join(_RESERVED_ENDINGS)}"


def _column_errors(stream: Stream) -> Iterator[str]:
    columns = _columns_of(stream.table)
    if stream.key not in stream.contract.model_fields:
        yield f"the key {stream.key!r} is not an attribute of {stream.contract.__name__}"
        return
    named = {*stream.written, *stream.merges, stream.key, stream.record_id or "id"}
    named |= {reference.column for reference in stream.references} | ({stream.scope} if stream.scope else set())
    yield from _unknown(named, columns, stream.table)
    yield from _unknown(stream.required_new, columns | {c.table for c in stream.children}, f"{stream.table} or a list")
    for reference in stream.references:
        if reference.table not in {table.name for table in MAIN_TABLES}:
            yield f"the reference {reference.column!r} refers to the unknown table {reference.table!r}"
    if stream.links.keys() != {reference.column for reference in stream.references}:
        yield "`links` must have one function for each of `references`"
    if stream.scope is not None and stream.scope not in stream.links:
        yield f"the scope {stream.scope!r} must be one of `references`"
    if stream.scope is not None and "delete" in stream.operations:
        yield "a stream with a `scope` cannot delete: the key alone does not identify a row"


def _list_errors(declared: Iterable[Children], contract: type[Contract]) -> Iterator[str]:
    """Yields the errors of lists, and of lists within them."""
    shape = shape_of(contract)
    for children in declared:
        if f"{SCHEMA}.{children.table}" not in metadata.tables:
            yield f"there is no table {children.table!r} for the list {children.column!r}"
        elif (element := _element_of(children, shape)) is None:
            yield f"{children.column!r} is not a list of a contract in {contract.__name__}"
        else:
            inner = {nested.column for nested in children.nested}
            fields = set(element.model_fields) - element.not_columns - inner
            yield from _unknown(
                {children.parent, *fields, *element.derived}, _columns_of(children.table), children.table
            )
            yield from _unknown({c for way in children.match for c in way.columns}, fields, element.__name__)
            yield from _list_errors(children.nested, element)


def _element_of(declared: Children, shape: Shape) -> type[Contract] | None:
    found = next((f.children for f in shape.fields if f.column == declared.column and f.children is not None), None)
    return found.contract if found is not None else None


def _route_errors(stream: Stream) -> Iterator[str]:
    if stream.unknown_code not in REJECT_CODES:
        yield f"`unknown_code` {stream.unknown_code!r} is not a reject code"
    if not stream.routes:
        yield "`routes` is empty"
    for route in stream.routes:
        for name in (*route.needs, *route.sets):
            if folded(name) not in stream.shape.by_folded:
                yield f"{route.method} {route.path} names an unknown field, {name!r}"


def _unknown(names: Iterable[str], known: Iterable[str], where: str) -> Iterator[str]:
    if missing := sorted(set(names) - set(known)):
        yield f"{', '.join(map(repr, missing))}: no column of {where}"


def _columns_of(table: str) -> set[str]:
    return set(metadata.tables[f"{SCHEMA}.{table}"].columns.keys())
