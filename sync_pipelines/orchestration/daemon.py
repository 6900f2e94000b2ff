"""Dagster's daemon with a code server that keeps running.

Usage: `python -m sync_pipelines.orchestration.daemon run -w workspace.yaml`.

Dagster's own daemon starts a new code server every minute, to pick up changed code. Each start takes four seconds of
CPU time and loses what the code server knows of the landing. The code of an installation does not change while it
runs. The first partition changes when an export arrives that is older than all before.

Belongs here: when a code server is replaced. Does not belong here: starting the daemon (`services`).
"""

from __future__ import annotations

import time
from typing import Any, Final

from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.orchestration.private_dagster import code_servers, run_daemon
from sync_pipelines.stages.first_day import first_day_moved_at

LONGEST_LIFE: Final = 3_600.0
"""Seconds after which a code server is replaced in any case."""


def are_fresh(registry: Any) -> bool:
    """Returns whether every code server is alive, is not too old, and knows the first partition."""
    since = max(time.time() - LONGEST_LIFE, first_day_moved_at(load_settings().home))
    return all(server.is_alive and server.started_at > since for server in code_servers(registry))


if __name__ == "__main__":
    run_daemon(keeps_code_servers=are_fresh)
