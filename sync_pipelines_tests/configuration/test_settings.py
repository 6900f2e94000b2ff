"""Settings: names, defaults, and what a wrong value is told."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.privacy.redaction import redacted


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
    with pytest.raises(ConfigurationError, match="must be escaped") as caught:
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
    assert settings.webhook_shown == "none; failed runs are not reported"
    monkeypatch.setenv("SYNC_KEEP_RUNS_DAYS", "7")
    monkeypatch.setenv("SYNC_KEEP_RAW_DAYS", "30")
    monkeypatch.setenv("SYNC_UI_URL", "http://127.0.0.1:3000")
    settings = load_settings()
    assert (settings.keep_runs_days, settings.keep_raw_days, settings.ui_url) == (7, 30, "http://127.0.0.1:3000")


def test_owners_are_email_addresses_and_teams(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().owner_names == ()
    monkeypatch.setenv("SYNC_OWNERS", "team:integrations, ana@example.com")
    assert load_settings().owner_names == ("team:integrations", "ana@example.com")
    monkeypatch.setenv("SYNC_OWNERS", "team:integrations,ana")
    assert "'ana' is neither an email address nor a team" in refusal().message


def test_plain_storage_is_on_or_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_settings().plain_dagster_storage
    monkeypatch.setenv("SYNC_PLAIN_DAGSTER_STORAGE", "1")
    assert load_settings().plain_dagster_storage
    monkeypatch.setenv("SYNC_PLAIN_DAGSTER_STORAGE", "perhaps")
    assert "SYNC_PLAIN_DAGSTER_STORAGE=perhaps" in refusal().message


VARIABLES = [
    *("SYNC_HOME", "SYNC_DATABASE_URL", "SYNC_LANDING", "SYNC_SOURCES", "SYNC_FIRST_DATE"),
    *("SYNC_KEEP_RUNS_DAYS", "SYNC_KEEP_RAW_DAYS", "SYNC_ALERT_WEBHOOK", "SYNC_UI_URL"),
    "SYNC_PLAIN_DAGSTER_STORAGE",
]


def refusal() -> ConfigurationError:
    """What the settings are refused with."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.exit_status == 2
    return caught.value


@pytest.mark.parametrize("variable", ["SYNC_HOME", "SYNC_LANDING", "SYNC_SOURCES"])
def test_the_home_folder_of_nobody_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "~no-such-user/x")
    assert "no home folder" in refusal().message
    assert variable in refusal().message


@pytest.mark.parametrize("place", ["a_file", "a_file/below", "a_file/far/below", "pipe", "circle"])
def test_a_file_in_the_place_of_the_state_folder_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    monkeypatch.setenv("SYNC_HOME", place)
    assert f"SYNC_HOME={tmp_path / place} cannot be used" in refusal().message


@pytest.mark.parametrize("variable", ["SYNC_HOME", "SYNC_LANDING", "SYNC_SOURCES", "SYNC_DATABASE_URL"])
def test_a_path_with_nul_or_a_line_break_is_refused(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_bytes(variable.encode() + b"=a\x00b\n")
    assert f"{variable}=" in refusal().message
    (tmp_path / ".env").unlink()
    monkeypatch.setenv(variable, "a\nb")
    assert f"{variable}=" in refusal().message


@pytest.mark.parametrize("variable", ["SYNC_KEEP_RUNS_DAYS", "SYNC_KEEP_RAW_DAYS"])
@pytest.mark.parametrize("days", ["99999999999999999", "1" * 5000, "0", "-1", "1e3", "nan"])
def test_days_that_lead_to_no_date_are_refused(variable: str, days: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, days)
    assert variable in refusal().message


@pytest.mark.parametrize("variable", ["SYNC_ALERT_WEBHOOK", "SYNC_UI_URL"])
@pytest.mark.parametrize("url", ["https://h:99999999", "https://h:x", "https://h/\x01", "https://a b", "http://h:0"])
def test_a_url_that_nobody_can_ask_is_refused(variable: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, url)
    assert variable in refusal().message


@pytest.mark.parametrize(
    ("content", "why"), [(b"A=1\nSYNC_HOME=caf\xe9\n", "line 2 is not UTF-8"), (b"#" * (1 << 20) + b"\n", "larger")]
)
def test_a_dotenv_file_that_is_no_text_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(content)
    assert str(tmp_path / ".env") in refusal().message
    assert why in refusal().message


def test_a_pipe_as_dotenv_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".env")
    assert "not a regular file" in refusal().message


def test_a_folder_as_dotenv_file_is_none(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert load_settings().home == tmp_path / ".sync"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(VARIABLES), st.text(max_size=60) | st.from_regex(r"[a-z]*:?//[^\x00]{0,20}", fullmatch=True))
def test_whatever_the_environment_holds_is_read_or_refused(variable: str, value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        try:
            patch.setenv(variable, value)
        except (ValueError, UnicodeEncodeError):
            Path(".env").write_bytes(f"{variable}='{value}'\n".encode("utf-8", "surrogatepass"))
        try:
            load_settings()
        except ConfigurationError as error:
            assert error.exit_status == 2
        finally:
            Path(".env").unlink(missing_ok=True)
