"""The resources of runs and ticks.

Belongs here: how a run gets them, so that tests can replace them. Does not belong here: what they do.
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
    """Someone who watches files on their way; the command line's progress is one."""

    def started(self, entry: LedgerFile) -> None:
        """A file is about to go through its stages."""

    def reached(self, stage: str, entry: LedgerFile) -> None:
        """A file has been through a stage and those before it, well or not."""

    def pulled(self, pull: Pull) -> None:
        """A listing was pulled, well or not."""


class Unobserved:
    """Nobody watches: runs of the daemon."""

    def started(self, entry: LedgerFile) -> None:
        """Does nothing."""

    def reached(self, stage: str, entry: LedgerFile) -> None:
        """Does nothing."""

    def pulled(self, pull: Pull) -> None:
        """Does nothing."""


def workspace(context: dg.InitResourceContext) -> Workspace:
    """Opens the workspace of this process's settings and migrates the schema.

    A run holds its file, so that nobody waits for it once its process was killed.
    """
    settings = load_settings()
    if context.run is None or context.instance is None:
        # A tick that waits holds up the others.
        return open_workspace(settings)
    opened = patiently(lambda: open_workspace(settings))
    hold_until_exit(settings.home, context.run.run_id)
    add_run_tags(context.instance, context.run.run_id, installation_tags(settings.home, context.run.run_id))
    # Dagster launches a killed run again before the next tick: what killed it is not due then.
    mark_killed(opened)
    return opened


def observer(context: dg.InitResourceContext) -> Observer:
    """Returns the observer of the daemon's runs, who does nothing."""
    return Unobserved()


def build_resources(overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The resources by the names that assets and sensors use."""
    return {
        WORKSPACE: dg.ResourceDefinition(
            workspace, description="Landing, archive, database and sources, opened from the SYNC_* settings."
        ),
        OBSERVER: dg.ResourceDefinition(
            observer, description="Follows each file through a run. The command line shows its progress with it."
        ),
        **(overrides or {}),
    }
