"""The job `explain_row`: why a row has its values, as a table in the events of its run.

Belongs here: the job, its configuration, and the way to it from sample rows. Does not belong here: the explanation
(`stages.explain`).
"""

import shlex
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg
from pydantic import Field

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.errors import SyncError
from sync_pipelines.orchestration.jobs import EXECUTOR
from sync_pipelines.orchestration.metadata_tables import table_of
from sync_pipelines.orchestration.outages import through_outages
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.as_of import moment_of
from sync_pipelines.stages.explain import Asked, Explained, NothingToExplain, explain
from sync_pipelines.stages.explained_tables import record_table, row_table
from sync_pipelines.stages.workspace import Workspace

EXPLAIN: Final = "explain_row"
_STEP: Final = "sync_explain"


class ExplainConfig(dg.Config):
    """Which row to explain."""

    table: str = Field(description="Table, view, or table of a list, such as orders, live_orders or order_items.")
    tenant: str = Field(description="Tenant of the row.")
    key: str = Field(description="Key of the row, or the partner's own id.")
    column: str = Field(default="", description="Only this column. Empty means all.")
    partner: str = Field(default="", description="Partner, if several have the key.")
    at: str = Field(
        default="", description="By the records until this date (its end, in UTC) or time. Empty means now."
    )


class NotExplained(dg.Failure):
    """The row cannot be explained; in one sentence."""


def build_explain_job() -> dg.JobDefinition:
    """Returns the job, which has one step."""

    @dg.op(name=_STEP, out=dg.Out(dg.Nothing))
    def explain_row(
        context: dg.OpExecutionContext, config: ExplainConfig, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> None:
        workspace: Workspace = sync_pipelines_workspace

        def work() -> Explained:
            with workspace.connection() as connection:
                return explain(connection, workspace.settings.archive, _asked(config))

        try:
            found = through_outages(context.instance, context.run, workspace.database, work)
        except (NothingToExplain, SyncError, ValueError) as error:
            raise NotExplained(on_one_line(str(error)), allow_retries=False) from None
        context.add_output_metadata(_metadata(found))

    @dg.job(
        name=EXPLAIN,
        executor_def=EXECUTOR,
        description="Explains a row: every record of its key, what each one said, and the row now or at a date."
        " The table is in the metadata of the run's only output. Personal values are masked.",
    )
    def explain_one_row() -> None:
        explain_row()

    return explain_one_row


def explain_command(stream: Stream, sample: Mapping[str, Any]) -> str:
    """Returns the command that explains a sample row."""
    key = sample.get("external_id") or sample.get("partner_record_id") or ""
    words = ["sync-pipelines", "explain", stream.table, str(sample.get("tenant", "")), str(key)]
    return shlex.join([*words, "--partner", stream.partner])


def launchpad_path(run: dg.DagsterRun | None, default: str) -> str:
    """Returns the path of the job's launchpad in the UI.

    Args:
        run: a run of the same code location.
        default: the name of the code location of runs that were not started from one.
    """
    origin = None if run is None else run.remote_job_origin
    location = default if origin is None else origin.repository_origin.code_location_origin.location_name
    return f"/locations/{location}/jobs/{EXPLAIN}/playground"


def _asked(config: ExplainConfig) -> Asked:
    at = moment_of(config.at) if config.at.strip() else None
    return Asked(config.table, config.tenant, config.key, config.column or None, config.partner or None, at)


def _metadata(found: Explained) -> dict[str, Any]:
    records = counted(len(found.records), "record")
    summary = f"{records} of {found.stream.full_name}, the oldest first." if found.stream else "No record has this key."
    heads, rows = record_table(found)
    return {
        "summary": dg.MetadataValue.text(summary),
        "records": table_of([dict(zip(heads, row, strict=True)) for row in rows]),
        "row": table_of(
            [{"column": name, "value": value} for row in found.rows for name, value in row_table(found, row)]
        ),
        **({"referred_by": table_of([{"record": line} for line in found.referred_by])} if found.referred_by else {}),
    }
