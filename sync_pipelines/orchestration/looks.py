"""Looks at the landing that never block a tick: a long look continues in a thread, and a later tick uses its result.

A look records what it finds in the ledger. If its process dies, the next look finds the same.

Belongs here: how long a tick waits for a look, and when no look is needed. Does not belong here: what a look does
(`stages.export_stages.discover`), how a tick uses it (`sensors`).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.orchestration.due import is_set_aside
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.discovery import Discovery
from sync_pipelines.stages.export_stages import Workspace

PATIENCE: Final = 10.0
"""Seconds a tick waits for its look."""

GIVEN_UP_AFTER: Final = 1_800.0
"""Seconds after which a look counts as stuck and another starts."""

BRIEF: Final = 0.25
RESTS: Final = 120
LONGEST_REST: Final = 120.0
"""If a look took longer than `BRIEF` seconds and found nothing to load, the next one waits `RESTS` times as long, up
to `LONGEST_REST` seconds. Otherwise 100,000 loaded files would keep a CPU busy."""


@dataclass
class _Look:
    """A look in progress."""

    started_at: float = field(default_factory=time.monotonic)
    ended: threading.Event = field(default_factory=threading.Event)
    seconds: float = 0.0
    pending: list[LedgerFile] = field(default_factory=list)
    gone: list[LedgerFile] = field(default_factory=list)
    error: Exception | None = None

    def run(self, workspace: Workspace, stream: Stream) -> None:
        try:
            found = export_stages.discover(workspace, stream.partner, stream.name)
            self.pending, self.gone = found.pending, found.gone
        except Exception as error:
            self.error = error
        finally:
            self.seconds = time.monotonic() - self.started_at
            self.ended.set()

    def rest(self) -> float:
        """Returns for how many seconds no other look is needed; none while a file may become due."""
        is_idle = self.error is None and all(map(is_set_aside, self.pending))
        if not is_idle or self.seconds < BRIEF:
            return 0.0
        return min(RESTS * self.seconds, LONGEST_REST)


_on_their_way: dict[tuple[Settings, str], _Look] = {}
_resting: dict[tuple[Settings, str], tuple[float, list[LedgerFile]]] = {}
"""Until when no look is needed, and what the last one found."""


def look_at(workspace: Workspace, stream: Stream) -> Discovery | float:
    """Returns what a look at a stream's landing found, or for how many seconds the look has been running.

    Raises:
        LandingUnavailable: the landing does not answer.
        DatabaseUnavailable: the database does not answer.
    """
    key = (workspace.settings, stream.full_name)
    until, found = _resting.get(key, (0.0, []))
    if time.monotonic() < until:
        return Discovery(_as_of_now(workspace, found))
    look = _on_their_way.get(key)
    is_new = look is None or time.monotonic() - look.started_at > GIVEN_UP_AFTER
    if look is None or is_new:
        look = _on_their_way[key] = _Look()
        threading.Thread(
            target=look.run, args=(workspace, stream), name=f"look {stream.full_name}", daemon=True
        ).start()
    if not look.ended.wait(PATIENCE):
        return time.monotonic() - look.started_at
    del _on_their_way[key]
    _resting[key] = time.monotonic() + look.rest(), look.pending
    if look.error is not None:
        raise look.error
    return Discovery(look.pending if is_new else _as_of_now(workspace, look.pending), gone=look.gone)


def _as_of_now(workspace: Workspace, found: list[LedgerFile]) -> list[LedgerFile]:
    """Entries of an earlier look that are still to be loaded."""
    if not found:
        return []
    with workspace.connection() as connection:
        return [entry for entry in ledger.of_ids(connection, [e.id for e in found]) if entry.status in ledger.WAITING]
