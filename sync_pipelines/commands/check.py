"""`sync-pipelines check`: settings, sources, database and landing, each with what to do about its fault.

Belongs here: the order and the words. Does not belong here: the faults' own sentences (raised where they occur).
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
from sync_pipelines.configuration.settings import Settings, load_settings, variable_of
from sync_pipelines.configuration.sources import Sources, load_sources
from sync_pipelines.contracts.characters import matches
from sync_pipelines.contracts.near_names import near_name
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.postgres import migrate, open_database
from sync_pipelines.errors import ConfigurationError, SyncError
from sync_pipelines.exports.file_dates import SHAPES
from sync_pipelines.exports.formats import why_no_format
from sync_pipelines.exports.landing import LandingFile
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.privacy.redaction import redacted
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.misplaced import ENDING, Misplaced, find_misplaced
from sync_pipelines.stages.workspace import open_landing

_OF_SETTINGS: Final = {"database_url": "database_shown", "alert_webhook": "webhook_shown"}
"""Settings that have a sentence of their own: name -> property."""
_WITHOUT: Final = {
    "reader_url": "questions are asked as above",
    "sftp_key_file": "the keys of the SSH agent and of ~/.ssh",
    "sftp_known_hosts": "the keys that ssh knows",
    "keep_raw_days": "for ever",
    "ui_url": "messages have no link",
}
"""What holds where a setting is not set."""


@dataclass
class _Report:
    """Says each finding at once and keeps the worst status."""

    status: int = 0

    def look(self, what: str, question: Callable[[], Iterator[str | SyncError]]) -> None:
        """Asks; a fault is said with its remedy, and the next question is asked all the same."""
        try:
            answers = list(question())
        except SyncError as error:
            answers = [error]
        for answer in answers:
            if isinstance(answer, SyncError):
                self._fault(what, answer)
                continue
            say(
                f"{'' if answer.startswith('NOTE') else 'ok     '}{what}: {answer}".replace(
                    f"{what}: NOTE", f"NOTE   {what}:"
                )
            )

    def _fault(self, what: str, error: SyncError) -> None:
        self.status = max(self.status, error.exit_status)
        say(f"FAULT  {what}: {error.message}")
        if error.hint:
            say(f"       {error.hint}")


def run() -> int:
    """Prints every finding; returns the status of the worst: 4 a path of the landing, 2 the configuration, 1 others."""
    report = _Report()
    settings = load_settings()
    report.look("settings", lambda: _settings(settings))
    report.look("sources", lambda: _sources(settings))
    for place, pull in _pulls(_sources_or_none(settings)):
        report.look(f"pull of {place}", partial(_pull, pull))
    report.look("database", lambda: _database(settings))
    report.look("landing", lambda: _landing(settings))
    return report.status


def _settings(settings: Settings) -> Iterator[str]:
    for name in Settings.model_fields:
        yield f"{variable_of(name)} = {_shown(settings, name)}" + ("" if settings.is_given(name) else " (default)")


def _shown(settings: Settings, name: str) -> str:
    """A setting's value without its secrets."""
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
        yield f"{settings.sources} is not there; the landing's folders are the tenants"
    for partner in dict.fromkeys(stream.partner for stream in STREAMS):
        if listed := sources.listed.get(partner):
            yield f"{partner}: {', '.join(sorted(listed))}"


def _pulls(sources: Sources) -> Iterator[tuple[str, PullSettings]]:
    """Every source that is pulled, by the folder its exports go to."""
    for (partner, tenant, stream), found in sources.streams.items():
        if found.pull is not None:
            yield f"{partner}/{tenant}/{stream}", found.pull


def _pull(pull: PullSettings) -> Iterator[str]:
    """Whether everything a pull needs is there; the partner is not asked."""
    for secret in pull.secrets:
        secret.reveal()
    yield f"settings complete; nothing was asked of {pull.url}"
    if pull.url.startswith("http://"):
        yield "NOTE the URL is not https; secrets travel unencrypted"


def _sources_or_none(settings: Settings) -> Sources:
    """The sources, or none where they are wrong: that was said already."""
    try:
        return load_sources(settings.sources)
    except ConfigurationError:
        return Sources()


def _database(settings: Settings) -> Iterator[str]:
    database = open_database(settings)
    check_rights(database)
    migrate(database)
    with database.reader.connect() as connection:
        version = connection.info.server_version
        if is_powerful(connection):
            yield "NOTE the user may run programs on the server; `sync-pipelines sql` needs SYNC_READER_URL"
    yield f"PostgreSQL {version // 10_000}.{version % 10_000} at {database.place}, schema up to date"


def _landing(settings: Settings) -> Iterator[str | SyncError]:
    sources = _sources_or_none(settings)
    landing = open_landing(settings, sources)
    reached = landing.reach()
    if reached.server:
        yield f"{settings.landing_shown} at {redacted(reached.server)}, as {reached.user or 'whom it takes us for'}"
    if reached.is_empty and not reached.has_folders:
        yield f"NOTE nothing is at {settings.landing_shown}: a wrong prefix, unless no export was ever put there"
        return
    places = {(partner, tenant, name): 0 for partner, tenant, name in landing.streams()}
    undated: dict[tuple[str, str, str], list[str]] = {}
    faults: dict[str, SyncError] = {}
    endings: list[Misplaced] = []
    for stream in STREAMS:
        for file in landing.list(stream.partner, stream.name):
            if file.fault is not None:
                faults.setdefault(file.path, file.fault)
            elif (fault := _ending(sources, stream, file)) is not None:
                endings.append(fault)
            else:
                place = (stream.partner, file.tenant_folder, stream.name)
                places[place] = places.get(place, 0) + 1
                if not _is_dated(sources, stream, file):
                    undated.setdefault(place, []).append(file.below)
    for (partner, tenant, name), exports in sorted(places.items()):
        if (known := find_stream(partner, name)) is not None:
            yield _place(sources, known, tenant, exports)
        if (place := (partner, tenant, name)) in undated:
            yield f"NOTE {'/'.join(place)}: {_undated(undated[place])}"
    yield from faults.values()
    misplaced = [*find_misplaced(landing, sources), *endings]
    yield from (f"NOTE {one.path} {one.why}; nothing in it is loaded; {one.hint}" for one in misplaced[:SHOWN])
    if len(misplaced) > SHOWN:
        yield f"NOTE and {len(misplaced) - SHOWN:,} more files and folders that no stream takes"
    if not places and not faults and not misplaced:
        yield f"{settings.landing_shown} has no exports yet; put them at <partner>/<tenant>/<stream>/<file>"


def _is_dated(sources: Sources, stream: Stream, file: LandingFile) -> bool:
    """Whether the date of an export stands in its path."""
    return file.dated_at(sources.for_folder(stream, file.tenant_folder).file_date) is not None


def _undated(files: list[str]) -> str:
    """What is to be said of exports whose date is that of their modification (X4)."""
    have = "1 export has" if len(files) == 1 else f"{len(files):,} exports have"
    return (
        f"{have} no date in the path, such as {on_one_line(files[0])}; the modification time says when it holds."
        f" Write dates as {SHAPES}, say in `file_date` how they are written, or refuse such files by"
        f" `file_date: required`"
    )


def _ending(sources: Sources, stream: Stream, file: LandingFile) -> Misplaced | None:
    """A file of a stream whose ending is no format's; it fails when it is synced."""
    settings = sources.for_folder(stream, file.tenant_folder)
    is_left_out = settings.path is not None and not matches(file.below, settings.path)
    if is_left_out or file.parts is not None or settings.format is not None or file.below.lower().endswith(".zip"):
        return None
    fault = why_no_format(file.below)
    return None if fault is None else Misplaced(file.path, ENDING, fault.hint, stream.partner)


def _place(sources: Sources, stream: Stream, tenant: str, exports: int) -> str:
    """What is to be said of a folder of a stream."""
    place = f"{stream.partner}/{tenant}/{stream.name}"
    listed = sources.tenants(stream.partner)
    known = stream.normalize_tenant(tenant)
    if known is None or (listed is not None and known not in listed):
        near = near_name(tenant, listed) if listed else None
        return f"NOTE {place}: its tenant is not known; its files fail" + (f"; did you mean {near}?" if near else "")
    return f"{place}: {exports:,} exports"
