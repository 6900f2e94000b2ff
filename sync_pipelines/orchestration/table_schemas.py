"""Columns of a table as Dagster shows them, described by the contracts that fill them.

Belongs here: contracts and tables as Dagster schemas. Does not belong here: what a rule says (`docs/rules.md`).
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
from sync_pipelines.tables.schema import SCHEMA, metadata

Described = Mapping[str, tuple[str, tuple[str, ...]]]
"""Column -> a sentence, and the ids of the rules that govern it."""

_COMMON: Final[Described] = {
    "id": ("Surrogate key. It means nothing outside this database.", ()),
    "tenant": ("Tenant of the record: the folder below the partner's folder in the landing.", ("X2",)),
    "partner": ("Partner that sent the record.", ("X2",)),
    "external_id": ("Key that matches records to rows.", ("X2",)),
    "partner_record_id": ("The partner's own id of the record.", ("P2",)),
    "extra": ("Fields that the contract does not know, under their names in the export.", ("X3",)),
    "is_placeholder": ("Whether other rows refer to this one before any record has defined it.", ("X7",)),
    "deleted_at": ("When the record was deleted. Null while it is live.", ("X5",)),
    "effective_at": ("Version of the record that last changed the row.", ("X4",)),
    "source_file": ("Export that last changed the row, relative to the landing.", ("X4",)),
    "source_position": ("Position of the record in that export.", ("X14",)),
    "run_id": ("Dagster run that last wrote the row.", ("X5",)),
    "created_at": ("When the row was first written.", ("X5",)),
    "updated_at": ("When the row was last written.", ("X5",)),
    "line_no": ("Position in the partner's list, from 1.", ("X14",)),
    "defaulted_fields": ("Fields that hold a default, because no record has sent them.", ("O3",)),
}


def stream_schema(stream: Stream) -> dg.TableSchema:
    """Returns the columns of a stream's table, described by its contract."""
    absent = (f"Not in the exports of {stream.full_name}, so null in their rows.", ("X1",))
    return _schema(stream.table, _of_contract(stream.contract) | _of_stream(stream), absent)


def child_schemas(stream: Stream) -> dict[str, dg.TableSchema]:
    """Returns the columns of the child tables that a stream fills, by table."""
    return {
        declared.table: _schema(
            declared.table,
            _of_contract(contract) | {declared.parent: ("Row that this one belongs to.", ("X5",))},
            (f"Not in the exports of {stream.full_name}, so null in their rows.", ("X1",)),
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


def _of_contract(contract: type[Contract]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Returns what the contract says about its columns."""
    fields = {field.column: field.alias for field in shape_of(contract).scalars}
    described = {
        column: (f"Field `{alias}` of the export.", rules_of(contract, column)) for column, alias in fields.items()
    }
    for column, (source, _) in contract.derived.items():
        described[column] = (f"Computed from the field `{fields.get(source, source)}`.", rules_of(contract, column))
    return described


def _of_stream(stream: Stream) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Returns what the stream says about columns beyond its contract: keys, links, computed ones."""
    key = f"Key that matches records to rows: field `{stream.key_alias}` of the export."
    described = {stream.key: (key, ("X2", *rules_of(stream.contract, stream.key)))}
    for reference in stream.references:
        link = stream.links[reference.column]
        rules = ("X7", *(link.rules if isinstance(link, ByText) else rules_in(link.__doc__)))
        described[reference.column] = (f"Row of `{SCHEMA}.{reference.table}` that this one refers to.", rules)
    for column in stream.settled:
        described[column] = ("Computed from the other columns.", rules_in(stream.settle.__doc__))
    return described


def _schema(table: str, described: Described, otherwise: tuple[str, tuple[str, ...]]) -> dg.TableSchema:
    columns = metadata.tables[f"{SCHEMA}.{table}"].columns
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                _type_of(column),
                _sentence(*(described.get(column.name) or _COMMON.get(column.name) or otherwise)),
                dg.TableColumnConstraints(nullable=bool(column.nullable)),
            )
            for column in columns
        ]
    )


def _sentence(text: str, rules: Iterable[str]) -> str:
    """Returns the text with the rules at its end; whether a field was sent matters for every one (X1)."""
    named = list(dict.fromkeys(rules)) or ["X1"]
    return text if text == _COMMON["id"][0] else f"{text} Rule{'' if len(named) == 1 else 's'} {', '.join(named)}."


def _type_of(column: sa.Column[Any]) -> str:
    return str(column.type.compile(dialect=postgresql.dialect())).lower()  # type: ignore[no-untyped-call]
