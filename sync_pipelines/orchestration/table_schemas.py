"""The columns of a table as Dagster shows them, described by the contracts that fill them.

Belongs here: contracts and tables in Dagster's words. Does not belong here: what a rule says (`docs/rules.md`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from sync_pipelines.contracts.contract import Contract, rules_in, rules_of, shape_of
from sync_pipelines.contracts.links import ByText
from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.tables.schema import SCHEMA, metadata

_COMMON: Final = {
    "id": "Surrogate key; says nothing outside this database.",
    "tenant": "Whose record it is: the folder below the partner's in the landing (X2).",
    "partner": "Whose export it came from (X2).",
    "external_id": "The match key (X2).",
    "partner_record_id": "The partner's own id (P2).",
    "extra": "Fields the contract does not know, under the names the export gave them (X3).",
    "is_placeholder": "Referred to, but not defined by a record yet (X7).",
    "deleted_at": "When it was deleted; null while it is live (X5).",
    "effective_at": "Version of the record that had the last word (X4).",
    "source_file": "Export that had the last word, relative to the landing (X4).",
    "source_position": "Where in that export (X14).",
    "run_id": "Dagster run that wrote the row last (X5).",
    "created_at": "When the row was first written (X5).",
    "updated_at": "When the row was last written (X5).",
    "line_no": "Place in the partner's list, from 1 (X14).",
    "defaulted_fields": "Fields that hold a default, because no record has sent them (O3).",
}


def table_schema(stream: Stream) -> dg.TableSchema:
    """The columns of a stream's table."""
    described = _of_contract(stream.contract) | _of_stream(stream)
    return _schema(stream.table, described, f"Not sent by {stream.full_name}; null in its rows (X1).")


def child_schemas(stream: Stream) -> dict[str, dg.TableSchema]:
    """The columns of the tables its lists fill, by table."""
    return {
        declared.table: _schema(
            declared.table,
            _of_contract(contract) | {declared.parent: "The row it belongs to (X5)."},
            "Not sent (X1).",
        )
        for declared, contract in _nested(stream.children, stream.contract)
    }


def _nested(children: Iterable[Children], contract: type[Contract]) -> Iterator[tuple[Children, type[Contract]]]:
    fields = {field.column: field for field in shape_of(contract).fields}
    for declared in children:
        inner = fields[declared.column].children
        assert inner is not None
        yield declared, inner.contract
        yield from _nested(declared.nested, inner.contract)


def _of_contract(contract: type[Contract]) -> dict[str, str]:
    """Column -> what fills it, with the rules that govern it."""
    fields = {field.column: field.alias for field in shape_of(contract).scalars}
    described = {column: _ruled(f"`{alias}`", rules_of(contract, column)) for column, alias in fields.items()}
    for column, (source, _) in contract.derived.items():
        described[column] = _ruled(f"Computed from `{fields.get(source, source)}`", rules_of(contract, column))
    return described


def _of_stream(stream: Stream) -> dict[str, str]:
    """What the stream says of columns beyond its contract: keys, links, columns shown of others."""
    described = {
        stream.key: _ruled(f"The match key, `{stream.key_alias}`", ("X2", *rules_of(stream.contract, stream.key)))
    }
    for reference in stream.references:
        link = stream.links[reference.column]
        rules = ("X7", *(link.rules if isinstance(link, ByText) else rules_in(link.__doc__)))
        described[reference.column] = _ruled(f"The row of `{SCHEMA}.{reference.table}` it refers to", rules)
    for column in stream.settled:
        described[column] = _ruled("Computed from the other columns", rules_in(stream.settle.__doc__))
    return described


def _ruled(text: str, rules: Iterable[str]) -> str:
    """The text with the rules that govern it; whether a field was sent matters for every one (X1)."""
    return f"{text} ({', '.join(dict.fromkeys(rules)) or 'X1'})."


def _schema(table: str, described: dict[str, str], otherwise: str) -> dg.TableSchema:
    columns = metadata.tables[f"{SCHEMA}.{table}"].columns
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                _type_of(column),
                described.get(column.name) or _COMMON.get(column.name) or otherwise,
                dg.TableColumnConstraints(nullable=bool(column.nullable)),
            )
            for column in columns
        ]
    )


def _type_of(column: sa.Column[Any]) -> str:
    return str(column.type.compile(dialect=postgresql.dialect())).lower()  # type: ignore[no-untyped-call]
