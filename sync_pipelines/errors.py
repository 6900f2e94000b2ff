"""What can go wrong, sorted by what to do about it.

    SyncError
    ├── ConfigurationError     the user's settings or sources.yaml: correct them, nothing was touched   (exit 2)
    ├── ExportError            one export cannot be read as a whole: its file fails, its stream goes on   (exit 4)
    ├── LandingUnavailable     the landing does not answer: try again later                               (exit 1)
    ├── DatabaseUnavailable    the database does not answer: try again later                              (exit 1)
    └── ArchiveIncomplete      what a fold or a reading needs is gone: restore the archive                (exit 1)
        └── ArchiveDamaged     it is there, and is not what was written                                   (exit 1)

A single bad record is no exception: it is a `Reject` (see `sync_pipelines.normalize`).

Belongs here: exceptions that cross rooms. Does not belong here: rejects, leniencies, anything that logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.privacy.redaction import redacted
from sync_pipelines.privacy.untrusted_text import storable

_LONGEST: Final = 2_000
"""Characters of a message; an export may put a megabyte of its own text into one."""


class SyncError(Exception):
    """A fault with a code for programs, a sentence for people, and what to do about it.

    Attributes:
        code: snake_case word from a closed list (`sync_pipelines.contracts.codes`).
        message: one sentence that names the thing at fault, without secrets and e-mail addresses; any database, log
            or terminal can take it.
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
    """A setting or `sources.yaml` is wrong; the message names variable, or file, line and key."""

    exit_status = 2


@dataclass(frozen=True)
class Position:
    """A place in an export: what is counted ("byte", "line", "row", "element") and the count."""

    unit: str
    number: int

    def __str__(self) -> str:
        return f"{self.unit} {self.number}"


class ExportError(SyncError):
    """An export cannot be read as a whole (X13); nothing of it is loaded.

    Attributes:
        position: where reading stopped, if that is known.
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
    """PostgreSQL does not answer or refuses us."""


class ArchiveIncomplete(SyncError):
    """A part of the archive is missing, so an export cannot be folded in or read again.

    Attributes:
        kept: where the kept records are that it belongs to, as the ledger has it; empty for raw bytes.
    """

    def __init__(self, code: str, message: str, hint: str = "", kept: str = "") -> None:
        super().__init__(code, message, hint)
        self.kept = kept


class ArchiveDamaged(ArchiveIncomplete):
    """A part of the archive is not what was written."""

    def __init__(self, path: str, hint: str, kept: str = "", why: str = "its checksum is wrong") -> None:
        super().__init__("archive_damaged", f"the archive's {path} is damaged: {why}", hint, kept)
