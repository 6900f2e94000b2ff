"""Settings: names, defaults, and what a wrong value is told."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from sync_pipelines.errors import ConfigurationError
from sync_pipelines.redaction import redacted
from sync_pipelines.settings import load_settings


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_defaults_lie_in_the_working_directory(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.home == tmp_path / ".sync"
    assert settings.landing == str(tmp_path / ".sync" / "landing")
    assert settings.sources == tmp_path / "sources.yaml"
    assert settings.database_url is None
    assert settings.first_date == date(2010, 1, 1)


def test_each_setting_has_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_HOME", "state")
    monkeypatch.setenv("SYNC_DATABASE_URL", "postgresql://host/db")
    monkeypatch.setenv("SYNC_SOURCES", "/etc/sources.yaml")
    monkeypatch.setenv("SYNC_FIRST_DATE", "2009-12-31")
    settings = load_settings()
    assert settings.home == tmp_path / "state"
    assert settings.landing == str(tmp_path / "state" / "landing")
    assert settings.database_url == "postgresql://host/db"
    assert settings.sources == Path("/etc/sources.yaml")
    assert settings.first_date == date(2009, 12, 31)


@pytest.mark.parametrize(
    ("given", "landing"),
    [("s3://bucket/prefix", "s3://bucket/prefix"), ("in", "{here}/in"), ("/in", "/in"), ("", "{here}/.sync/landing")],
)
def test_a_landing_is_a_url_or_a_folder(
    given: str, landing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_LANDING", given)
    assert load_settings().landing == landing.format(here=tmp_path)


def test_a_dotenv_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("SYNC_HOME=from_file\nSYNC_FIRST_DATE=2011-01-01\nOTHER=1\n")
    monkeypatch.setenv("SYNC_HOME", "from_environment")
    settings = load_settings()
    assert settings.home.name == "from_environment"
    assert settings.first_date == date(2011, 1, 1)


@pytest.mark.parametrize("wrong", ["2010-13-01", "yesterday", str(datetime.now(UTC).date() + timedelta(days=1))])
def test_a_wrong_value_names_its_variable(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_FIRST_DATE", wrong)
    with pytest.raises(ConfigurationError, match=f"SYNC_FIRST_DATE={wrong}") as caught:
        load_settings()
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ana:s3cret@host/db",
        "postgresql://ana:s3cr@s3cret@host/db",
        "postgresql://host/db?user=ana&password=s3cret",
        "host=host password=s3cret user=ana",
        "sftp://ana:s3cret@host/dir",
        "postgresql://ana:s3cr/s3cr@host/db",
        "postgresql://ana:s3cr@:/s3cr?s3cr#s3cr@host/db",
        "sftp://ana:s3cr s3cr@host/dir cannot be read",
        "host=host user=ana password='s3cr s3cr\\' s3cr'",
        'host=host user=ana password = "s3cr s3cr"',
        "host=host user=ana password=s3cr;s3cr&s3cr",
        "https://host/ana?token=s3cret&page=2",
        "https://host/ana?sv=1&sig=s3cr%2Bs3cr%3D",
        "https://host/ana?X-Amz-Credential=s3cret%2F1&X-Amz-Signature=s3cret",
        "host ana DefaultEndpointsProtocol=https;AccountKey=s3cr+s3cr==;EndpointSuffix=core",
        "host ana SharedAccessSignature=sv=1&sig=s3cret",
        "host ana Authorization: Bearer s3cret",
        """host ana {'api_key': 's3cr s3cr', "access_token": "s3cret"}""",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    assert "s3cr" not in redacted(url)
    assert "ana" in redacted(url)
    assert "host" in redacted(url)


def test_a_landing_whose_password_is_not_escaped_is_refused_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_LANDING", "sftp://ana:s3cr/s3cr@host/dir")
    with pytest.raises(ConfigurationError, match="have to be escaped") as caught:
        load_settings()
    assert "s3cr" not in str(caught.value)


def test_what_is_no_secret_stays() -> None:
    text = "page 2 of https://host:8443/store?page=2 was answered with 500: order 12 of ana@x.cl"
    assert redacted("the header names 'a' twice (at line 1)") == "the header names 'a' twice (at line 1)"
    assert "12 of" not in redacted(text) and "500" not in redacted(text), "to the last @ of the line"
    assert redacted("sftp://ana@host/dir") == "sftp://ana@host/dir"


def test_every_error_of_ours_hides_secrets() -> None:
    error = ConfigurationError("setting_invalid", "https://host/?sig=s3cret cannot be asked")
    assert "s3cret" not in f"{error} {error!r} {error.message}"


def test_the_settings_never_show_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_DATABASE_URL", "postgresql://ana:s3cret@host/db")
    monkeypatch.setenv("SYNC_LANDING", "sftp://ana:s3cret@host/dir")
    assert "s3cret" not in repr(load_settings())


WEBHOOK = "https://hooks.example.com/services/T0/s3cret"


def test_a_webhook_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_ALERT_WEBHOOK", WEBHOOK)
    settings = load_settings()
    assert settings.alert_webhook is not None
    assert settings.alert_webhook.get_secret_value() == WEBHOOK
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.webhook_shown == "a webhook at hooks.example.com"


@pytest.mark.parametrize(
    "wrong", ["hooks.example.com/s3cret", "ftp://host/s3cret", "https:///s3cret", "https://[s3cret"]
)
def test_a_wrong_webhook_is_told_without_its_text(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_ALERT_WEBHOOK", wrong)
    with pytest.raises(ConfigurationError, match=r"SYNC_ALERT_WEBHOOK=\*\*\*: ") as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


def test_the_retention_and_the_address_of_the_ui(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert (settings.keep_runs_days, settings.keep_raw_days, settings.ui_url) == (90, None, None)
    assert settings.webhook_shown == "nobody is told of failed runs"
    monkeypatch.setenv("SYNC_KEEP_RUNS_DAYS", "7")
    monkeypatch.setenv("SYNC_KEEP_RAW_DAYS", "30")
    monkeypatch.setenv("SYNC_UI_URL", "http://127.0.0.1:3000")
    settings = load_settings()
    assert (settings.keep_runs_days, settings.keep_raw_days, settings.ui_url) == (7, 30, "http://127.0.0.1:3000")
