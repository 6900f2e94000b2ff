"""Progress of `sync`: a bar on a terminal, plain lines otherwise, always on standard error.

Belongs here: following files through the stages. Does not belong here: the final answer (`commands.sync`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sync_pipelines.commands.screen import err, notify, shown
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.pulls import Pull

_VERBS = {"exports": "archived", "records": "read", "rows": "loaded"}
_ADVANCE = {"exports": 1, "records": 2, "rows": 3}


class FileProgress:
    """Counts files through the stages and remembers which were handled, and which pulls failed."""

    def __init__(self, files: int, *, is_preview: bool = False) -> None:
        self._prefix = "preview: " if is_preview else ""
        self.handled: dict[int, None] = {}
        self.failed_pulls: list[Pull] = []
        self._furthest: dict[int, int] = {}
        self._files = files
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files"),
            TimeElapsedColumn(),
            console=err(),
            transient=True,
            disable=not err().is_terminal or not files,
        )
        self._task = self._bar.add_task("sync", total=files)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def started(self, entry: LedgerFile) -> None:
        """Names the file that is being loaded."""
        self._bar.update(self._task, description=on_one_line(f"loading {entry.path}")[-70:])

    def reached(self, stage: str, entry: LedgerFile) -> None:
        """Moves the bar, or prints a line for a file that is done."""
        self.handled.setdefault(entry.id)
        ended = stage == "rows" or entry.status == "failed"
        before = self._furthest.get(entry.id, 0)
        now = 3 if ended else max(_ADVANCE[stage], before)
        self._furthest[entry.id] = now
        self._bar.update(
            self._task, advance=(now - before) / 3, description=on_one_line(f"{_VERBS[stage]} {entry.path}")[-70:]
        )
        if ended and self._bar.disable:
            notify(self._prefix + line_of(entry))

    def pulled(self, pull: Pull) -> None:
        """Prints a line for a listing that was pulled, or was not."""
        if pull.error:
            self.failed_pulls.append(pull)
        else:
            self._files += 1
            self._bar.update(self._task, total=self._files)
        if self._bar.disable:
            notify(
                f"failed {pull.path}: {pull.error}"
                if pull.error
                else f"pulled {pull.path}: {shown(pull.records)} records"
            )


def line_of(entry: LedgerFile) -> str:
    """One file's outcome in a line."""
    if entry.status == "failed":
        return f"failed {entry.path}: {entry.error}"
    if entry.status == "held":
        return f"held {entry.path}: {(entry.error or '').removeprefix('held: ')}"
    outcomes = [f"{shown(n)} {name.replace('_', ' ')}" for name, n in entry.counts.items() if n and name != "read"]
    return f"{entry.status} {entry.path}: {shown(entry.read)} read" + (f" ({', '.join(outcomes)})" if outcomes else "")


@contextmanager
def working(sentence: str) -> Iterator[None]:
    """A spinner beside a sentence on a terminal; nothing otherwise."""
    if not err().is_terminal:
        yield
        return
    with err().status(sentence):
        yield
