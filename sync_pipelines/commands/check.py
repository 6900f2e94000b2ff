"""`sync-pipelines check`: checks settings, sources, database and landing, and explains how to fix each error.

Belongs here: the order of the checks, and notes. Does not belong here: texts of errors (where they are raised).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from pydantic import SecretStr

from sync_pipelines.commands.misplaced import SHOWN
from sync_pipelines.commands.rights import check_rights, is_powerful
from sync_pipelines.commands.screen import say
from sync_pipelines.configuration.pull_settings import PullSettings
from sync_pipelines.configuration.setting_origins import origin_of, unknown_variables
from sync_pipelines.configuration.settings import Settings, load_settings, variable_of
from sync_pipelines.configuration.sources import Sources, load_sources
from sync_pipelines.contracts.characters import matches
from sync_pipelines.contracts.near_names import near_name
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.postgres import migrate, open_database
from sync_pipelines.database.reader_role import READER, provide_reader
from sync_pipelines.errors import ConfigurationError, LedgerLost, SyncError
from sync_pipelines.exports.file_dates import SHAPES
from sync_pipelines.exports.formats import why_no_format
from sync_pipelines.exports.landing import LandingFile
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.partners import STREAMS, UNUSABLE, find_stream
from sync_pipelines.privacy.redaction import redacted
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.lost_ledger import check_ledger
from sync_pipelines.stages.misplaced import ENDING, Misplaced, find_misplaced
from sync_pipelines.stages.workspace import open_landing

_NOTE: Final = "NOTE "
"""The start of a finding that is not an error, but worth a look."""
_OF_SETTINGS: Final = {"database_url": "database_shown", "alert_webhook": "webhook_shown"}
"""Settings that are shown with the text of a property: name -> property."""
_WITHOUT: Final = {
    "reader_url": "the user of SYNC_DATABASE_URL",
    "sftp_key_file": "the SSH agent's keys and those in ~/.ssh",
    "sftp_known_hosts": "the keys that ssh knows",
    "keep_raw_days": "forever",
    "ui_url": "not set; messages have no links",
}
"""What a setting that is not set means."""
_PLACES: Final = {"environment": "the environment", ".env": ".env", "default": "the defaults"}


@dataclass
class _Report:
    """Prints each finding and keeps the worst status."""

    status: int = 0

    def look(self, what: str, check: Callable[[], Iterator[str | SyncError]]) -> None:
        """Runs a check and prints what it finds; an error does not stop the checks that follow."""
        try:
            findings = list(check())
        except SyncError as error:
            findings = [error]
        for finding in findings:
            if isinstance(finding, SyncError):
                self._error(what, finding)
            elif finding.startswith(_NOTE):
                say(f"NOTE   {what}: {finding.removeprefix(_NOTE)}")
            else:
                say(f"ok     {what}: {finding}")

    def _error(self, what: str, error: SyncError) -> None:
        self.status = max(self.status, error.exit_status)
        say(f"ERROR  {what}: {error.message}")
        if error.hint:
            say(f"       {error.hint}")


def run(settings: Settings | None = None) -> int:
    """Prints every finding and returns the worst status: 4 an export's path, 2 configuration, 1 anything else.

    Args:
        settings: to check; those of this process by default.
    """
    report = _Report()
    settings = settings or load_settings()
    report.look("settings", lambda: _settings(settings))
    report.look("partners", _partners)
    report.look("sources", lambda: _sources(settings))
    for place, pull in _pulls(_sources_or_none(settings)):
        report.look(f"pull of {place}", partial(_pull, pull))
    report.look("database", lambda: _database(settings))
    report.look("landing", lambda: _landing(settings))
    return report.status


def _partners() -> Iterator[str | SyncError]:
    """Partners of installed packages; the project's own need no check."""
    for package in dict.fromkeys(stream.package for stream in STREAMS if stream.package):
        yield f"{package}: {', '.join(stream.full_name for stream in STREAMS if stream.package == package)}"
    for one in UNUSABLE:
        yield ConfigurationError("partner_unusable", str(one), "correct the package, or uninstall it")


def _settings(settings: Settings) -> Iterator[str]:
    for name in Settings.model_fields:
        yield f"{variable_of(name)} = {_shown(settings, name)} ({origin_of(name)})"
    for unknown in unknown_variables(_secret_names(_sources_or_none(settings))):
        near = f"did you mean {unknown.near}?" if unknown.near else "it is ignored"
        yield f"{_NOTE}unknown setting {unknown.name} in {_PLACES[unknown.place]}; {near}"


def _secret_names(sources: Sources) -> set[str]:
    """The environment variables that hold the secrets of pulls."""
    return {secret.env for _, pull in _pulls(sources) for secret in pull.secrets}


def _shown(settings: Settings, name: str) -> str:
    """Returns a setting's value without its secrets."""
    if name in _OF_SETTINGS:
        return str(getattr(settings, _OF_SETTINGS[name]))
    value = getattr(settings, name)
    if value is None:
        return _WITHOUT.get(name, "not set")
    if isinstance(value, bool):
        return "on" if value else "off"
    return "***" if isinstance(value, SecretStr) else redacted(str(value))


def _sources(settings: Settings) -> Iterator[str]:
    sources = load_sources(settings.sources)
    if not settings.sources.exists():
        yield f"{settings.sources} does not exist; tenants are the folders in the landing"
    for partner in dict.fromkeys(stream.partner for stream in STREAMS):
        if listed := sources.listed.get(partner):
            yield f"{partner}: {', '.join(sorted(listed))}"


def _pulls(sources: Sources) -> Iterator[tuple[str, PullSettings]]:
    """Yields every source that is pulled, with the folder its exports go to."""
    for (partner, tenant, stream), found in sources.streams.items():
        if found.pull is not None:
            yield f"{partner}/{tenant}/{stream}", found.pull


def _pull(pull: PullSettings) -> Iterator[str]:
    """Checks that a pull has all it needs, without a request to the partner."""
    for secret in pull.secrets:
        secret.reveal()
    yield f"settings are complete; no request was sent to {pull.url}"
    if pull.url.startswith("http://"):
        yield f"{_NOTE}the URL is not https; secrets travel unencrypted"


def _sources_or_none(settings: Settings) -> Sources:
    """Returns the sources; none if they are invalid, which another check reports."""
    try:
        return load_sources(settings.sources)
    except ConfigurationError:
        return Sources()


def _database(settings: Settings) -> Iterator[str | SyncError]:
    database = open_database(settings)
    check_rights(database)
    migrate(database)
    with database.connect() as connection:
        if missing := provide_reader(connection):
            statements = " ".join(f"{statement};" for statement in missing)
            yield f"NOTE the role {READER} cannot read every table yet; have an administrator run: {statements}"
    with database.reader.connect() as connection:
        version = connection.info.server_version
        if is_powerful(connection):
            yield f"{_NOTE}the user may run programs on the server, so `sync-pipelines sql` needs SYNC_READER_URL"
    yield f"PostgreSQL {version // 10_000}.{version % 10_000} at {database.place}, schema up to date"
    with database.connect() as connection:
        try:
            check_ledger(connection, settings.archive)
        except LedgerLost as error:
            yield error


def _landing(settings: Settings) -> Iterator[str | SyncError]:
    sources = _sources_or_none(settings)
    landing = open_landing(settings, sources)
    reached = landing.reach()
    if reached.server:
        yield f"{settings.landing_shown} at {redacted(reached.server)}, as {reached.user or 'the default user'}"
    if reached.is_empty and not reached.has_folders:
        yield f"{_NOTE}{settings.landing_shown} is empty: check its prefix, unless no export has arrived yet"
        return
    places = {(partner, tenant, name): 0 for partner, tenant, name in landing.streams()}
    undated: dict[tuple[str, str, str], list[str]] = {}
    errors: dict[str, SyncError] = {}
    endings: list[Misplaced] = []
    for stream in STREAMS:
        for file in landing.list(stream.partner, stream.name):
            if file.error is not None:
                errors.setdefault(file.path, file.error)
            elif (unknown := _ending(sources, stream, file)) is not None:
                endings.append(unknown)
            else:
                place = (stream.partner, file.tenant_folder, stream.name)
                places[place] = places.get(place, 0) + 1
                if not _is_dated(sources, stream, file):
                    undated.setdefault(place, []).append(file.below)
    for (partner, tenant, name), exports in sorted(places.items()):
        if (known := find_stream(partner, name)) is not None:
            yield _place(sources, known, tenant, exports)
        if (place := (partner, tenant, name)) in undated:
            yield f"{_NOTE}{'/'.join(place)}: {_undated(undated[place])}"
    yield from errors.values()
    misplaced = [*find_misplaced(landing, sources), *endings]
    yield from (f"{_NOTE}{one.path} {one.why}; nothing in it is loaded; {one.hint}" for one in misplaced[:SHOWN])
    if len(misplaced) > SHOWN:
        yield f"{_NOTE}and {len(misplaced) - SHOWN:,} more files and folders that belong to no stream"
    if not places and not errors and not misplaced:
        yield f"{settings.landing_shown} has no exports yet; put them at <partner>/<tenant>/<stream>/<file>"


def _is_dated(sources: Sources, stream: Stream, file: LandingFile) -> bool:
    """Returns whether an export has its date in its path."""
    return file.dated_at(sources.for_folder(stream, file.tenant_folder).file_date) is not None


def _undated(files: list[str]) -> str:
    """Returns the note on exports that are dated by their modification time (X4)."""
    have = "1 export has" if len(files) == 1 else f"{len(files):,} exports have"
    return (
        f"{have} no date in the path, such as {on_one_line(files[0])}, and the modification time is used instead."
        f" Write dates as {SHAPES}, describe yours in `file_date`, or set `file_date: required` to fail such files"
    )


def _ending(sources: Sources, stream: Stream, file: LandingFile) -> Misplaced | None:
    """Returns the file if its extension has no known format, so that a sync would fail it; else None."""
    settings = sources.for_folder(stream, file.tenant_folder)
    is_left_out = settings.path is not None and not matches(file.below, settings.path)
    if is_left_out or file.parts is not None or settings.format is not None or file.below.lower().endswith(".zip"):
        return None
    error = why_no_format(file.below)
    return None if error is None else Misplaced(file.path, ENDING, error.hint, stream.partner)


def _place(sources: Sources, stream: Stream, tenant: str, exports: int) -> str:
    """Returns the finding on a stream's folder."""
    place = f"{stream.partner}/{tenant}/{stream.name}"
    listed = sources.tenants(stream.partner)
    known = stream.normalize_tenant(tenant)
    if known is None or (listed is not None and known not in listed):
        near = near_name(tenant, listed) if listed else None
        return f"{_NOTE}{place}: unknown tenant, its files fail" + (f"; did you mean {near}?" if near else "")
    return f"{place}: {counted(exports, 'export')}"
