"""One sensor for each stream: compares the landing's listing with the ledger and requests runs for due exports.

The ledger is the truth. The cursor only has size and time of the waiting files at the last tick.

Belongs here: what a tick requests, and its text. Does not belong here: looking (`looks`), waiting (`due`).
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ConfigurationError, LandingUnavailable
from sync_pipelines.orchestration.activity import bury_orphans, busy_dates, is_busy, start_partitions, unfinished_runs
from sync_pipelines.orchestration.dagster_names import job_name, sensor_name
from sync_pipelines.orchestration.due import ATTEMPTS, BACK_OFF, due_at, is_due, is_set_aside, look_of
from sync_pipelines.orchestration.jobs import run_config
from sync_pipelines.orchestration.looks import look_at
from sync_pipelines.orchestration.partitions import Dates, contiguous
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.workspace import Workspace

REQUESTS_PER_TICK: Final = 20
SECONDS_BETWEEN_TICKS: Final = 15
EXPORTS_TAG: Final = "sync/exports"
_REMEMBERED: Final = 2_000


def build_sensor(stream: Stream, first: date) -> dg.SensorDefinition:
    """Returns the sensor of a stream, on by default.

    Args:
        stream: whose exports it looks for.
        first: the first partition of these definitions.
    """

    @dg.sensor(
        name=sensor_name(stream),
        job_name=job_name(stream),
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks for exports of {stream.full_name} that are not loaded yet and syncs their days.",
    )
    def arrivals(
        context: dg.SensorEvaluationContext, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> dg.SensorResult:
        workspace: Workspace = sync_pipelines_workspace
        bury_orphans(context.instance, workspace)
        try:
            found = look_at(workspace, stream)
        except (LandingUnavailable, ConfigurationError) as error:
            return dg.SensorResult(skip_reason=on_one_line(str(error)), cursor=context.cursor)
        if isinstance(found, float):
            reason = f"still looking at the landing, for {found:.0f} s; a later tick continues"
            return dg.SensorResult(skip_reason=reason, cursor=context.cursor)
        start_partitions(context.instance, workspace)
        tick = Tick(stream, context.instance, found.pending, _remembered(context.cursor), datetime.now(UTC), first)
        requests = tick.requests() + tick.refreshed(found.gone)
        if requests:
            context.log.info(tick.summary())
        return dg.SensorResult(
            run_requests=requests, skip_reason=None if requests else tick.summary(), cursor=tick.cursor()
        )

    return arrivals


@dataclass
class Tick:
    """One tick: a stream's pending files and the runs to request for them.

    Attributes:
        stream: whose files.
        instance: to read existing runs from.
        pending: pending and failed entries of the ledger.
        before: size and time of files at the previous tick, by ledger id.
        now: the time of this tick.
        first: the first partition.
    """

    stream: Stream
    instance: dg.DagsterInstance
    pending: list[LedgerFile]
    before: dict[str, str]
    now: datetime
    first: date

    def __post_init__(self) -> None:
        self.ready = [entry for entry in self.pending if is_due(entry, self.now) and not self._changed(entry)]
        busy = busy_dates(unfinished_runs(self.instance), self.stream) if self.ready else []
        self.free = [entry for entry in self.ready if not is_busy(entry.partition_date, busy)]
        self.crashed = 0
        self.asked = 0

    def requests(self) -> list[dg.RunRequest]:
        """Returns a run for each range of contiguous days with due files, the earliest first, up to a tick's limit."""
        by_day: dict[date, list[LedgerFile]] = defaultdict(list)
        for entry in self.free:
            by_day[entry.partition_date].append(entry)
        asked: list[dg.RunRequest] = []
        for days in contiguous(by_day, since=self.first):
            if len(asked) == REQUESTS_PER_TICK:
                break
            entries = [entry for day in days for entry in by_day[day]]
            if request := self._request(days, entries):
                asked.append(request)
                self.asked += len(entries)
        return asked

    def refreshed(self, gone: Iterable[LedgerFile]) -> list[dg.RunRequest]:
        """Returns runs of days whose failed exports were removed from the landing, so that they are no longer red."""
        by_day: dict[date, list[LedgerFile]] = defaultdict(list)
        for entry in gone:
            by_day[entry.partition_date].append(entry)
        pending = {entry.partition_date for entry in self.pending}
        return [
            dg.RunRequest(
                run_key=f"{self.stream.full_name}:{days}:gone:{_digest(e for day in days for e in by_day[day])}",
                tags=days.tags,
                run_config=run_config(self.stream, only_due=True, pull=False),
            )
            for days in contiguous(by_day.keys() - pending, since=self.first)[:REQUESTS_PER_TICK]
        ]

    def summary(self) -> str:
        """Returns the backlog in one line, for the tick's text."""
        alive = [entry for entry in self.pending if not is_set_aside(entry)]
        later = [moment for entry in alive if (moment := due_at(entry)) and moment > self.now]
        aside = len(self.pending) - len(alive)
        parts = [
            f"{len(self.pending)} pending",
            f"{self.asked} requested now",
            f"{len(self.ready) - len(self.free)} on days a run is busy with",
            f"{len(self.free) - self.asked - self.crashed} for the next ticks",
            f"{len(alive) - len(self.ready) - len(later)} still being written",
            f"{len(later)} failed and tried again from {min(later):%H:%M:%S} UTC" if later else "",
            f"{self.crashed} whose runs crashed, waiting" if self.crashed else "",
            f"{aside} set aside after {ATTEMPTS} attempts: sync-pipelines sync tries them" if aside else "",
        ]
        return "; ".join(part for part in parts if part and not part.startswith("0 ")) or "nothing pending"

    def cursor(self) -> str:
        """Returns the new cursor: size and time of the newest pending files. Older files do not grow."""
        newest = sorted(self.pending, key=lambda entry: entry.modified_at, reverse=True)[:_REMEMBERED]
        return json.dumps({str(entry.id): look_of(entry) for entry in newest})

    def _changed(self, entry: LedgerFile) -> bool:
        return self.before.get(str(entry.id), look_of(entry)) != look_of(entry)

    def _request(self, days: Dates, entries: list[LedgerFile]) -> dg.RunRequest | None:
        """One run for some days; None if an earlier one for the same files crashed a moment ago."""
        digest = _digest(entries)
        earlier = self.instance.get_run_records(dg.RunsFilter(tags={EXPORTS_TAG: digest}), limit=ATTEMPTS)
        if earlier:
            since = self.now - earlier[0].update_timestamp
            if len(earlier) >= ATTEMPTS or since < BACK_OFF[min(len(earlier), len(BACK_OFF)) - 1]:
                self.crashed += len(entries)
                return None
        tags = {**days.tags, EXPORTS_TAG: digest, "dagster/priority": "10"}
        key = f"{self.stream.full_name}:{days}:{digest}:{len(earlier)}"
        return dg.RunRequest(run_key=key, tags=tags, run_config=run_config(self.stream, only_due=True, pull=False))


def _digest(entries: Iterable[LedgerFile]) -> str:
    """Identifies a set of files by content and attempts: Dagster never runs the same run key again."""
    looks = sorted(f"{entry.id} {entry.revision} {entry.attempts} {look_of(entry)}" for entry in entries)
    return hashlib.sha256("\n".join(looks).encode()).hexdigest()[:20]


def _remembered(cursor: str | None) -> dict[str, str]:
    try:
        found = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
