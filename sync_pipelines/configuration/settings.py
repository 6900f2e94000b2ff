"""The settings, from the environment or a `.env` file in the working directory.

Belongs here: names, defaults and the errors of wrong values. Does not belong here: settings of a
source (`sources`), anything that opens a connection.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sync_pipelines.configuration.configuration_files import why_not_read
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.privacy.redaction import redacted

PREFIX: Final = "SYNC_"
_SECRETS: Final = frozenset({"SYNC_ALERT_WEBHOOK", "SYNC_SFTP_PASSWORD"})
ENV_FILE: Final = Path(".env")
_S3: Final = ("AWS_",)
_GCS: Final = ("GOOGLE_", "GCLOUD_", "GCS_", "CLOUDSDK_", "STORAGE_EMULATOR_HOST")
_AZURE: Final = ("AZURE_",)
_OF_STORAGES: Final = {
    **dict.fromkeys(("s3", "s3a"), _S3),
    **dict.fromkeys(("gs", "gcs"), _GCS),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), _AZURE),
}
_LARGEST_ENV_FILE: Final = 1 << 20
_OWNER: Final = re.compile(r"team:\S+|[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")
_MOST_DAYS: Final = 36_500
"""A hundred years; a date much further back does not exist in Python."""


class Settings(BaseSettings):
    """The settings of a process.

    Attributes:
        home: state folder (`SYNC_HOME`): archive, embedded database, logs.
        database_url: your own PostgreSQL (`SYNC_DATABASE_URL`), or None for the embedded one under `home`.
        reader_url: the same database with a read-only user (`SYNC_READER_URL`), for `sync-pipelines sql`.
        landing: folder or fsspec URL where exports arrive (`SYNC_LANDING`).
        landing_timeout: seconds to wait for a landing's server (`SYNC_LANDING_TIMEOUT`).
        sftp_password: password of the landing's user or of the key file (`SYNC_SFTP_PASSWORD`), or None; a secret.
        sftp_key_file: private key of that user (`SYNC_SFTP_KEY_FILE`), or None.
        sftp_known_hosts: file with host keys (`SYNC_SFTP_KNOWN_HOSTS`), or None for the files that `ssh` uses.
        sources: the `sources.yaml` (`SYNC_SOURCES`); it need not exist.
        first_date: the first partition (`SYNC_FIRST_DATE`); older exports fail with `date_out_of_range`.
        keep_runs_days: days to keep Dagster's runs with their logs and traces (`SYNC_KEEP_RUNS_DAYS`).
        keep_raw_days: days to keep the bytes of loaded exports (`SYNC_KEEP_RAW_DAYS`), or None for ever.
        alert_webhook: webhook that receives failed runs (`SYNC_ALERT_WEBHOOK`), or None; the URL is a secret.
        ui_url: URL of the Dagster UI for users (`SYNC_UI_URL`), for links in messages.
        owners: owners of the assets in Dagster (`SYNC_OWNERS`), separated by commas, or None.
        plain_dagster_storage: Dagster's own storage classes, unchanged (`SYNC_PLAIN_DAGSTER_STORAGE`).
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True
    )

    home: Path = Path(".sync")
    database_url: str | None = Field(default=None, repr=False)
    reader_url: str | None = Field(default=None, repr=False)
    landing: str = Field(default="", repr=False)
    landing_timeout: float = Field(default=60.0, ge=1, le=3600)
    sftp_password: SecretStr | None = None
    sftp_key_file: Path | None = None
    sftp_known_hosts: Path | None = None
    sources: Path = Path("sources.yaml")
    first_date: date = date(2010, 1, 1)
    keep_runs_days: int = Field(default=90, ge=1, le=_MOST_DAYS)
    keep_raw_days: int | None = Field(default=None, ge=1, le=_MOST_DAYS)
    alert_webhook: SecretStr | None = None
    ui_url: str | None = None
    owners: str | None = None
    plain_dagster_storage: bool = False

    @field_validator("home", "sources", "sftp_key_file", "sftp_known_hosts")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else _expanded(value)

    @model_validator(mode="before")
    @classmethod
    def _landing_in_home(cls, values: dict[str, Any]) -> dict[str, Any]:
        home = Path(values.get("home", cls.model_fields["home"].default))
        return {**values, "landing": values.get("landing") or str(home / "landing")}

    @field_validator("home", "sources", "landing", "database_url", "sftp_key_file", "sftp_known_hosts", mode="before")
    @classmethod
    def _is_one_line(cls, value: Any) -> Any:
        if any(character in str(value) for character in "\x00\r\n"):
            raise ValueError("it contains a line break or a NUL character")
        return value

    @field_validator("landing")
    @classmethod
    def _is_url_or_absolute(cls, value: str) -> str:
        return value if "://" in value else str(_expanded(Path(value)))

    @field_validator("landing")
    @classmethod
    def _is_escaped(cls, value: str) -> str:
        place, _, rest = value.partition("://")[2].partition("/")
        port = place.partition(":")[2]
        # Otherwise, the start of the password is parsed as a port and appears in messages.
        if "@" in rest and "@" not in place and port and not port.isdecimal():
            raise ValueError("user or password contains characters that must be escaped (%40 for @, %2F for /)")
        return value

    @field_validator("first_date")
    @classmethod
    def _is_past(cls, value: date) -> date:
        if value > datetime.now(UTC).date():
            raise ValueError("the first partition cannot be in the future")
        return value

    @field_validator("alert_webhook", "ui_url")
    @classmethod
    def _is_url(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        if value is not None:
            text = value if isinstance(value, str) else value.get_secret_value()
            if not _is_web_address(text):
                raise ValueError("it is not a URL that starts with https:// or http://")
        return value

    @field_validator("owners")
    @classmethod
    def _are_owners(cls, value: str | None) -> str | None:
        for owner in _listed(value):
            if not _OWNER.fullmatch(owner):
                raise ValueError(f"{owner!r} is neither an email address nor a team, such as team:integrations")
        return value

    @property
    def webhook_shown(self) -> str:
        """Describes the webhook by its host only: the rest of the URL is a secret."""
        if self.alert_webhook is None:
            return "none; failed runs are not reported"
        return f"a webhook at {urlsplit(self.alert_webhook.get_secret_value()).hostname}"

    @property
    def owner_names(self) -> tuple[str, ...]:
        """The owners, each an email address or `team:<name>`."""
        return tuple(_listed(self.owners))

    @property
    def is_landing_own(self) -> bool:
        """Whether the landing is the default folder in the state folder, which is created if it is missing."""
        return self.landing == str(self.home / "landing")

    @property
    def landing_shown(self) -> str:
        """The landing without its password."""
        return redacted(self.landing)

    @property
    def database_shown(self) -> str:
        """The URL of the database without its password, or the location of the embedded one."""
        return redacted(self.database_url) if self.database_url else f"the embedded PostgreSQL in {self.home}"

    @property
    def archive(self) -> Path:
        """The folder of kept exports and their normalized records."""
        return self.home / "archive"

    @property
    def logs(self) -> Path:
        """The folder of full tracebacks and of the output of supervised processes."""
        return self.home / "logs"


def _listed(text: str | None) -> list[str]:
    return [part for given in (text or "").split(",") if (part := given.strip())]


def variable_of(name: str) -> str:
    """Returns the variable of a setting."""
    return PREFIX + name.upper()


def load_settings() -> Settings:
    """Returns the settings of this process.

    Raises:
        ConfigurationError: a value is invalid (the message names the variable), or `.env` cannot be read.
    """
    _check_env_file(ENV_FILE)
    try:
        settings = Settings()
    except ValidationError as error:
        raise ConfigurationError("setting_invalid", "; ".join(_sentence(e) for e in error.errors())) from None
    _check_home(settings.home)
    return settings


def landing_variables(url: str) -> tuple[tuple[str, str], ...]:
    """Returns the variables in `.env` that configure the library of a landing's storage."""
    prefixes = _OF_STORAGES.get(url.partition("://")[0])
    if prefixes is None or not ENV_FILE.is_file():
        return ()
    return tuple(
        (name, value) for name, value in dotenv_values(ENV_FILE).items() if value and name.startswith(prefixes)
    )


def _check_env_file(path: Path) -> None:
    """Raises if `.env` cannot be read. A folder of that name is ignored: it may be a virtual environment."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return
        if why := why_not_read(status, _LARGEST_ENV_FILE):
            raise _env_file_error(path, why)
        path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _env_file_error(path, f"line {line} is not UTF-8") from None
    except OSError as error:
        raise _env_file_error(path, str(error.strerror)) from None


def _env_file_error(path: Path, why: str) -> ConfigurationError:
    hint = "correct it, or remove it and set the variables in the environment"
    return ConfigurationError("setting_invalid", f"{path.absolute()} cannot be read: {why}", hint)


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("that user has no home folder on this machine") from None


def _check_home(home: Path) -> None:
    """Raises if the state folder cannot exist, because a file is in its path."""
    for place in (home, *home.parents):
        try:
            if not stat.S_ISDIR(place.stat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            return
        except FileNotFoundError:
            continue
        except OSError as error:
            message = f"SYNC_HOME={home} cannot be used: {error.strerror}"
            raise ConfigurationError("setting_invalid", message, "use a folder that you can write to") from None


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and text.isprintable()
            and " " not in text
        )
    except ValueError:
        return False


def _sentence(error: Any) -> str:
    variable = PREFIX + "_".join(str(part) for part in error["loc"]).upper()
    message = str(error["msg"]).removeprefix("Value error, ")
    given = "***" if variable in _SECRETS else redacted(str(error["input"]))
    return f"{variable}={given}: {message[:1].lower()}{message[1:]}"
