"""Three assets a stream, for the days of a run: exports -> normalized -> table.

A file that fails is written to the ledger and never stops the first two. The table's asset materializes the good
days with their own metadata and then fails, naming the others, so that they re-execute alone.

Where today is among the days and a source says so, the exports' asset pulls first. A pull that fails fails that asset
once everything else is archived; whoever runs next takes that on.

Belongs here: which files a run takes and what becomes of its days. Does not belong here: a file's way (`sync`),
words of metadata (`metadata`).
"""

import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from sync_pipelines import ledger, pulls, reports, sync
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.ledger import LedgerFile
from sync_pipelines.orchestration import metadata
from sync_pipelines.orchestration.due import is_due
from sync_pipelines.orchestration.names import Stage, asset_key, op_name, stream_name
from sync_pipelines.orchestration.partitions import PARTITIONS_PER_RUN
from sync_pipelines.orchestration.resources import Observer
from sync_pipelines.pulls import Pull
from sync_pipelines.sync import Workspace

Move = Callable[[Workspace, int, str | None], LedgerFile]
Tell = Callable[[Sequence[LedgerFile]], Mapping[str, Any]]


class ExportsFailed(dg.Failure):
    """Some days have files that failed; the others are materialized."""


class PullsFailed(ExportsFailed):
    """Today's listing could not be pulled; what the landing has is archived."""


class SyncConfig(dg.Config):
    """What a run takes, of the pending exports of its days."""

    tenants: list[str] = Field(default=[], description="Only these tenants; all when empty.")
    only_due: bool = Field(
        default=False,
        description="Leave out files that are still being written, failed a moment ago, or are set aside.",
    )
    pull: bool = Field(
        default=True,
        description="Pull the partner's listing first, where today (UTC) is among the days and a source says so.",
    )


def build_assets(stream: Stream, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """The three assets of a stream."""
    return [
        _asset(
            stream,
            "exports",
            partitions,
            _pull_and_archive,
            "Lists the landing and keeps a copy of what is new."
            + (" Before that, on today's partition, pulls what a source names." if stream.pull else ""),
        ),
        _asset(stream, "normalized", partitions, _normalize, "Reads, validates and normalizes records to Parquet."),
        _asset(
            stream, "table", partitions, _load, f"Loads changes into `sync.{stream.table}`, one transaction a file."
        ),
    ]


@dataclass(frozen=True)
class DaysRun:
    """One asset's part of a run.

    Attributes:
        context: Dagster's, with the days.
        stream: whose exports.
        config: which of them.
        workspace, observer: the resources.
    """

    context: dg.AssetExecutionContext
    stream: Stream
    config: SyncConfig
    workspace: Workspace
    observer: Observer

    @property
    def days(self) -> list[date]:
        """The days of the run, in order."""
        return [date.fromisoformat(key) for key in self.context.partition_keys]

    def pull(self, today: date) -> list[Pull]:
        """Pulls the stream's listing where this run is to do so."""
        if not self.config.pull or today not in self.days:
            return []
        found = pulls.pull(self.workspace, self.stream, self.config.tenants)
        for pulled in found:
            self.observer.pulled(pulled)
        return found

    def to_archive(self, pending: Iterable[LedgerFile], whole: Collection[str] = ()) -> list[LedgerFile]:
        """The discovered files this run takes on, those known to be whole at once; failed ones become pending."""
        return self._taken_on(self._chosen(pending, whole))

    def archived(self) -> list[LedgerFile]:
        """The archived files that are to go on, in version order.

        Where this run archives too, a file marked as failed has failed in it or was not taken on. Otherwise (a failed
        table re-executed alone) failed files are what it is about.
        """
        with self.workspace.connection() as connection:
            entries = ledger.to_load(connection, self.stream.partner, self.stream.name, self.days)
        archived = self._chosen(entry for entry in entries if entry.sha256)
        return [e for e in archived if e.status == "pending"] if self._archives() else self._taken_on(archived)

    def _archives(self) -> bool:
        """Whether the exports' asset is part of this run."""
        steps = self.context.run.step_keys_to_execute or [node.name for node in self.context.job_def.nodes]
        return op_name("exports", self.stream) in steps

    def _taken_on(self, entries: list[LedgerFile]) -> list[LedgerFile]:
        with self.workspace.connection() as connection:
            for entry in entries:
                ledger.mark_pending(connection, entry.id)
        return entries

    def _chosen(self, entries: Iterable[LedgerFile], whole: Collection[str] = ()) -> list[LedgerFile]:
        tenants = {self.stream.normalize_tenant(tenant) or tenant for tenant in self.config.tenants}
        now = datetime.now(UTC)
        return [
            entry
            for entry in entries
            if (not tenants or entry.tenant in tenants)
            and (not self.config.only_due or entry.path in whole or is_due(entry, now))
        ]

    def failed(self, entries: Iterable[LedgerFile]) -> list[LedgerFile]:
        """The files that failed in this run, or wait to be tried again by one like it."""
        mine = self.context.run.run_id
        return [e for e in entries if e.status == "failed" and e.run_id and (e.run_id == mine or self.config.only_due)]

    def by_day(self) -> dict[date, list[LedgerFile]]:
        """Every file of those days, whatever its status."""
        with self.workspace.connection() as connection:
            entries = ledger.of_dates(connection, self.stream.partner, self.stream.name, self.days)
        found: dict[date, list[LedgerFile]] = {day: [] for day in self.days}
        for entry in entries:
            found[entry.partition_date].append(entry)
        return found

    def move(self, stage: Stage, entries: Iterable[LedgerFile], step: Move) -> dict[date, float]:
        """Takes files through a stage; returns the seconds each day took."""
        seconds: dict[date, float] = {}
        for entry in entries:
            started = time.monotonic()
            self.observer.reached(stage, step(self.workspace, entry.id, self.context.run.run_id))
            spent = time.monotonic() - started
            seconds[entry.partition_date] = seconds.get(entry.partition_date, 0.0) + spent
        return seconds


def _pull_and_archive(run: DaysRun) -> None:
    today = datetime.now(UTC).date()
    pulled = run.pull(today)
    dates = (run.days[0], run.days[-1])
    found = sync.discover(run.workspace, run.stream.partner, run.stream.name, dates=dates)
    run.move("exports", run.to_archive(found.pending, {p.path for p in pulled}), sync.archive_export)
    told = {day: metadata.arrived(entries) for day, entries in run.by_day().items()}
    if pulled:
        told[today]["pulled"] = metadata.pulled(pulled)
    if failed := [p for p in pulled if p.error]:
        _materialize_good_days(run.context, {day: told[day] for day in told if day != today})
        raise _pull_failure(failed, pulled)
    for day, values in told.items():
        run.context.add_asset_metadata(values, partition_key=day.isoformat())


def _normalize(run: DaysRun) -> None:
    run.move("normalized", run.archived(), sync.normalize_export)
    for day, entries in run.by_day().items():
        run.context.add_asset_metadata(metadata.normalized(entries), partition_key=day.isoformat())


def _load(run: DaysRun) -> None:
    seconds = run.move("table", run.archived(), sync.load_export)
    by_day = run.by_day()
    with run.workspace.connection() as connection:
        rejects = reports.reject_summary(connection, run.stream.partner, run.stream.name, run.days)
        rows = reports.live_rows(connection, run.stream)
    told = {
        day: metadata.loaded(run.stream, entries, rejects.get(day, []), seconds.get(day, 0.0))
        for day, entries in by_day.items()
    }
    told[run.days[-1]]["dagster/row_count"] = rows
    failed = {day: bad for day, entries in by_day.items() if (bad := run.failed(entries))}
    if failed:
        _materialize_good_days(run.context, {day: told[day] for day in told if day not in failed})
        raise _failure(failed, len(by_day))
    for day, values in told.items():
        run.context.add_asset_metadata(values, partition_key=day.isoformat())


def _materialize_good_days(context: dg.AssetExecutionContext, told: Mapping[date, Mapping[str, Any]]) -> None:
    """Marks days of a run that is about to fail; only events logged before the failure stay."""
    for day, values in told.items():
        context.log_event(dg.AssetMaterialization(context.asset_key, partition=day.isoformat(), metadata=values))


def _failure(failed: Mapping[date, Sequence[LedgerFile]], days: int) -> ExportsFailed:
    entries = [entry for day in sorted(failed) for entry in failed[day]]
    names = ", ".join(day.isoformat() for day in sorted(failed)[:10]) + (", ..." if len(failed) > 10 else "")
    first = f"{entries[0].path}: {entries[0].error}"
    return ExportsFailed(
        f"{len(failed)} of {days} days have exports that failed ({names}); the first: {first}",
        metadata={"failed_files": metadata.failed_files(entries)},
        allow_retries=False,
    )


def _pull_failure(failed: Sequence[Pull], pulled: Sequence[Pull]) -> PullsFailed:
    first = f"{failed[0].tenant}: {failed[0].error}"
    return PullsFailed(
        f"{len(failed)} of {len(pulled)} pulls failed; the first: {first}. "
        "Materialize this partition again today to pull again; what the landing has is loaded by the next run.",
        metadata={"pulled": metadata.pulled(pulled)},
        allow_retries=False,
    )


def _asset(
    stream: Stream,
    stage: Stage,
    partitions: dg.PartitionsDefinition[str],
    body: Callable[[DaysRun], None],
    description: str,
) -> dg.AssetsDefinition:
    before: dict[Stage, list[dg.AssetKey]] = {
        "exports": [],
        "normalized": [asset_key("exports", stream)],
        "table": [asset_key("normalized", stream)],
    }

    def compute(
        context: dg.AssetExecutionContext,
        config: SyncConfig,
        workspace: dg.ResourceParam[Any],
        observer: dg.ResourceParam[Any],
    ) -> None:
        body(DaysRun(context, stream, config, workspace, observer))

    with warnings.catch_warnings():
        # Backfill policies are called beta since Dagster 1.8 and warn at every import.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.asset(
            key=asset_key(stage, stream),
            deps=before[stage],
            group_name=stream.partner,
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=PARTITIONS_PER_RUN),
            pool=stream_name(stream),
            description=f"{stream.description}\n\n{description}".strip(),
            metadata=metadata.table_definition(stream) if stage == "table" else {},
            kinds={"postgres"} if stage == "table" else {"parquet"} if stage == "normalized" else {"file"},
        )(compute)
