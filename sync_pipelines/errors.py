"""The errors of sync_pipelines, by what to do about them.

    SyncError
    ├── ConfigurationError     a setting or sources.yaml is wrong: correct it; nothing was changed   (exit 2)
    │   └── LedgerLost         the database is empty, the archive is not: rebuild it                 (exit 1)
    ├── ExportError            one export cannot be read: its file fails, its stream continues        (exit 4)
    ├── LandingUnavailable     the landing does not answer: try again later                           (exit 1)
    ├── DatabaseUnavailable    the database does not answer: try again later                          (exit 1)
    └── ArchiveIncomplete      the archive lacks needed data: restore it                              (exit 1)
        └── ArchiveDamaged     the archive's data is damaged                                          (exit 1)

A single bad record is not an exception: it is a `Reject` (see `sync_pipelines.normalize`).

Belongs here: exceptions that cross rooms. Does not belong here: rejects, leniencies, anything that logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.privacy.redaction import redacted
from sync_pipelines.privacy.untrusted_text import storable

_LONGEST: Final = 2_000
"""Longest message; an export could put a megabyte of its own text into one."""


class SyncError(Exception):
    """An error with a code for programs, a sentence for people, and what to do.

    Attributes:
        code: snake_case word from a fixed list (`sync_pipelines.contracts.codes`).
        message: one sentence about what is wrong and where, without secrets and e-mail addresses; safe for any
            database, log or terminal.
        hint: what the reader can do, or an empty string.
    """

    exit_status = 1

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.code = code
        self.message = _fit_for_notes(message)
        self.hint = _fit_for_notes(hint)
        super().__init__(f"{code}: {self.message}")

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f" ({self.hint})" if self.hint else "")


def _fit_for_notes(text: str) -> str:
    shown = without_emails(redacted(storable(text)))
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


class ConfigurationError(SyncError):
    """A setting or `sources.yaml` is wrong. The message names the variable, or the file, line and key."""

    exit_status = 2


class LedgerLost(ConfigurationError):
    """The database is not the one that belongs to the archive: it was lost, or it is new."""

    exit_status = 1


@dataclass(frozen=True)
class Position:
    """A position in an export: a unit ("byte", "line", "row", "element") and a number."""

    unit: str
    number: int

    def __str__(self) -> str:
        return f"{self.unit} {self.number}"


class ExportError(SyncError):
    """An export cannot be read as a whole (X13). Nothing of it is loaded.

    Attributes:
        position: where reading stopped, if known.
    """

    exit_status = 4

    def __init__(self, code: str, message: str, hint: str = "", position: Position | None = None) -> None:
        if position is not None:
            message = f"{message} (at {position})"
        super().__init__(code, message, hint)
        self.position = position


class LandingUnavailable(SyncError):
    """The landing cannot be listed or read at all."""


class DatabaseUnavailable(SyncError):
    """PostgreSQL does not answer or denies access."""


class ArchiveIncomplete(SyncError):
    """The archive lacks data, so an export cannot be folded or read again.

    Attributes:
        kept: location of the kept records, as in the ledger; empty for raw bytes.
    """

    def __init__(self, code: str, message: str, hint: str = "", kept: str = "") -> None:
        super().__init__(code, message, hint)
        self.kept = kept


class ArchiveDamaged(ArchiveIncomplete):
    """Data in the archive is damaged."""

    def __init__(self, path: str, hint: str, kept: str = "", why: str = "its checksum is wrong") -> None:
        super().__init__("archive_damaged", f"the archive's {path} is damaged: {why}", hint, kept)
