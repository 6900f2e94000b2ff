"""Run configuration: the options in the launchpad, validated before a run changes anything.

Belongs here: the options and their errors. Does not belong here: what a run does with them (`assets`).
"""

from collections.abc import Collection
from datetime import date
from typing import Final, Literal

import dagster as dg
from pydantic import Field

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, reports
from sync_pipelines.privacy.untrusted_text import storable
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.release import held_revision, is_released, why_not_held

_HELD_NAMED: Final = 5


class InvalidRunConfiguration(dg.Failure):
    """The run configuration contradicts itself or has an unknown tenant; the run changed nothing."""


class SyncConfig(dg.Config):
    """Options of a run. They hold for all of its assets."""

    preview: bool = Field(
        default=False,
        description="Load nothing, and show what a load would do: counts, and a sample of the differences.",
    )
    tenants: list[str] = Field(
        default=[],
        description="Only these tenants. Empty means all.",
    )
    reread: bool = Field(
        default=False,
        description="Also read the loaded exports of these days again, from the archive. Use it after you corrected a"
        " source or a contract.",
    )
    only_due: bool = Field(
        default=False,
        description="Skip files that are still being written, that failed a moment ago, or that are set aside.",
    )
    killers: Literal["with", "without", "only"] = Field(
        default="with",
        description="Exports that were being loaded when an earlier run was killed (`run_killed`): load them with the"
        " others, without them, or only them. They may kill this run too.",
    )
    pull: bool = Field(
        default=True,
        description="Pull the partner's listing first, if today (UTC) is among the days and the source has `pull`."
        " A preview does not pull.",
    )
    release: list[str] = Field(
        default=[],
        description="Load only these exports of these days, which a guard holds, whatever the guard says: their paths"
        " in the landing.",
    )
    reason: str = Field(default="", description="Why the exports are released, for those who look at it later.")


def config_of_run(stream: Stream, config: SyncConfig, workspace: Workspace, days: Collection[date]) -> SyncConfig:
    """Returns the configuration of a run, with tenants spelled as they are stored.

    Args:
        stream: whose exports.
        config: as given.
        workspace: the run's workspace.
        days: the days of the run.

    Raises:
        InvalidRunConfiguration: with the reason in one sentence.
    """
    if config.preview and config.reread:
        raise _invalid(
            "preview and reread contradict each other: a preview covers files that are not loaded yet."
            " Set one of them to false"
        )
    if config.release:
        _check_release(stream, config, workspace, days)
    tenants = _normalized(stream, config.tenants)
    if unknown := sorted(set(tenants) - _known(workspace, stream, tenants)):
        raise _invalid(
            f"{stream.partner} has no tenant {', '.join(unknown)}: it is not in sources.yaml, the landing or the ledger"
        )
    return config.model_copy(update={"tenants": tenants})


def _check_release(stream: Stream, config: SyncConfig, workspace: Workspace, days: Collection[date]) -> None:
    if config.preview:
        raise _invalid("preview and release contradict each other: a release loads. Set preview to false")
    with workspace.connection() as connection:
        for path in config.release:
            revisions = [
                entry
                for entry in ledger.revisions_of(connection, storable(path))
                if (entry.partner, entry.stream) == (stream.partner, stream.name)
            ]
            if not revisions:
                held = [entry.path for entry in ledger.held(connection, stream.partner, stream.name)]
                known = f"held are {', '.join(held[:_HELD_NAMED])}" if held else "none is held"
                raise _invalid(f"release: {stream.full_name} has no export {path!r}; {known}")
            entry = held_revision(revisions)
            if entry.status != "held" and not is_released(connection, entry):
                raise _invalid(f"release: {why_not_held(entry)}")
            if entry.partition_date not in days:
                raise _invalid(f"release: {path} is an export of {entry.partition_date}, which is no day of this run")


def _normalized(stream: Stream, tenants: Collection[str]) -> list[str]:
    return sorted({stream.normalize_tenant(tenant) or tenant for tenant in tenants})


def _known(workspace: Workspace, stream: Stream, wanted: Collection[str]) -> set[str]:
    """Returns the known tenants. The landing is listed only if a wanted name is not known from elsewhere."""
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


def _invalid(sentence: str) -> InvalidRunConfiguration:
    return InvalidRunConfiguration(sentence, allow_retries=False)
