"""Looks at the landing that never hold up a tick: one that takes long goes on beside it, and a later tick takes it up.

A look enters what it finds into the ledger by itself, so one that is lost with its process is only made again.

Belongs here: how long a tick waits for a look. Does not belong here: what a look does (`sync.discover`), what a tick
does with it (`sensors`).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final

from sync_pipelines import ledger, sync
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.ledger import LedgerFile
from sync_pipelines.settings import Settings
from sync_pipelines.sync import Workspace

PATIENCE: Final = 10.0
"""Seconds a tick waits for its look."""

GIVEN_UP_AFTER: Final = 1_800.0
"""Seconds after which a look is taken for stuck and another begins."""


@dataclass
class _Look:
    """One look on its way."""

    begun: float = field(default_factory=time.monotonic)
    ended: threading.Event = field(default_factory=threading.Event)
    pending: list[LedgerFile] = field(default_factory=list)
    error: Exception | None = None

    def run(self, workspace: Workspace, stream: Stream) -> None:
        try:
            self.pending = sync.discover(workspace, stream.partner, stream.name).pending
        except Exception as error:
            self.error = error
        finally:
            self.ended.set()


_on_their_way: dict[tuple[Settings, str], _Look] = {}


def pending_of(workspace: Workspace, stream: Stream) -> list[LedgerFile] | float:
    """What a stream's landing has to load, or for how many seconds the look has been going on.

    Raises:
        LandingUnavailable: the landing does not answer.
        DatabaseUnavailable: the database does not answer.
    """
    key = (workspace.settings, stream.full_name)
    look = _on_their_way.get(key)
    is_new = look is None or time.monotonic() - look.begun > GIVEN_UP_AFTER
    if look is None or is_new:
        look = _on_their_way[key] = _Look()
        threading.Thread(
            target=look.run, args=(workspace, stream), name=f"look {stream.full_name}", daemon=True
        ).start()
    if not look.ended.wait(PATIENCE):
        return time.monotonic() - look.begun
    del _on_their_way[key]
    if look.error is not None:
        raise look.error
    return look.pending if is_new else _as_of_now(workspace, look.pending)


def _as_of_now(workspace: Workspace, found: list[LedgerFile]) -> list[LedgerFile]:
    """Entries of an earlier look without those that were loaded since."""
    with workspace.connection() as connection:
        return [entry for entry in ledger.of_ids(connection, [e.id for e in found]) if entry.status != "loaded"]
