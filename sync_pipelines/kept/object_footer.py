"""The footer of an export's part of an object: its summary, and where the sections before it are.

Belongs here: the footer and its checksum. Does not belong here: writing sections (`object_writer`), reading them
(`object_reader`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

_FORMAT: Final = 1
_DIGITS: Final = 32


@dataclass
class Summary:
    """What normalizing one export came to.

    Attributes:
        read, rejected: records, and those refused.
        lines: lines of a flat file whose lines fold (O12), else None.
        leniencies, unknown_fields: code or name -> how often.
        effective_from, effective_to: the times of its accepted records, as ISO 8601.
        fingerprint: of the settings it was read under.
        contract: of the stream's declaration it was read by.
        seconds: what it took.
        referred: foreign key, partner and tenant of the rows its records refer to.
        at: the export's own time, as ISO 8601.
        operations: what its records ask for.
        bits: which bit of `present` is whose, as the contract was then.
        columns: the names of a flat file's columns; None for others.
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
    columns: list[str] | None = None

    @property
    def reading(self) -> tuple[str, str]:
        """What two exports must have in common for equal texts to be equal records."""
        return self.fingerprint, self.contract

    @property
    def window(self) -> tuple[datetime, datetime] | None:
        """The first and last time of its records, None where it has none."""
        if self.effective_from is None or self.effective_to is None:
            return None
        return datetime.fromisoformat(self.effective_from), datetime.fromisoformat(self.effective_to)


class Section(NamedTuple):
    """A section.

    Attributes:
        start: where it is in the export's part.
        size: bytes as stored.
        plain: bytes once they are decompressed, None where they are stored as they are.
        checksums: XXH3 of what it holds, decompressed. Parquet that is stored as it is has one of each row group and
            one of its footer, so that reading a few records costs the check of a few.
    """

    start: int
    size: int
    plain: int | None
    checksums: list[str]


class Footer(NamedTuple):
    """A footer.

    Attributes:
        summary: what normalizing came to.
        sections: by name.
    """

    summary: Summary
    sections: dict[str, Section]

    def to_bytes(self) -> bytes:
        """The footer as it is stored."""
        written = {"format": _FORMAT, "summary": asdict(self.summary), "sections": self.sections}
        return json.dumps(written, separators=(",", ":")).encode()

    @classmethod
    def of_bytes(cls, content: bytes) -> Footer:
        """The footer that some bytes are, which were compared with their checksum.

        Raises:
            ValueError, LookupError, TypeError: they are none, or one of a later version.
        """
        read: dict[str, Any] = json.loads(content)
        if read["format"] != _FORMAT:
            raise ValueError(f"format {read['format']}, this program knows {_FORMAT}")
        sections = {name: Section(*section) for name, section in read["sections"].items()}
        return cls(Summary(**read["summary"]), sections)


def footer_checksum(content: bytes) -> str:
    """128 bits of the SHA-256 of a footer, which the ledger has."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
