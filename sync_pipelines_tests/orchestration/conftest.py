"""A workspace, an instance and definitions for tests of what Dagster does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.definitions import build_definitions
from sync_pipelines.orchestration.instance import open_instance
from sync_pipelines.orchestration.resources import OBSERVER, WORKSPACE
from sync_pipelines.stages.export_stages import Workspace, open_workspace
from sync_pipelines_tests.orchestration.acting import Watching


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    """Guards are off: most tests have few records, and some reject all of them."""
    workspace = open_workspace(settings)
    return replace(workspace, sources=replace(workspace.sources, has_guards=False))


@pytest.fixture
def landing(workspace: Workspace) -> Path:
    return Path(workspace.settings.landing)


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
def definitions(workspace: Workspace, watching: Watching) -> dg.Definitions:
    return build_definitions(workspace.settings, {WORKSPACE: workspace, OBSERVER: watching})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def postgres_instance(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance of the project's own `dagster.yaml`, in the test's database."""
    monkeypatch.setenv("SYNC_HOME", str(workspace.settings.home))
    monkeypatch.setenv("SYNC_DATABASE_URL", workspace.database.url)
    with open_instance(workspace.settings) as opened:
        yield opened
