"""Columns of a table as Dagster shows them: the content, the field that fills it, and the rules for it.

Belongs here: contracts and tables as Dagster schemas. Does not belong here: the content of a
column (`tables.descriptions`), the text of a rule (`docs/rules.md`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from sync_pipelines.contracts.contract import Contract, rules_in, rules_of, shape_of
from sync_pipelines.contracts.links import ByText
from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.database.comments import with_fields
from sync_pipelines.tables.schema import SCHEMA, metadata

Described = Mapping[str, tuple[str, tuple[str, ...]]]
"""Column -> the source of its value, and the ids of the rules for it."""

_COMMON: Final[Mapping[str, str]] = {
    "tenant": "X2",
    "partner": "X2",
    "external_id": "X2",
    "partner_record_id": "P2",
    "extra": "X3",
    "is_placeholder": "X7",
    "deleted_at": "X5",
    "effective_at": "X4",
    "source_file": "X4",
    "source_position": "X14",
    "run_id": "X5",
    "created_at": "X5",
    "updated_at": "X5",
    "line_no": "X14",
    "defaulted_fields": "O3",
}
"""Column that every table may have -> the rule for it."""


def stream_schema(stream: Stream) -> dg.TableSchema:
    """Returns the columns of a stream's table, as the stream fills them."""
    return _schema(stream.table, _of_contract(stream.contract) | _of_stream(stream), stream)


def child_schemas(stream: Stream) -> dict[str, dg.TableSchema]:
    """Returns the columns of the child tables that a stream fills, by table."""
    return {
        declared.table: _schema(declared.table, _of_contract(contract) | {declared.parent: ("", ("X5",))}, stream)
        for declared, contract in _nested(stream.children, stream.contract)
    }


def child_tables(table: str, writers: Iterable[Stream]) -> list[str]:
    """Returns the child tables of a table."""
    children = (child for stream in writers if stream.table == table for child in child_schemas(stream))
    return list(dict.fromkeys(children))


def whole_schema(table: str) -> dg.TableSchema:
    """Returns the columns of a table, with the fields of every stream that fills it."""
    columns = metadata.tables[f"{SCHEMA}.{table}"].columns
    return dg.TableSchema([_column(column, with_fields(table, column.name)) for column in columns])


def _nested(children: Iterable[Children], contract: type[Contract]) -> Iterator[tuple[Children, type[Contract]]]:
    fields = {field.column: field for field in shape_of(contract).fields}
    for declared in children:
        inner = fields[declared.column].children
        assert inner is not None
        yield declared, inner.contract
        yield from _nested(declared.nested, inner.contract)


def _of_contract(contract: type[Contract]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Returns the sources of the contract's columns."""
    fields = {field.column: field.alias for field in shape_of(contract).scalars}
    described = {column: (f"From the field `{alias}`.", rules_of(contract, column)) for column, alias in fields.items()}
    for column, (source, _) in contract.derived.items():
        described[column] = (f"Computed from the field `{fields.get(source, source)}`.", rules_of(contract, column))
    return described


def _of_stream(stream: Stream) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Returns the sources of the stream's other columns: keys, links, computed ones."""
    described = {stream.key: (f"From the field `{stream.key_alias}`.", ("X2", *rules_of(stream.contract, stream.key)))}
    for reference in stream.references:
        link = stream.links[reference.column]
        rules = ("X7", *(link.rules if isinstance(link, ByText) else rules_in(link.__doc__)))
        described[reference.column] = (f"Refers to `{SCHEMA}.{reference.table}`.", rules)
    for column in stream.computed:
        described[column] = ("Computed from other columns.", rules_in(stream.compute.__doc__))
    return described


def _schema(table: str, described: Described, stream: Stream) -> dg.TableSchema:
    absent = (f"Not in the exports of {stream.full_name}, so null in their rows.", ("X1",))

    def text(column: sa.Column[Any]) -> str:
        known = described.get(column.name)
        if known is None and (column.name == "id" or column.name in _COMMON):
            known = "", tuple(filter(None, [_COMMON.get(column.name)]))
        source, rules = known or absent
        return " ".join(filter(None, [column.comment, source, _sentence(rules, is_field=bool(source))]))

    return dg.TableSchema([_column(column, text(column)) for column in metadata.tables[f"{SCHEMA}.{table}"].columns])


def _column(column: sa.Column[Any], description: str) -> dg.TableColumn:
    constraints = dg.TableColumnConstraints(nullable=bool(column.nullable))
    return dg.TableColumn(column.name, _type_of(column), description, constraints)


def _sentence(rules: Iterable[str], *, is_field: bool) -> str:
    """Returns a sentence with the rules. X1 applies to every field."""
    named = list(dict.fromkeys(rules)) or (["X1"] if is_field else [])
    return f"Rule{'s' if len(named) > 1 else ''} {', '.join(named)}." if named else ""


def _type_of(column: sa.Column[Any]) -> str:
    return str(column.type.compile(dialect=postgresql.dialect())).lower()  # type: ignore[no-untyped-call]
