"""`sync-pipelines verify`: compares tables, ledger and archive."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """What to verify; None means everything."""

    partner: str | None = None
    stream: str | None = None
    tenant: str | None = None


def run(wanted: Selection, *, repair: bool, of_archive: bool, as_json: bool, unmasked: bool) -> int:
    """Verifies, prints the differences and returns the exit status."""
    raise NotImplementedError
