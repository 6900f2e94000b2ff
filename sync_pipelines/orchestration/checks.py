"""Checks of what was loaded, over the ledger and the tables.

Belongs here: what a check asks and how bad its answer is. Does not belong here: guarding a load (`upsert` does, in
the load's own transaction).
"""

from typing import Any

import dagster as dg

from sync_pipelines import reports
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.names import asset_key


def build_checks(stream: Stream) -> list[dg.AssetChecksDefinition]:
    """The checks of a stream's table."""

    @dg.asset_check(
        asset=asset_key("table", stream),
        name="accounting_balances",
        description="Every record read has exactly one outcome, in every loaded file.",
    )
    def accounting_balances(workspace: dg.ResourceParam[Any]) -> dg.AssetCheckResult:
        with workspace.connection() as connection:
            balance = reports.accounting(connection, stream)
        return dg.AssetCheckResult(
            passed=not balance.unbalanced,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{balance.read:,} records in {balance.files:,} files"
            + (f"; {balance.unbalanced:,} files do not add up" if balance.unbalanced else " all add up"),
            metadata={"files": balance.files, "read": balance.read, "unbalanced": balance.unbalanced},
        )

    return [accounting_balances]
