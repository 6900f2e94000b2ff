"""Exports of one landing loaded one after another in this process, in some order.

Timed is everything from the landing to the tables, discovery aside.

Belongs here: the loop, its times, what the tables hold afterwards. Does not belong here: the exports and the orders
(`late`, `lists`), whole processes (`process`).
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from bench.process import KILOBYTE
from bench.server import Server
from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.export_stages import Workspace

Order = Callable[[list[LedgerFile]], Sequence[LedgerFile]]
"""Entries in version order -> the same in the order to load them in."""


@dataclass(frozen=True)
class Way:
    """One order of loading, in a database of its own.

    Attributes:
        name: of the order.
        seconds: by the clock.
        processor: seconds of this process.
        held: the rows that the tables hold at the end.
    """

    name: str
    seconds: float
    processor: float
    held: list[tuple[Any, ...]]


def load_in_order(server: Server, folder: Path, name: str, order: Order, question: LiteralString) -> Way:
    """Loads the exports of `folder/landing` in an order, file by file.

    Args:
        server: gets a database for it.
        folder: with the landing.
        name: of the order.
        order: which one.
        question: a query of the rows to compare.

    Raises:
        SystemExit: an export does not load.
    """
    workspace = open_fresh(server, folder, name.replace(" ", "_"))
    entries = order(sorted(export_stages.discover(workspace).pending, key=lambda entry: entry.version))
    begun, processor = time.monotonic(), time.process_time()
    for entry in entries:
        load_one(workspace, entry)
    seconds, processor = time.monotonic() - begun, time.process_time() - processor
    print(f"{name}: {seconds:.1f} s", file=sys.stderr, flush=True)
    with workspace.connection() as connection:
        return Way(name, seconds, processor, connection.execute(question).fetchall())


def load_one(workspace: Workspace, entry: LedgerFile) -> None:
    """Loads an export.

    Raises:
        SystemExit: it does not load.
    """
    loaded = export_stages.load_export(workspace, entry.id)
    if loaded.status != "loaded":
        raise SystemExit(f"{loaded.path}: {loaded.error}")


def peak_mb() -> float:
    """The largest memory that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE / 1e6


def open_fresh(server: Server, folder: Path, name: str) -> Workspace:
    """Returns a workspace of `folder/landing` with a database and a state folder of its own."""
    settings = Settings(
        home=folder / name,
        database_url=server.create_database(name),
        landing=str(folder / "landing"),
        sources=folder / "sources.yaml",
    )
    return export_stages.open_workspace(settings)
