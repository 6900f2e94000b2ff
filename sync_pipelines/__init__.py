"""Loads commerce partners' exports into four PostgreSQL tables, as a Dagster project."""

import os
from typing import Any

# Arrow's own allocator keeps what it has freed: a hundred megabytes in a sync. Read when Arrow is imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

_COMPONENT = "SyncPipelinesComponent"


def __getattr__(name: str) -> Any:
    """Imports Dagster only for those who ask for the component."""
    if name == _COMPONENT:
        from sync_pipelines.orchestration.component import SyncPipelinesComponent

        return SyncPipelinesComponent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), _COMPONENT]
