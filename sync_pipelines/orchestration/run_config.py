"""Run configuration: what the launchpad offers, and what is refused of it before anything is touched.

Belongs here: the options and their faults. Does not belong here: what a run does with them (`assets`).
"""

from collections.abc import Collection
from typing import Literal

import dagster as dg
from pydantic import Field

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import reports
from sync_pipelines.stages.export_stages import Workspace


class ConfigurationRefused(dg.Failure):
    """The run configuration contradicts itself, or names what is not there; nothing was touched."""


class SyncConfig(dg.Config):
    """What a run takes, of the exports of its days."""

    preview: bool = Field(
        default=False,
        description="Load nothing: tell what loading would do, with counts and a sample of differences.",
    )
    tenants: list[str] = Field(
        default=[],
        description="Only these tenants; all when empty.",
    )
    reread: bool = Field(
        default=False,
        description="Also read the loaded exports of these days again, from the archive, after a contract or a source"
        " was corrected.",
    )
    only_due: bool = Field(
        default=False,
        description="Leave out files that are still being written, failed a moment ago, or are set aside.",
    )
    killers: Literal["with", "without", "only"] = Field(
        default="with",
        description="Exports whose last attempt was killed (`run_killed`): take them with the others, go without them,"
        " or take only them. They may end this run, too.",
    )
    pull: bool = Field(
        default=True,
        description="Pull the partner's listing first, where today (UTC) is among the days and a source says so."
        " A preview does not pull.",
    )


def config_of_run(stream: Stream, config: SyncConfig, workspace: Workspace) -> SyncConfig:
    """The configuration of a run, with tenants as they are stored.

    Raises:
        ConfigurationRefused: in one sentence.
    """
    if config.preview and config.reread:
        raise _refused("preview and reread contradict each other: a preview is of files that are not loaded yet")
    tenants = _normalized(stream, config.tenants)
    if unknown := sorted(set(tenants) - _known(workspace, stream, tenants)):
        raise _refused(
            f"{stream.partner} has no tenant {', '.join(unknown)}: neither sources.yaml nor the landing nor the ledger"
            " names it"
        )
    return config.model_copy(update={"tenants": tenants})


def _normalized(stream: Stream, tenants: Collection[str]) -> list[str]:
    return sorted({stream.normalize_tenant(tenant) or tenant for tenant in tenants})


def _known(workspace: Workspace, stream: Stream, wanted: Collection[str]) -> set[str]:
    """The tenants there are; the landing is listed only for those nobody else knows."""
    listed = workspace.sources.tenants(stream.partner)
    if listed is not None:
        return set(listed)
    known = set(workspace.sources.listed.get(stream.partner, ()))
    with workspace.connection() as connection:
        known |= reports.tenants(connection, stream)
    if not set(wanted) <= known:
        files = workspace.landing.list(stream.partner, stream.name)
        known |= {stream.normalize_tenant(file.tenant_folder) or file.tenant_folder for file in files}
    return known


def _refused(sentence: str) -> ConfigurationRefused:
    return ConfigurationRefused(sentence, allow_retries=False)
