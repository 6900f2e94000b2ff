"""The footer of an export's part of an object: its summary, and the positions of its sections.

Belongs here: the footer and its checksum. Does not belong here: writing sections (`object_writer`), reading them
(`object_reader`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

_FORMAT: Final = 1
_DIGITS: Final = 32


@dataclass
class Summary:
    """A summary of normalizing one export.

    Attributes:
        read, rejected: number of records, and of rejects.
        lines: number of lines of a flat file whose lines are grouped (O12), else None.
        leniencies, unknown_fields: code or name -> count.
        effective_from, effective_to: the times of its accepted records, as ISO 8601.
        fingerprint: fingerprint of the settings.
        contract: fingerprint of the stream's declaration.
        seconds: duration.
        referred: foreign key, partner and tenant of the rows that its records refer to.
        at: the export's own time, as ISO 8601.
        operations: the operations of its records.
        bits: name -> bit of `present`, by the contract at that time.
        complete: the bits of what every record of its own object has; 0 unless all are upserts that apply their lists
            as declared, and in objects of earlier versions.
        columns: the names of a flat file's columns; None for others.
        erasures: how often people had been erased by then (`ErasedPeople.changes`).
    """

    read: int = 0
    rejected: int = 0
    lines: int | None = None
    leniencies: dict[str, int] = field(default_factory=dict)
    unknown_fields: dict[str, int] = field(default_factory=dict)
    effective_from: str | None = None
    effective_to: str | None = None
    fingerprint: str = ""
    contract: str = ""
    seconds: float = 0.0
    referred: list[list[str]] = field(default_factory=list)
    at: str = ""
    operations: list[str] = field(default_factory=list)
    bits: dict[str, int] = field(default_factory=dict)
    complete: int = 0
    columns: list[str] | None = None
    erasures: int = 0

    @property
    def reading(self) -> tuple[str, str]:
        """What must be equal for two exports so that equal texts are equal records."""
        return self.fingerprint, self.contract

    def has_complete(self, names: Iterable[str]) -> bool:
        """Whether every record of its own object is known to have all of some columns, links and lists."""
        return self.complete != 0 and all(name in self.bits and self.complete >> self.bits[name] & 1 for name in names)

    @property
    def window(self) -> tuple[datetime, datetime] | None:
        """The first and last time of its records, or None if it has none."""
        if self.effective_from is None or self.effective_to is None:
            return None
        return datetime.fromisoformat(self.effective_from), datetime.fromisoformat(self.effective_to)


class Section(NamedTuple):
    """A section.

    Attributes:
        start: its start in the export's part.
        size: its stored size in bytes.
        plain: its decompressed size in bytes; None if it is not compressed.
        checksums: XXH3 of its decompressed content. Uncompressed Parquet has one for each row group and one for its
            footer, so that reading a few records only checks a few.
        stored: XXH3 of its stored bytes if it is compressed; None if it is not, or was written by an earlier version.
    """

    start: int
    size: int
    plain: int | None
    checksums: list[str]
    stored: str | None = None


class Footer(NamedTuple):
    """A footer.

    Attributes:
        summary: the summary of normalizing.
        sections: by name.
    """

    summary: Summary
    sections: dict[str, Section]

    def to_bytes(self) -> bytes:
        """Returns the footer as it is stored."""
        written = {"format": _FORMAT, "summary": asdict(self.summary), "sections": self.sections}
        return json.dumps(written, separators=(",", ":")).encode()

    @classmethod
    def of_bytes(cls, content: bytes) -> Footer:
        """Returns the footer in some bytes whose checksum was verified.

        Raises:
            ValueError, LookupError, TypeError: they are not a footer, or one of a later version.
        """
        read: dict[str, Any] = json.loads(content)
        if read["format"] != _FORMAT:
            raise ValueError(f"format {read['format']}, this program knows {_FORMAT}")
        sections = {name: Section(*section) for name, section in read["sections"].items()}
        return cls(Summary(**read["summary"]), sections)


def footer_checksum(content: bytes) -> str:
    """Returns 128 bits of the SHA-256 of a footer, as in the ledger."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
