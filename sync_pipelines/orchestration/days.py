"""A run of some of a stream's assets: its days, and which files of them it takes.

Belongs here: choosing files and taking them through the stages. Does not belong here: results of the days
(`assets`), the stages of a file (`stages.export_stages`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import psycopg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.orchestration.dagster_names import STAGES, Stage, asset_key
from sync_pipelines.orchestration.due import is_due
from sync_pipelines.orchestration.resources import Observer
from sync_pipelines.orchestration.run_config import SyncConfig
from sync_pipelines.privacy.untrusted_text import storable
from sync_pipelines.stages import export_stages, preview, pulls
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.pulls import Pull
from sync_pipelines.stages.release import held_revision, release


@dataclass
class Moved:
    """The files that went through the stages of a run.

    Attributes:
        entries: the files, as they are afterwards.
        seconds: how long each day took; all stages together, because they overlap.
    """

    entries: list[LedgerFile] = field(default_factory=list)
    seconds: dict[date, float] = field(default_factory=dict)

    def add(self, entry: LedgerFile, seconds: float) -> None:
        """Adds a file that went through the stages."""
        self.entries.append(entry)
        self.seconds[entry.partition_date] = self.seconds.get(entry.partition_date, 0.0) + seconds

    @property
    def failed(self) -> list[LedgerFile]:
        """The files that failed."""
        return [entry for entry in self.entries if entry.status == "failed"]

    @property
    def held(self) -> list[LedgerFile]:
        """The files that a guard holds."""
        return [entry for entry in self.entries if entry.status == "held"]


@dataclass(frozen=True)
class DaysRun:
    """A run of some of a stream's assets.

    Attributes:
        context: Dagster's, with the days and the selected assets.
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

    @property
    def stages(self) -> list[Stage]:
        """The stages whose assets are selected, in order."""
        selected = self.context.selected_asset_keys
        return [stage for stage in STAGES if asset_key(stage, self.stream) in selected]

    def pull(self, today: date) -> list[Pull]:
        """Pulls the stream's listing if this run has to; returns the pulls."""
        if "exports" not in self.stages or not self.config.pull or self.config.preview or today not in self.days:
            return []
        found = pulls.pull(self.workspace, self.stream, self.config.tenants)
        for pulled in found:
            self.observer.pulled(pulled)
        return found

    def pending(self, whole: Collection[str] = ()) -> list[LedgerFile]:
        """Returns the files that this run loads, in version order; failed ones become pending.

        If it loads only files that may kill the process, those with the fewest attempts are first.

        Args:
            whole: paths of files that are known to be complete.
        """
        if self.config.release:
            return self._released()
        found = {entry.id: entry for entry in self._discovered(whole)} if "exports" in self.stages else {}
        if self.stages != ["exports"]:
            found |= {entry.id: entry for entry in self._archived() if entry.id not in found}
        if self.config.killers == "only":
            return sorted(found.values(), key=lambda entry: entry.attempts)
        return sorted(found.values(), key=lambda entry: entry.version)

    def _released(self) -> list[LedgerFile]:
        """Releases the exports that the run names, unless that is done, and returns those to load."""
        with self.workspace.connection() as connection:
            found = [held_revision(ledger.revisions_of(connection, storable(path))) for path in self.config.release]
        reason = self.config.reason.strip() or "released in the launchpad"
        release(self.workspace, found, reason, f"Dagster run {self.context.run.run_id}")
        with self.workspace.connection() as connection:
            entries = ledger.of_ids(connection, [entry.id for entry in found])
        return self._taken_on([entry for entry in entries if entry.status in ledger.WAITING])

    def _discovered(self, whole: Collection[str]) -> list[LedgerFile]:
        chosen = self._chosen(self._killers_or_others(self.discover().pending), whole)
        return chosen if self.config.preview else self._taken_on(chosen)

    def _archived(self) -> list[LedgerFile]:
        """Returns the archived files to load.

        If this run archives too, it skipped the files that are still marked as failed. Otherwise (only the table is
        materialized again) the failed files are the ones to load.
        """
        with self.workspace.connection() as connection:
            entries = ledger.unloaded(connection, self.stream.partner, self.stream.name, self.days)
        archived = self._chosen(entry for entry in entries if entry.sha256)
        if self.config.preview:
            return archived
        if "exports" in self.stages:
            return [entry for entry in archived if entry.status == "pending"]
        return self._taken_on(self._killers_or_others(archived))

    def to_preview(self) -> list[LedgerFile]:
        """Returns the files that the same run without `preview` would load now, in version order."""
        found = {entry.id for entry in self.discover().pending} if "exports" in self.stages else None
        with self.workspace.connection() as connection:
            entries = ledger.unloaded(connection, self.stream.partner, self.stream.name, self.days)
        chosen = self._chosen(entries)
        if found is None:
            return [entry for entry in chosen if entry.sha256]
        return [e for e in chosen if e.id in found or (e.status == "pending" and e.sha256)]

    def loaded_before(self) -> list[LedgerFile]:
        """Returns the loaded files of the run's days, in version order."""
        return [e for entries in self.by_day().values() for e in self._of_tenants(entries) if e.status == "loaded"]

    def discover(self) -> export_stages.Discovery:
        """Compares the landing with the ledger, for the run's days."""
        dates = (self.days[0], self.days[-1])
        return export_stages.discover(self.workspace, self.stream.partner, self.stream.name, dates=dates)

    def _taken_on(self, entries: list[LedgerFile]) -> list[LedgerFile]:
        with self.workspace.connection() as connection:
            for entry in entries:
                ledger_changes.mark_pending(connection, entry.id)
        return entries

    def _chosen(self, entries: Iterable[LedgerFile], whole: Collection[str] = ()) -> list[LedgerFile]:
        now = datetime.now(UTC)
        return [
            entry
            for entry in self._of_tenants(entries)
            if not self.config.only_due or entry.path in whole or is_due(entry, now)
        ]

    def _killers_or_others(self, entries: Iterable[LedgerFile]) -> list[LedgerFile]:
        """The files that `killers` selects. Call it before they become pending, which clears their errors."""
        wanted = {"with": (True, False), "without": (False,), "only": (True,)}[self.config.killers]
        return [entry for entry in entries if entry.has_killed_a_run in wanted]

    def _of_tenants(self, entries: Iterable[LedgerFile]) -> list[LedgerFile]:
        return [entry for entry in entries if not self.config.tenants or entry.tenant in self.config.tenants]

    def failed(self, entries: Iterable[LedgerFile]) -> list[LedgerFile]:
        """Returns the files that failed in this run, or that wait for a retry by such a run."""
        mine = self.context.run.run_id
        return [e for e in entries if e.status == "failed" and e.run_id and (e.run_id == mine or self.config.only_due)]

    def by_day(
        self, connection: psycopg.Connection[Any] | None = None, instead: Iterable[LedgerFile] = ()
    ) -> dict[date, list[LedgerFile]]:
        """Returns every file of the run's days, whatever its status.

        Args:
            connection: whose view of the ledger; a new one by default.
            instead: entries that replace those of the ledger.
        """
        if connection is None:
            with self.workspace.connection() as opened:
                return self.by_day(opened, instead)
        entries = ledger.of_dates(connection, self.stream.partner, self.stream.name, self.days)
        others = {entry.id: entry for entry in instead}
        found: dict[date, list[LedgerFile]] = {day: [] for day in self.days}
        for entry in entries:
            found[entry.partition_date].append(others.get(entry.id, entry))
        return found

    def move(self, entries: Iterable[LedgerFile]) -> Moved:
        """Takes files through the selected stages, one after the other."""
        moved, stage, step = Moved(), self.stages[-1], self._step()
        for entry in entries:
            began = time.monotonic()
            self.observer.started(entry)
            through = step(self.workspace, entry.id, self.context.run.run_id)
            self.observer.reached(stage, through)
            moved.add(through, time.monotonic() - began)
        return moved

    def _step(self) -> Callable[[Workspace, int, str | None], LedgerFile]:
        """The function that takes a file to the last selected stage, earlier stages included."""
        last = self.stages[-1]
        if self.config.preview:
            # The entry has the error, the ledger does not.
            return lambda workspace, file_id, _: preview.prepare(workspace, file_id, normalizes=last != "exports")
        if last == "exports":
            return export_stages.archive_export
        return export_stages.normalize_export if last == "records" else export_stages.load_export
