"""Exports that need a person, as `status` prints them: those that failed, and those that a guard holds.

Belongs here: layout. Does not belong here: finding them (`database.reports`), what no stream takes (`misplaced`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import Any, Final

import psycopg

from sync_pipelines.command_line import typed
from sync_pipelines.commands.held_files import print_held, why
from sync_pipelines.commands.screen import print_table, say
from sync_pipelines.database import ledger, reports
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.reports import FailedFile, StreamStatus
from sync_pipelines.orchestration.due import ATTEMPTS
from sync_pipelines.orchestration.plurals import counted, is_or_are

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
        held: those that a guard holds, the latest first.
    """

    failed: Sequence[FailedFile]
    failed_count: int
    held: Sequence[LedgerFile]

    def print_first(self) -> None:
        """Prints, above everything else, that there are some; nothing if there are none."""
        if self.held:
            number, first = len(self.held), self.held[0]
            say(
                f"{counted(number, 'export')} {is_or_are(number)} held, and not loaded."
                f" The latest: {first.path}: {why(first)}."
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
        print_held(self.held[:_SHOWN])
        _say_more(len(self.held) - _SHOWN)

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
            "held_files": [
                {
                    "partner": entry.partner,
                    "tenant": entry.tenant,
                    "stream": entry.stream,
                    "path": entry.path,
                    "error": entry.error,
                    "held": entry.held,
                }
                for entry in self.held[:_IN_JSON]
            ],
            "held_count": len(self.held),
        }


def find_problem_files(connection: psycopg.Connection[Any], streams: Sequence[StreamStatus]) -> ProblemFiles:
    """Returns the exports that need a person.

    Args:
        connection: to the database.
        streams: the status of every stream.
    """
    failed = reports.failed_files(connection, _IN_JSON)
    return ProblemFiles(failed, sum(status.failed for status in streams), ledger.held(connection))


def _aside(file: FailedFile) -> str:
    return ", set aside" if file.attempts >= ATTEMPTS else ""


def _say_more(number: int) -> None:
    if number > 0:
        say(f"and {number:,} more: {typed('status --json')}")
