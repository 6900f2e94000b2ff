"""Pulls: the first stage of a stream that a source pulls, before the landing is listed (N11).

    pull    the partner's listing -> one export in the landing, or nothing and the reason

A pull has no entry in the ledger: its file is an export like any other, and a failed pull has none.

Belongs here: which sources are pulled when, where the export goes, failed pulls. Does not belong here: HTTP
(`exports.pull`), the stages of a file (`export_stages`).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import BinaryIO, cast

from sync_pipelines.configuration.sources import Sources, pulled_name
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.errors import SyncError
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.export_stages import Workspace, unforeseen

log = logging.getLogger(__name__)

_IN_MEMORY = 8 << 20


@dataclass(frozen=True)
class Pull:
    """The result of one pull.

    Attributes:
        partner, tenant, stream: the listing that was pulled.
        path: its export, relative to the landing; of a failed pull, the one it would have written.
        at: start time, UTC.
        records: records written.
        error: why it failed, or None.
    """

    partner: str
    tenant: str
    stream: str
    path: str
    at: datetime
    records: int = 0
    error: str | None = None


def streams_to_pull(
    sources: Sources,
    partner: str | None = None,
    stream: str | None = None,
    tenant: str | None = None,
    dates: tuple[date, date] | None = None,
) -> list[Stream]:
    """Returns the streams that some source pulls; none if today (UTC) is not among the dates.

    The arguments are those of `sync.discover`.
    """
    if dates is not None and not dates[0] <= datetime.now(UTC).date() <= dates[1]:
        return []
    return [
        declared
        for declared in STREAMS
        if partner in (None, declared.partner)
        and stream in (None, declared.name, declared.full_name)
        and _tenants(sources, declared, [tenant] if tenant else [])
    ]


def pull(workspace: Workspace, stream: Stream, tenants: Collection[str] = ()) -> list[Pull]:
    """Pulls a stream's listing of every tenant whose source asks for it, each on its own.

    Args:
        workspace: the sync's workspace.
        stream: the stream.
        tenants: only these; all if empty.

    Returns:
        One result per tenant. An error is in the result and never raised: other tenants, and files already in the
        landing, are not affected.
    """
    return [_pull(workspace, stream, tenant) for tenant in _tenants(workspace.sources, stream, tenants)]


def _tenants(sources: Sources, stream: Stream, wanted: Collection[str]) -> list[str]:
    chosen = {stream.normalize_tenant(tenant) or tenant for tenant in wanted}
    return [t for t in sources.pulled(stream.partner, stream.name) if not chosen or t in chosen]


def _pull(workspace: Workspace, stream: Stream, tenant: str) -> Pull:
    at = datetime.now(UTC)
    path = f"{stream.partner}/{tenant}/{stream.name}/{pulled_name(stream.name, at)}"
    started = Pull(stream.partner, tenant, stream.name, path, at)
    try:
        return _into_landing(workspace, stream, started)
    except SyncError as error:
        failure = error
    except Exception as error:
        failure = unforeseen(workspace, f"pull-{stream.partner}-{stream.name}", error)
    log.info("the pull of %s/%s failed: %s", stream.full_name, tenant, on_one_line(str(failure)))
    return replace(started, error=str(failure))


def _into_landing(workspace: Workspace, stream: Stream, started: Pull) -> Pull:
    """Writes the export beside the landing first: an incomplete one never appears there."""
    # httpx takes a fifth of a second to import, and most syncs pull nothing.
    from sync_pipelines.exports.pull import pull_listing

    settings = workspace.sources.for_stream(stream.partner, started.tenant, stream.name).pull
    assert stream.pull is not None and settings is not None
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        content = cast(BinaryIO, spool)
        records = pull_listing(stream.pull, settings, content)
        return replace(started, records=records, path=workspace.landing.publish(started.path, content))
