"""Every declaration of the registry fits the tables, and says what the engine can carry out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sync_pipelines.contracts.codes import REJECT_CODES
from sync_pipelines.contracts.contract import Contract
from sync_pipelines.contracts.streams import Children, Reference, Stream
from sync_pipelines.partners import STREAMS
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.tables.schema import MAIN_TABLES, SCHEMA, metadata

each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.full_name)


def columns_of(table: str) -> set[str]:
    return set(metadata.tables[f"{SCHEMA}.{table}"].columns.keys())


def nested(children: tuple[Children, ...], contract: type[Contract]) -> Iterator[tuple[Children, type[Contract]]]:
    """Declared lists with the contract of their elements."""
    for declared in children:
        (element,) = (a for a in _parts(contract.model_fields[declared.column].annotation) if _is_contract(a))
        yield declared, element
        yield from nested(declared.nested, element)


def _parts(annotation: object) -> Iterator[type]:
    arguments = getattr(annotation, "__args__", ())
    if not arguments and isinstance(annotation, type):
        yield annotation
    for argument in arguments:
        yield from _parts(argument)


def _is_contract(part: type) -> bool:
    return issubclass(part, Contract)


@each_stream
def test_what_records_speak_of_are_columns(stream: Stream) -> None:
    assert stream.table in {table.name for table in MAIN_TABLES}
    columns = columns_of(stream.table)
    assert {*stream.written, *stream.merges, stream.key, stream.record_id or "id"} <= columns
    assert {reference.column for reference in stream.references} <= columns
    assert stream.links.keys() == {reference.column for reference in stream.references}
    assert stream.scope is None or stream.scope in stream.links
    tables = {children.table for children in stream.children}
    assert set(stream.required_new) <= columns | tables


@each_stream
def test_lists_are_child_tables_of_their_parent(stream: Stream) -> None:
    for declared, element in nested(stream.children, stream.contract):
        inner = {children.column for children in declared.nested}
        spoken = set(element.model_fields) - element.not_columns - inner
        assert {declared.parent, *spoken, *element.derived} <= columns_of(declared.table)
        assert {column for way in declared.match for column in way.columns} <= spoken


@each_stream
def test_calls_name_lists_and_fields_there_are(stream: Stream) -> None:
    assert stream.unknown_code in REJECT_CODES
    assert stream.routes
    fields = stream.shape
    for route in stream.routes:
        assert all(fields.column_of(name) for name in (*route.needs, *route.sets)), route.path


@each_stream
def test_names_can_be_folders_and_asset_keys(stream: Stream) -> None:
    assert stream.partner.isidentifier() and stream.name.isidentifier()
    same_asset = [s for s in STREAMS if (s.table, s.partner) == (stream.table, stream.partner)]
    assert same_asset == [stream]


@each_stream
def test_no_delete_where_the_key_alone_does_not_tell_the_row(stream: Stream) -> None:
    asked = {operation for route in stream.routes for operation in (route.operation, *route.lists.values())}
    assert stream.scope is None or ("delete" not in asked and stream.delete_flag is None)


def test_a_reference_to_the_own_table_is_refused() -> None:
    with pytest.raises(ValueError, match="replenit/orders: a reference to its own table, orders, is not supported"):
        replace(ORDERS, references=(Reference(column="parent_id", table="orders"),))
