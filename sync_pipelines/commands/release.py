"""`sync-pipelines release`: loads exports that a guard holds."""

from __future__ import annotations

from collections.abc import Sequence


def run(paths: Sequence[str], revision: int | None, reason: str, *, as_json: bool) -> int:
    """Releases exports."""
    raise NotImplementedError
