"""Fixtures for commands: `call` runs one in this process."""

from __future__ import annotations

import sys

import pytest

from sync_pipelines import cli
from sync_pipelines.configuration.settings import Settings
from sync_pipelines_tests.commands.calling import Call, Done


@pytest.fixture
def call(settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs a command in this process, with the test's own database and landing."""
    monkeypatch.setenv("SYNC_HOME", str(settings.home))
    monkeypatch.setenv("SYNC_DATABASE_URL", str(settings.database_url))
    monkeypatch.setenv("SYNC_SOURCES", str(settings.sources))

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["sync-pipelines", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        return Done(int(left.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def landing(settings: Settings) -> str:
    return settings.landing
