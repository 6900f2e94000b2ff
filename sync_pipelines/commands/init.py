"""`sync-pipelines init`: a real start. Writes `.env` and `sources.yaml`, then checks them.

Belongs here: the questions, their order, and the output. Does not belong here: writing the files
(`configuration.env_writer`, `configuration.sources_writer`), checking them (`check`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from sync_pipelines.command_line import typed
from sync_pipelines.commands import check
from sync_pipelines.commands.screen import say
from sync_pipelines.configuration.env_writer import write_env
from sync_pipelines.configuration.setting_origins import env_file_values, origin_of
from sync_pipelines.configuration.settings import ENV_FILE, Settings, load_settings
from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.configuration.sources_writer import add_stream
from sync_pipelines.contracts.near_names import suggestion
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.exports.storage_interface import missing_folder
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.private_files import keep_files_private
from sync_pipelines.privacy.redaction import redacted

_BUNDLED: Final = "bundled"
_DATABASE_URL: Final = "postgresql://user:password@host:5432/database"


@dataclass(frozen=True)
class Answers:
    """The values of the options; None if an option is missing.

    Attributes:
        landing: folder or URL.
        database: URL, or `bundled`.
        partner, stream, tenant: of the first source.
    """

    landing: str | None = None
    database: str | None = None
    partner: str | None = None
    stream: str | None = None
    tenant: str | None = None


def run(given: Answers, *, replace: bool) -> int:
    """Asks for what was not given, writes both files, and returns the exit status of `check`.

    Args:
        given: the options.
        replace: whether other values in `.env` are replaced without a question.

    Raises:
        click.UsageError: something is missing and nobody can be asked, or a value is wrong; nothing was written.
        ConfigurationError: a file cannot be read or written.
    """
    keep_files_private()
    settings = load_settings()
    load_sources(settings.sources)
    ask = _Ask(is_terminal=sys.stdin.isatty())
    ask.require(given)
    values = {
        "SYNC_LANDING": ask.value("Landing, a folder or URL", given.landing, settings.landing_shown, _landing),
        "SYNC_DATABASE_URL": ask.value(
            f"Database, {_BUNDLED} or a URL such as {_DATABASE_URL}", given.database, _database_now(settings), _database
        ),
    }
    partner = ask.choice("Partner", given.partner, dict.fromkeys(s.partner for s in STREAMS))
    streams = {s.name: s for s in STREAMS if s.partner == partner}
    stream = streams[ask.choice(f"Stream of {partner}", _stream_name(given.stream, partner), streams)]
    tenant = ask.value(_tenant_question(stream), given.tenant, None, lambda text: _tenant(stream, text))
    _write_settings(settings, values, ask, replace=replace)
    settings = load_settings()
    _write_source(settings, stream, str(tenant))
    place = _make_folder(settings, stream, str(tenant))
    say("")
    status = check.run(settings)
    if status == 0:
        of = f"--stream {stream.full_name} --tenant {tenant}"
        say("", f"Next: put an export into {place}, then run: {typed('sync')}")
        say(f"To map the columns of a CSV or Excel file: {typed(f'inspect FILE {of} --write')}")
    return status


@dataclass(frozen=True)
class _Ask:
    """Takes an option, or asks for it.

    Attributes:
        is_terminal: whether somebody can be asked.
    """

    is_terminal: bool

    def require(self, given: Answers) -> None:
        """Raises a usage error that names every option that is missing, if nobody can be asked."""
        if self.is_terminal:
            return
        streams = [s.name for s in STREAMS if s.partner == given.partner]
        needed = {"--partner": given.partner, "--tenant": given.tenant}
        if len(streams) > 1:
            needed["--stream"] = given.stream
        if missing := [option for option, value in needed.items() if value is None]:
            raise click.UsageError(f"without a terminal to ask on, init needs {' and '.join(missing)}")

    def value(
        self, question: str, given: str | None, current: str | None, check: Callable[[str], str | None]
    ) -> str | None:
        """Returns the checked value; None keeps what is set already.

        Args:
            question: what to ask for.
            given: the option.
            current: what an empty answer keeps; None if there is no such thing.
            check: returns the value to write, or raises a usage error.
        """
        if given is not None:
            return check(given)
        if not self.is_terminal:
            return None
        answer = click.prompt(question, default=current, value_proc=lambda text: (text, _kept(text, current, check)))
        return answer[1] if isinstance(answer, tuple) else None

    def choice(self, question: str, given: str | None, known: Iterable[str]) -> str:
        """Returns one of the known names; the only one without a question."""
        names = list(known)

        def named(text: str) -> str:
            if text not in names:
                raise click.UsageError(f"unknown {question.split()[0].lower()} {text!r}; {suggestion(text, names)}")
            return text

        if given is not None or len(names) == 1:
            return named(given or names[0])
        return str(click.prompt(f"{question} ({', '.join(names)})", value_proc=named))

    def may_replace(self, variable: str, old: str) -> bool:
        """Asks whether another value may be replaced."""
        return self.is_terminal and click.confirm(f".env sets {variable} to {redacted(old)}. Replace it?")


def _kept(text: str, current: str | None, check: Callable[[str], str | None]) -> str | None:
    return None if text == current else check(text)


def _stream_name(given: str | None, partner: str) -> str | None:
    return given.removeprefix(f"{partner}/") if given else given


def _tenant_question(stream: Stream) -> str:
    if not stream.tenant_form:
        return "Tenant, the name of its folder in the landing"
    return f"{stream.tenant_place}\nTenant id ({stream.partner}'s are {stream.tenant_form})"


def _tenant(stream: Stream, text: str) -> str:
    tenant = stream.normalize_tenant(text.strip())
    if tenant is None:
        raise click.UsageError(f"{stream.why_no_tenant(text)}. {stream.tenant_place}".rstrip(". ") + ".")
    if not tenant or "/" in tenant or tenant.startswith((".", "_")) or not tenant.isprintable():
        raise click.UsageError(f"{text!r} cannot be the name of a folder in the landing")
    return tenant


def _landing(text: str) -> str:
    """Returns a landing as it is written into `.env`; a folder must exist, unless it is the default one."""
    if "://" in text:
        return text
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir() and not Settings(landing=str(folder)).is_landing_own:
        error = missing_folder(folder)
        raise click.UsageError(f"{error.message}; {error.hint}")
    return str(folder)


def _database(text: str) -> str:
    """Returns a database as it is written into `.env`; empty for the bundled one."""
    if text == _BUNDLED:
        return ""
    if not text.startswith(("postgresql://", "postgres://")):
        raise click.UsageError(f"the database must be {_BUNDLED} or a URL such as {_DATABASE_URL}")
    return text


def _database_now(settings: Settings) -> str:
    return redacted(settings.database_url) if settings.database_url else _BUNDLED


def _write_settings(settings: Settings, values: dict[str, str | None], ask: _Ask, *, replace: bool) -> None:
    """Writes what is new into `.env`."""
    stored = env_file_values()
    now = {"SYNC_LANDING": settings.landing, "SYNC_DATABASE_URL": settings.database_url or ""}
    changed = {name: value for name, value in values.items() if value is not None and value != now[name]}
    for name, value in list(changed.items()):
        old = stored.get(name)
        if old and old != value and not replace and not ask.may_replace(name, old):
            if not ask.is_terminal:
                raise click.UsageError(f".env sets {name} to {redacted(old)} already; --replace replaces it")
            del changed[name]
    if changed:
        write_env(changed)
        say(f"{ENV_FILE.absolute()}: set {', '.join(changed)}")
    for name in changed:
        if origin_of(name.removeprefix("SYNC_").lower()) == "environment":
            say(f"{name} is also set in the environment, which takes precedence over .env")


def _write_source(settings: Settings, stream: Stream, tenant: str) -> None:
    """Adds the tenant's stream to `sources.yaml` unless it is there."""
    place = f"{stream.partner}/{tenant}/{stream.name}"
    if (stream.partner, tenant, stream.name) in load_sources(settings.sources).streams:
        say(f"{settings.sources}: has {place} already")
        return
    add_stream(settings.sources, stream.partner, tenant, stream.name, "")
    say(f"{settings.sources}: added {place}")


def _make_folder(settings: Settings, stream: Stream, tenant: str) -> str:
    """Returns where exports go, a folder that is created in a local landing."""
    place = f"{settings.landing_shown}/{stream.partner}/{tenant}/{stream.name}"
    if "://" not in settings.landing:
        (Path(settings.landing) / stream.partner / tenant / stream.name).mkdir(parents=True, exist_ok=True)
    return place
