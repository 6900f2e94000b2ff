"""`sync-pipelines sync --watch`: syncs what arrives until Ctrl-C, as the sensors of `up` do.

A round loads the exports that are complete and due; the others wait for a later round. It looks at the landing every
few seconds, or less often if a look takes long. It waits for a database or landing that does not answer.

Belongs here: rounds, the time between them, and the line printed for each export. Does not belong here: when an export
is due (`orchestration.due`), runs (`orchestration.runs`).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sync_pipelines.command_line import typed
from sync_pipelines.commands.progress import line_of
from sync_pipelines.commands.screen import json_of, notify, say, shown
from sync_pipelines.commands.sync import LOADED, Selection, answer, exit_status, worst
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ConfigurationError, DatabaseUnavailable, LandingUnavailable, SyncError
from sync_pipelines.orchestration.due import ATTEMPTS, due_at, is_due, is_set_aside, look_of
from sync_pipelines.stages import export_stages, pulls
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.killed_runs import mark_killed
from sync_pipelines.stages.pulls import Pull
from sync_pipelines.stages.workspace import open_landing

_EVERY: Final = 5.0
_RESTS: Final = 60
_LONGEST_REST: Final = 120.0
"""Seconds between looks at the landing: `_EVERY`, or `_RESTS` times what a look takes, at most `_LONGEST_REST`."""
_PULL_AGAIN: Final = timedelta(hours=1)


def run(selection: Selection, *, as_json: bool) -> int:
    """Syncs what arrives until Ctrl-C or SIGTERM.

    Returns:
        The exit status of a sync that handled all of it: 0, 3, 4 or 5. An interrupt while an export is loaded is
        raised.
    """
    # A shell starts background jobs with SIGINT ignored.
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        watch = _Watch(selection, as_json, export_stages.open_workspace(load_settings()))
        watch.workspace.landing.reach()
        notify(f"Watching {watch.workspace.settings.landing_shown} for exports. Ctrl-C stops.")
        while (due := _next(watch)) is not None:
            watch.sync(*due)
        notify("stopped")
        return watch.status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _next(watch: _Watch) -> tuple[list[LedgerFile], list[Stream]] | None:
    """Waits for exports that are due and streams to pull; returns None when the user stops the watch."""
    try:
        while True:
            due, to_pull = watch.look()
            if due or to_pull:
                return due, to_pull
            _pause(watch.rest)
    except KeyboardInterrupt:
        return None


def _pause(seconds: float) -> None:
    time.sleep(seconds)


@dataclass
class _Watch:
    """What is known from earlier rounds.

    Attributes:
        selection: which exports are watched for.
        as_json: whether each round prints one JSON object on a line.
        workspace: opened again when `sources.yaml` changes or the connection to the database is lost.
        rest: seconds until the next look.
    """

    selection: Selection
    as_json: bool
    workspace: Workspace
    rest: float = _EVERY
    _looks: Mapping[int, str] = field(default_factory=dict)
    _unread: dict[int, str | None] = field(default_factory=dict)
    _statuses: dict[str, int] = field(default_factory=dict)
    """Exit status by path, of the exports and pulls that are not loaded without a reject."""
    _pull_at: datetime | None = None
    _sources: tuple[int, int] | None = None
    _trouble: str | None = None

    def __post_init__(self) -> None:
        self._sources = self._sources_mark()

    @property
    def status(self) -> int:
        """The exit status of a sync that handled all exports so far; one that was loaded later counts as loaded."""
        return worst(self._statuses.values())

    def look(self) -> tuple[list[LedgerFile], list[Stream]]:
        """Returns the exports that are due, and the streams to pull; none while something does not answer."""
        began = time.monotonic()
        try:
            self._follow_sources()
            found = self._discover()
        except (LandingUnavailable, DatabaseUnavailable, ConfigurationError) as error:
            self._wait_for(error)
            return [], []
        self._trouble = None
        self.rest = max(_EVERY, min(_RESTS * (time.monotonic() - began), _LONGEST_REST))
        now = datetime.now(UTC)
        self._report_unread(found.failed)
        due = [entry for entry in found.pending if is_due(entry, now) and self._is_unchanged(entry)]
        self._looks = {entry.id: look_of(entry) for entry in found.pending}
        if any(not is_set_aside(entry) for entry in found.pending):
            self.rest = _EVERY
        return due, self._to_pull(now)

    def sync(self, due: Sequence[LedgerFile], to_pull: Collection[Stream]) -> None:
        """Loads exports, pulls listings, and prints the results."""
        from sync_pipelines.orchestration.runs import run_pending

        handled = _Handled(self)
        try:
            with self.workspace.keeping_connections() as keeping:
                run_pending(keeping, due, handled, self.selection.tenant, to_pull, only_due=True)
        except (LandingUnavailable, DatabaseUnavailable) as error:
            self._wait_for(error)
            _pause(self.rest)
        if handled.failed_pulls:
            self._pull_at = datetime.now(UTC) + _PULL_AGAIN
        self._note(list(handled.entries.values()), handled.failed_pulls)

    def forget_pull(self, pull: Pull) -> None:
        """Forgets that an earlier pull of the same listing failed."""
        self._statuses.pop(_listing_of(pull), None)

    def say(self, line: str) -> None:
        """Prints a line with the time (UTC), on standard error where the answer is JSON."""
        (notify if self.as_json else say)(f"{datetime.now(UTC):%H:%M:%S} {line}")

    def _discover(self) -> export_stages.Discovery:
        if self._trouble is not None:
            # The embedded server may have to be started again.
            self.workspace = export_stages.open_workspace(self.workspace.settings)
        mark_killed(self.workspace)
        chosen = self.selection
        return export_stages.discover(self.workspace, chosen.partner, chosen.stream, chosen.tenant, chosen.dates)

    def _follow_sources(self) -> None:
        """Reads `sources.yaml` again once it has changed."""
        mark = self._sources_mark()
        if mark != self._sources:
            settings, sources = self.workspace.settings, load_sources(self.workspace.settings.sources)
            self.workspace = replace(self.workspace, sources=sources, landing=open_landing(settings, sources))
            self._sources = mark
            self.say(f"{settings.sources.name} changed and was read again")

    def _sources_mark(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.workspace.settings.sources)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _to_pull(self, now: datetime) -> list[Stream]:
        """The streams to pull: with the first round of each day (UTC), and an hour after a pull that failed."""
        if self._pull_at is not None and now < self._pull_at:
            return []
        chosen = self.selection
        self._pull_at = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return pulls.streams_to_pull(self.workspace.sources, chosen.partner, chosen.stream, chosen.tenant, chosen.dates)

    def _is_unchanged(self, entry: LedgerFile) -> bool:
        return self._looks.get(entry.id, look_of(entry)) == look_of(entry)

    def _report_unread(self, failed: Sequence[LedgerFile]) -> None:
        """Prints exports that fail unread, such as those of an unknown tenant: once each, until the reason changes."""
        new = [entry for entry in failed if self._unread.get(entry.id) != entry.error]
        self._unread = {entry.id: entry.error for entry in failed}
        for entry in new:
            self.say(line_of(entry))
        self._note(new, ())

    def _note(self, entries: Sequence[LedgerFile], failed_pulls: Sequence[Pull]) -> None:
        for entry in entries:
            self._statuses[entry.path] = exit_status([entry])
        for pull in failed_pulls:
            self._statuses[_listing_of(pull)] = exit_status([], [pull])
        self._statuses = {path: status for path, status in self._statuses.items() if status != LOADED}
        if self.as_json and (entries or failed_pulls):
            print(json_of(answer(entries, failed_pulls)), flush=True)

    def _wait_for(self, error: SyncError) -> None:
        """Prints why nothing can be done, once, and has the next look wait."""
        self.rest = 3 * _EVERY
        if self._trouble != error.message:
            self._trouble = error.message
            self.say(f"error: {error.message}; trying again every {self.rest:.0f} s")


class _Handled:
    """Prints a line for each export that is done, and remembers them.

    Args:
        watch: prints the lines.
    """

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        self.entries: dict[int, LedgerFile] = {}
        self.failed_pulls: list[Pull] = []

    def started(self, entry: LedgerFile) -> None:
        """Does nothing."""

    def reached(self, stage: str, entry: LedgerFile) -> None:
        """Prints an export that is loaded or failed."""
        if stage == "rows" or entry.status == "failed":
            self.entries[entry.id] = entry
            self._watch.say(line_of(entry) + _next_attempt(entry))

    def pulled(self, pull: Pull) -> None:
        """Prints a listing that was pulled, or was not."""
        self._watch.forget_pull(pull)
        if pull.error:
            self.failed_pulls.append(pull)
            self._watch.say(f"failed {pull.path}: {pull.error}")
        else:
            self._watch.say(f"pulled {pull.path}: {shown(pull.records)} records")


def _next_attempt(entry: LedgerFile) -> str:
    if entry.status != "failed":
        return ""
    if is_set_aside(entry):
        return f"; set aside after {ATTEMPTS} attempts, to try it again: {typed('sync')}"
    at = due_at(entry)
    return f"; next attempt at {at.astimezone(UTC):%H:%M} UTC" if at else ""


def _listing_of(pull: Pull) -> str:
    return f"{pull.partner}/{pull.tenant}/{pull.stream}"
