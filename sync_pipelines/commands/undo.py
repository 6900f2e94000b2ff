"""`sync-pipelines undo` and `redo`: take loaded exports back, and load them again."""

from __future__ import annotations

from collections.abc import Sequence


def run_undo(
    paths: Sequence[str], revision: int | None, reason: str, *, is_preview: bool, as_json: bool, unmasked: bool
) -> int:
    """Withdraws exports."""
    raise NotImplementedError


def run_redo(paths: Sequence[str], revision: int | None, reason: str, *, as_json: bool) -> int:
    """Loads withdrawn exports again."""
    raise NotImplementedError
