"""The nightly verification: a slice of the rows and of the archive, so that everything is looked at once a month.

Belongs here: the job, its options and its schedule. Does not belong here: how rows are verified
(`stages.verify_tables`), the check that reports the results (`checks`).
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import dagster as dg
from pydantic import Field

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.verified_slices import SLICES
from sync_pipelines.errors import SyncError
from sync_pipelines.orchestration.jobs import EXECUTOR
from sync_pipelines.orchestration.metadata_tables import table_of
from sync_pipelines.orchestration.outages import through_outages
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.stages.verify_archive import VerifiedArchive, verify_archive
from sync_pipelines.stages.verify_tables import Slice, Verified, verifiable, verify_stream
from sync_pipelines.stages.workspace import Workspace

VERIFY: Final = "sync_verify"
_SHOWN: Final = 20
"""Errors that a failed run lists."""


class VerifyConfig(dg.Config):
    """Options of a run."""

    partner: str = Field(default="", description="Only this partner. Empty means all.")
    stream: str = Field(default="", description="Only this stream, such as orders. Empty means all.")
    tenant: str = Field(default="", description="Only this tenant. Empty means all.")
    slice: int | None = Field(
        default=None,
        ge=0,
        lt=SLICES,
        description=f"The slice of the keys, 0 to {SLICES - 1}. Without it, the slice of today.",
    )
    everything: bool = Field(default=False, description="All keys instead of a slice.")
    repair: bool = Field(default=False, description="Correct the tables where they differ from the archive.")


def build_verify_job() -> dg.JobDefinition:
    """Returns the job, which has one step."""

    @dg.op(name="sync_verify_rows", out=dg.Out(dg.Nothing))
    def verify(
        context: dg.OpExecutionContext, config: VerifyConfig, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> None:
        workspace: Workspace = sync_pipelines_workspace
        chosen = None if config.everything else Slice(slice_of_today() if config.slice is None else config.slice)
        found = list(_verified(context, workspace, config, chosen))
        archive = _verified_archive(context, workspace, config, chosen)
        done = [(stream, tenant, result) for stream, tenant, result in found if isinstance(result, Verified)]
        context.add_output_metadata(
            {
                "slice": "all" if chosen is None else chosen.number,
                "keys": sum(result.keys for *_, result in done),
                "records": sum(result.records for *_, result in done),
                "differences": sum(result.count for *_, result in done),
                "found": table_of(_rows(done)),
                "archive_files": archive.files,
                "archive_bytes": archive.bytes,
                "archive_damages": len(archive.damages),
            }
        )
        errors = [f"{stream.full_name} of {tenant}: {e}" for stream, tenant, e in found if isinstance(e, SyncError)]
        errors += [f"{damage.path}: {damage.why}" for damage in archive.damages if not damage.is_mended]
        if errors:
            raise dg.Failure("Not everything could be verified. " + " ".join(errors[:_SHOWN]), allow_retries=False)

    @dg.job(
        name=VERIFY,
        executor_def=EXECUTOR,
        description="Compares a slice of all rows with the archive, and a slice of the archive's files with their"
        " checksums; in the launchpad, some streams or everything, with repair. The check rows_equal_archive shows the"
        " results.",
    )
    def verify_slice() -> None:
        verify()

    return verify_slice


def build_verify_schedule() -> dg.ScheduleDefinition:
    """Returns the schedule, on by default: every night, after the nightly syncs and the housekeeping."""
    return dg.ScheduleDefinition(
        name=f"{VERIFY}_daily",
        job_name=VERIFY,
        cron_schedule="0 5 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Compares one of {SLICES} slices of rows and archive at 05:00 UTC.",
    )


def slice_of_today(now: datetime | None = None) -> int:
    """Returns the number of the slice that is verified on a day (UTC)."""
    return (now or datetime.now(UTC)).date().toordinal() % SLICES


def _verified(
    context: dg.OpExecutionContext, workspace: Workspace, config: VerifyConfig, chosen: Slice | None
) -> Iterator[tuple[Stream, str, Verified | SyncError]]:
    """Yields streams and tenants with their results; one that cannot be verified does not stop the others."""
    for stream, tenant in verifiable(workspace):
        wanted = ((config.partner, stream.partner), (config.stream, stream.name), (config.tenant, tenant))
        if any(asked not in ("", own) for asked, own in wanted):
            continue

        def work(stream: Stream = stream, tenant: str = tenant) -> Verified:
            return verify_stream(workspace, stream, tenant, slice=chosen, repair=config.repair)

        try:
            result = through_outages(context.instance, context.run, workspace.database, work)
        except SyncError as error:
            yield stream, tenant, error
            continue
        if result.count:
            context.log.warning(f"{stream.full_name} of {tenant}: {counted(result.count, 'difference')}")
        yield stream, tenant, result


def _verified_archive(
    context: dg.OpExecutionContext, workspace: Workspace, config: VerifyConfig, chosen: Slice | None
) -> VerifiedArchive:
    """Reads and mends a slice of the archive's files, unless only some rows are wanted."""
    if config.partner or config.stream or config.tenant:
        return VerifiedArchive()
    part = (0, 1) if chosen is None else (chosen.number, chosen.count)

    def work() -> VerifiedArchive:
        return verify_archive(workspace, part, repair=True)

    return through_outages(context.instance, context.run, workspace.database, work)


def _rows(done: list[tuple[Stream, str, Verified]]) -> list[dict[str, Any]]:
    """Returns where the differences are; keys and values may be personal."""
    found = Counter(
        (stream.full_name, tenant, difference.table, difference.column)
        for stream, tenant, result in done
        for difference in result.differences
    )
    names = ("stream", "tenant", "table", "column")
    return [{**dict(zip(names, place, strict=True)), "differences": count} for place, count in sorted(found.items())]
