"""Dagster's daemon, whose code server lives on: `python -m sync_pipelines.orchestration.daemon run -w workspace.yaml`.

Dagster's own starts another code server every minute, so that changed code is taken up. That is four seconds of a
processor each time, and what a code server remembers of its looks at the landing is gone. The code of an installation
does not change while it runs.

Belongs here: when a code server is replaced. Does not belong here: starting the daemon (`services`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry, ServerRegistryEntry
from dagster._daemon.cli import main

LONGEST_LIFE: Final = 3_600.0
"""Seconds after which a code server is replaced all the same."""

_replace_all: Final[Callable[[GrpcServerRegistry], None]] = GrpcServerRegistry.clear_all_grpc_endpoints


def replace_spent(registry: GrpcServerRegistry) -> None:
    """Has the code servers started anew if one of them ended, failed to start, or has lived long."""
    if not all(map(_is_fresh, list(registry._active_entries.values()))):
        _replace_all(registry)


def _is_fresh(entry: object) -> bool:
    if not isinstance(entry, ServerRegistryEntry):
        return False
    is_alive = entry.process.server_process.poll() is None
    return is_alive and time.time() - entry.creation_timestamp < LONGEST_LIFE


if __name__ == "__main__":
    GrpcServerRegistry.clear_all_grpc_endpoints = replace_spent  # type: ignore[method-assign]
    main()
