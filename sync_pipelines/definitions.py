"""What Dagster loads.

Belongs here: the one object it looks for. Does not belong here: how it is put together (`orchestration.build`).
"""

from __future__ import annotations

from sync_pipelines.orchestration.build import build_definitions

__all__ = ["build_definitions", "defs"]

defs = build_definitions()
