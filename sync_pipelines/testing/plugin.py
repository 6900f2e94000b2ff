"""The pytest plugin of the tests in this folder: options and fixtures.

Belongs here: which partner and cases are tested, an empty database for each case. Does not belong here: the tests.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.partners import STREAMS, find_unusable
from sync_pipelines.stages.export_stages import open_workspace
from sync_pipelines.tables.schema import metadata
from sync_pipelines.testing.case_files import find_cases


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    parser.addoption("--partner", help="The partner to test.")
    parser.addoption("--cases", type=Path, help="A folder of *.case.yaml files.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrizes the tests with the partner's streams, or with the cases."""
    if "stream" in metafunc.fixturenames:
        streams = _chosen(metafunc.config.getoption("--partner"))
        metafunc.parametrize("stream", streams, ids=[stream.full_name for stream in streams])
    if "case" in metafunc.fixturenames:
        folder = metafunc.config.getoption("--cases")
        cases = find_cases(folder) if folder else []
        if folder and not cases:
            raise pytest.UsageError(f"--cases {folder}: there is no *.case.yaml in it")
        metafunc.parametrize("case", cases, ids=[path.name.removesuffix(".case.yaml") for path in cases])


def _chosen(partner: str) -> list[Stream]:
    if (unusable := find_unusable(partner)) is not None:
        raise pytest.UsageError(str(unusable))
    if not (found := [stream for stream in STREAMS if stream.partner == partner]):
        raise pytest.UsageError(f"no installed package declares the partner {partner!r}")
    return found


@pytest.fixture(scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def settings(_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with an empty landing and an empty embedded database. The environment is ignored."""
    for name in [name for name in os.environ if name.startswith("SYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SYNC_HOME", str(_home))
    landing = tmp_path / "landing"
    landing.mkdir()
    own = Settings(home=_home, landing=str(landing), sources=tmp_path / "sources.yaml")
    tables = ", ".join(table.fullname for table in metadata.sorted_tables)
    engine = open_workspace(own).database.engine()
    with engine.begin() as connection:
        connection.execute(text(f"truncate {tables} restart identity cascade"))
    engine.dispose()
    # Beside an empty database, the archive of the case before would be that of a lost one.
    shutil.rmtree(own.archive, ignore_errors=True)
    return own
