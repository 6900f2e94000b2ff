"""`sync-pipelines explain`: every record of a row, and what each one changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Asked:
    """The row, and what of it, to explain."""

    table: str
    tenant: str
    key: str
    column: str | None
    partner: str | None
    at: datetime | None


def run(asked: Asked, *, as_json: bool, unmasked: bool) -> int:
    """Prints the explanation."""
    raise NotImplementedError
