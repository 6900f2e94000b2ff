"""The tables for assets of other projects: a resource to read them, and an IO manager that loads them as inputs.

Both read as the user of `SYNC_READER_URL`, or as `sync_reader` of the embedded database, and need only the settings
`SYNC_*`. How to use them: `docs/build_on_the_tables.md`.

Belongs here: the Dagster interfaces for reading. Does not belong here: how rows become a DataFrame
(`database.table_frames`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database.postgres import open_database
from sync_pipelines.database.table_frames import Where, read_frame, relation_of
from sync_pipelines.tables.lineage import lineage_of
from sync_pipelines.tables.views import find_view

if TYPE_CHECKING:
    import pandas as pd

INPUT_MANAGER: Final = "tables_io_manager"
"""The resource key under which `table_input` looks for a `TablesIOManager`."""
_PREFIX: Final = "tables"
_METADATA: Final = "sync_pipelines/read"


class Tables(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The synced tables, read only."""

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Reads rows of a table or view as a DataFrame.

        Args:
            table: `orders` reads the live orders; `sync.orders` reads the table with deleted rows and placeholders.
            columns: in the order wanted; None is all of them.
            where: column -> value (a list matches any of its values, None matches null); or a condition in SQL with
                named parameters, such as `ordered_at >= %(since)s`.
            parameters: name -> value.

        Raises:
            ValueError: there is no such table or column; the message names the nearest.
            ConfigurationError: the database has no tables yet.
            DatabaseUnavailable: the server does not answer.
        """
        return read_frame(open_database(load_settings()).reader, table, columns, where, parameters)


class TablesIOManager(dg.ConfigurableIOManager):
    """Loads inputs whose upstream asset is one of the four tables, such as `tables/orders`."""

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Reads the live rows of the upstream table, or what `table_input` selects."""
        chosen: dict[str, Any] = dict((context.definition_metadata or {}).get(_METADATA) or {})
        table = chosen.pop("table", None) or context.asset_key.path[-1]
        return Tables().read(table, **chosen)

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Writes nothing: streams fill the tables.

        Raises:
            DagsterInvariantViolationError: an asset's output was given to it.
        """
        asset = context.asset_key.to_user_string() if context.has_asset_key else context.name
        raise dg.DagsterInvariantViolationError(
            f"{type(self).__name__} only reads the tables; give {asset} another io_manager_key"
        )


def table_input(
    table: str,
    columns: Sequence[str] | None = None,
    where: Where | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> dg.AssetIn:
    """Returns the input of an asset that takes a table or view as a DataFrame; arguments as for `Tables.read`.

    The upstream asset is the one of the main table: `tables/orders` for `order_items` and `order_revenue`, too.
    Values have to fit in JSON; write a time as text, which PostgreSQL reads as a time.
    """
    given = {"columns": columns and list(columns), "where": where, "parameters": parameters}
    chosen = {"table": table} | {name: value for name, value in given.items() if value is not None}
    return dg.AssetIn(
        key=dg.AssetKey([_PREFIX, _main_table(table)]), input_manager_key=INPUT_MANAGER, metadata={_METADATA: chosen}
    )


def _main_table(table: str) -> str:
    """The main table whose asset stands for a table or view."""
    relation = relation_of(table)
    view = find_view(relation)
    tables = lineage_of(relation if view is None else view.table)
    if not tables:
        raise ValueError(f"{table} belongs to no asset; read it with the resource Tables")
    return tables[-1].name
