"""Assets of whole tables, `tables/<table>`, each downstream of the streams that write it.

A run that loads exports counts the tables it wrote and reports a materialization of each, so they are current without
runs of their own. Materializing one by hand counts it again.

Belongs here: these assets and their counts. Does not belong here: their checks (`table_checks`), their columns
(`table_schemas`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import reports
from sync_pipelines.database.reports import RowCounts
from sync_pipelines.orchestration import descriptions
from sync_pipelines.orchestration.dagster_names import TABLES, asset_key, table_key
from sync_pipelines.orchestration.metadata_tables import table_of
from sync_pipelines.orchestration.outages import through_outages
from sync_pipelines.orchestration.table_schemas import child_tables, whole_schema
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.tables.schema import SCHEMA

_NO_PARTITIONS: Final = dg.SpecificPartitionsPartitionMapping([])
"""A table is counted as a whole, whichever days are loaded: days without exports do not make it stale."""


def tables_of(streams: Iterable[Stream]) -> dict[str, list[Stream]]:
    """Returns every table that the streams write -> the streams that write it, by records or by placeholders."""
    writers: dict[str, list[Stream]] = {}
    for stream in streams:
        for table in written_tables(stream):
            writers.setdefault(table, []).append(stream)
    return writers


def written_tables(stream: Stream) -> list[str]:
    """Returns the tables that a stream writes, its own first."""
    return list(dict.fromkeys([stream.table, *(reference.table for reference in stream.references)]))


def build_table_asset(table: str, writers: Sequence[Stream], owners: Sequence[str] = ()) -> dg.AssetsDefinition:
    """Returns the asset of a table that some streams write."""

    @dg.asset(
        key=table_key(table),
        deps=[dg.AssetDep(asset_key("rows", stream), partition_mapping=_NO_PARTITIONS) for stream in writers],
        group_name=TABLES,
        owners=owners,
        description=descriptions.table_description(table, writers),
        kinds={"postgres", "table"},
        metadata={
            "dagster/table_name": f"{SCHEMA}.{table}",
            "dagster/column_schema": whole_schema(table),
            **{f"columns of {SCHEMA}.{child}": whole_schema(child) for child in child_tables(table, writers)},
        },
    )
    def count(
        context: dg.AssetExecutionContext, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> dg.MaterializeResult[None]:
        workspace: Workspace = sync_pipelines_workspace

        def work() -> dict[str, RowCounts]:
            with workspace.connection() as connection:
                return reports.row_counts(connection, table)

        rows = through_outages(context.instance, context.run, workspace.database, work)
        return dg.MaterializeResult(metadata=table_metadata(rows))

    return count


def count_tables(workspace: Workspace, tables: Iterable[str]) -> dict[str, dict[str, RowCounts]]:
    """Returns table -> partner -> how many rows of each kind."""
    with workspace.connection() as connection:
        return {table: reports.row_counts(connection, table) for table in tables}


def table_metadata(rows: Mapping[str, RowCounts]) -> dict[str, Any]:
    """Returns the metadata of a table's materialization: all rows, and how many of each kind."""
    live, placeholders, deleted = (
        sum(getattr(of_partner, kind) for of_partner in rows.values()) for kind in ("live", "placeholders", "deleted")
    )
    return {
        "dagster/row_count": live + placeholders + deleted,
        "live": live,
        "placeholders": placeholders,
        "deleted": deleted,
        "by_partner": table_of([{"partner": partner, **asdict(of_partner)} for partner, of_partner in rows.items()]),
    }


def report_tables(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, counts: Mapping[str, Mapping[str, RowCounts]]
) -> None:
    """Reports a materialization of each table that a run wrote, from its step.

    Args:
        context: of the step.
        counts: table -> partner -> its rows.
    """
    for table, rows in counts.items():
        context.log_event(dg.AssetMaterialization(table_key(table), metadata=table_metadata(rows)))
