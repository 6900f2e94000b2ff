"""The definitions that Dagster loads.

Belongs here: the object that Dagster looks for. Does not belong here: building it (`orchestration.build`).
"""

from __future__ import annotations

from sync_pipelines.orchestration.build import build_definitions

__all__ = ["build_definitions", "defs"]

defs = build_definitions()
