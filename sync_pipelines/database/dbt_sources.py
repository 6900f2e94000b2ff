"""The tables and views as a source of dbt, with descriptions and tests.

Tests are derived from the schema: keys are `unique` and `not_null`, parents and foreign keys `relationships`,
closed sets of values `accepted_values`.

Belongs here: the content of `sources.yml`. Does not belong here: printing it (`commands.dbt_sources`), the descriptions
(`comments`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from sync_pipelines.contracts.contract import Contract
from sync_pipelines.database.comments import contracts_of, described_relations
from sync_pipelines.partners import STREAMS
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.tables.views import VIEWS, View

Test = str | dict[str, Any]
SOURCE: Final = "sync"
_INTERNAL: Final = frozenset({"commerce_pairs", "key_runs", "key_pages", "export_outcomes", "unnamed_objects"})
"""Internal tables."""
_COMPUTED: Final = {"customer_is_deleted": "boolean", "items_total": "numeric"}


def build_sources() -> dict[str, Any]:
    """Returns the content of a `sources.yml`."""
    described = described_relations()
    views = {view.name: view for view in VIEWS}
    tables = [
        {
            "name": name,
            "description": described[name][0],
            "columns": [
                _column(column, text, *_origin(views.get(name), name, column))
                for column, text in described[name][1].items()
            ],
        }
        for name in described
        if name not in _INTERNAL
    ]
    description = "Commerce data that sync_pipelines keeps equal to the partners' exports. Start from live_* views."
    source = {"name": SOURCE, "schema": SCHEMA, "description": description, "tables": tables}
    return {"version": 2, "sources": [source]}


def _origin(view: View | None, name: str, column: str) -> tuple[sa.Column[Any] | None, bool]:
    """The table's column that a column shows, None if it is computed; and whether its values are unique here."""
    if view is None:
        found = metadata.tables[f"{SCHEMA}.{name}"].columns[column]
        return found, _is_unique(found)
    source = view.added[column].source if column in view.added else (view.table, column)
    if source is None:
        return None, False
    found = metadata.tables[f"{SCHEMA}.{source[0]}"].columns[source[1]]
    return found, source[0] == view.table and _is_unique(found)


def _column(name: str, description: str, shown: sa.Column[Any] | None, is_unique: bool) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "description": description, "data_type": _type_of(name, shown)}
    if shown is not None and (tests := list(_tests(shown, is_unique))):
        column["data_tests"] = tests
    return column


def _tests(column: sa.Column[Any], is_unique: bool) -> Iterator[Test]:
    if is_unique:
        yield "unique"
    if not column.nullable:
        yield "not_null"
    if (target := _target(column)) is not None:
        yield {"relationships": {"to": f"source('{SOURCE}', '{target}')", "field": "id"}}
    if values := column.info.get("values") or _choices(column):
        yield {"accepted_values": {"values": list(values)}}


def _is_unique(column: sa.Column[Any]) -> bool:
    """Whether the primary key or a unique constraint is this column alone."""
    keys = [c for c in column.table.constraints if isinstance(c, sa.PrimaryKeyConstraint | sa.UniqueConstraint)]
    return any(list(key.columns) == [column] for key in keys)


def _target(column: sa.Column[Any]) -> str | None:
    """The table that the column refers to by id."""
    for key in column.foreign_keys:
        return str(key.column.table.name)
    info = column.table.info
    return str(info["parent"]) if info.get("parent_column") == column.name else None


def _choices(column: sa.Column[Any]) -> list[str]:
    """The values that every contract which fills the column allows; none if one of them allows any."""
    contracts = [c for s in STREAMS for table, c in contracts_of(s) if table == column.table.name]
    found = [values for contract in contracts if (values := _enumerated(contract, column.name)) is not None]
    return list(dict.fromkeys(value for values in found for value in values)) if all(found) else []


def _enumerated(contract: type[Contract], column: str) -> list[str] | None:
    """The values that a contract allows in a column, [] for any; None if it does not fill the column."""
    declared = contract.model_json_schema(by_alias=False)["properties"].get(column)
    if declared is None or column in contract.not_columns:
        return None
    options = [declared, *declared.get("anyOf", [])]
    return next((option["enum"] for option in options if "enum" in option), [])


def _type_of(name: str, shown: sa.Column[Any] | None) -> str:
    if shown is None:
        return _COMPUTED[name]
    return str(shown.type.compile(dialect=postgresql.dialect())).lower()  # type: ignore[no-untyped-call]
