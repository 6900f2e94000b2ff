"""The resources of runs and ticks.

Belongs here: how a run gets them, so that tests can replace them. Does not belong here: their work (`stages`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import dagster as dg

from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.orchestration.activity import installation_tags
from sync_pipelines.orchestration.outages import patiently
from sync_pipelines.orchestration.private_dagster import add_run_tags
from sync_pipelines.stages.export_stages import Workspace, open_workspace
from sync_pipelines.stages.killed_runs import mark_killed
from sync_pipelines.stages.pulls import Pull
from sync_pipelines.stages.run_files import hold_until_exit

WORKSPACE: Final = "sync_pipelines_workspace"
OBSERVER: Final = "sync_pipelines_observer"


class Observer(Protocol):
    """Follows files through the stages, such as the command line's progress."""

    def started(self, entry: LedgerFile) -> None:
        """Called before a file goes through its stages."""

    def reached(self, stage: str, entry: LedgerFile) -> None:
        """Called when a file went through a stage and those before it, or failed."""

    def pulled(self, pull: Pull) -> None:
        """Called when a pull ended or failed."""


class Unobserved:
    """The observer of the daemon's runs, which does nothing."""

    def started(self, entry: LedgerFile) -> None:
        """Does nothing."""

    def reached(self, stage: str, entry: LedgerFile) -> None:
        """Does nothing."""

    def pulled(self, pull: Pull) -> None:
        """Does nothing."""


def workspace(context: dg.InitResourceContext) -> Workspace:
    """Opens the workspace of this process's settings and migrates the schema.

    A run holds a lock on its file, so that a killed process is noticed.
    """
    settings = load_settings()
    if context.run is None or context.instance is None:
        # A waiting tick would block the others.
        return open_workspace(settings)
    opened = patiently(lambda: open_workspace(settings))
    hold_until_exit(settings.home, context.run.run_id)
    add_run_tags(context.instance, context.run.run_id, installation_tags(settings.home, context.run.run_id))
    # Dagster retries a killed run before the next tick, and the export that killed it must not be due then.
    mark_killed(opened)
    return opened


def observer(context: dg.InitResourceContext) -> Observer:
    """Returns the observer of the daemon's runs, which does nothing."""
    return Unobserved()


def build_resources(overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the resources by the names that assets and sensors use."""
    return {
        WORKSPACE: dg.ResourceDefinition(
            workspace, description="Landing, archive, database and sources, opened from the SYNC_* settings."
        ),
        OBSERVER: dg.ResourceDefinition(
            observer, description="Follows each file through a run. The command line shows its progress with it."
        ),
        **(overrides or {}),
    }
