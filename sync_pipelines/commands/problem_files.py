"""Exports that need a person, as `status` prints them: those that failed, and those of which no record was accepted.

Belongs here: layout. Does not belong here: finding them (`database.reports`), what no stream takes (`misplaced`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import Any, Final

import psycopg

from sync_pipelines.command_line import typed
from sync_pipelines.commands.screen import print_table, say
from sync_pipelines.database import reports
from sync_pipelines.database.reports import FailedFile, RejectedFile, StreamStatus
from sync_pipelines.orchestration.due import ATTEMPTS
from sync_pipelines.orchestration.plurals import counted

_SHOWN: Final = 5
_IN_JSON: Final = 1_000
_UNKNOWN_FORMAT: Final = "format_unknown:"
"""Files that failed for it are listed among those that belong to no stream."""


@dataclass(frozen=True)
class ProblemFiles:
    """Exports that need a person.

    Attributes:
        failed: the latest that failed.
        failed_count: how many failed in all.
        rejected: those of which every record is rejected.
    """

    failed: Sequence[FailedFile]
    failed_count: int
    rejected: Sequence[RejectedFile]

    def print_first(self) -> None:
        """Prints, above everything else, that there are some; nothing if there are none."""
        if self.rejected:
            first, more = self.rejected[0], len(self.rejected) - 1
            others = f", and of {counted(more, 'more export')}" if more else ""
            say(
                f"Every record of {first.path} was rejected ({counted(first.rejected, 'record')}){others}."
                f" To see why: {typed('rejects list')}"
            )
        if self.failed_count:
            they = "it" if self.failed_count == 1 else "them"
            say(f"{counted(self.failed_count, 'export')} failed; nothing of {they} is loaded.")

    def print_details(self) -> None:
        """Prints the exports and what to do; nothing if there are none."""
        failed = [file for file in self.failed if not file.error.startswith(_UNKNOWN_FORMAT)][:_SHOWN]
        if failed:
            say("")
            print_table(
                ("failed export", "attempts", "error"),
                [(file.path, f"{file.attempts}{_aside(file)}", file.error) for file in failed],
            )
            _say_more(self.failed_count - len(failed))
            say(f"Correct the export or sources.yaml, then run: {typed('sync')} (docs/codes.md explains each code)")
        if self.rejected:
            say("")
            print_table(
                ("all records rejected", "records"), [(file.path, file.rejected) for file in self.rejected[:_SHOWN]]
            )
            _say_more(len(self.rejected) - _SHOWN)
            say(f"Correct the export or sources.yaml. After a change of sources.yaml, run: {typed('rejects replay')}")

    def as_answer(self) -> dict[str, Any]:
        """Returns what `--json` has of them: the first thousand of each kind, and how many there are."""
        failed = [
            asdict(file)
            | {
                "attempted_at": file.attempted_at and file.attempted_at.astimezone(UTC),
                "is_set_aside": file.attempts >= ATTEMPTS,
            }
            for file in self.failed[:_IN_JSON]
        ]
        return {
            "failed_files": failed,
            "failed_count": self.failed_count,
            "wholly_rejected_files": [asdict(file) for file in self.rejected[:_IN_JSON]],
            "wholly_rejected_count": len(self.rejected),
        }


def find_problem_files(connection: psycopg.Connection[Any], streams: Sequence[StreamStatus]) -> ProblemFiles:
    """Returns the exports that need a person.

    Args:
        connection: to the database.
        streams: the status of every stream.
    """
    failed = reports.failed_files(connection, _IN_JSON)
    return ProblemFiles(failed, sum(status.failed for status in streams), reports.wholly_rejected(connection))


def _aside(file: FailedFile) -> str:
    return ", set aside" if file.attempts >= ATTEMPTS else ""


def _say_more(number: int) -> None:
    if number > 0:
        say(f"and {number:,} more: {typed('status --json')}")
