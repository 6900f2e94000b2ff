"""A process in which reading an export whose name has `killer` in it ends the process, as the kernel ends one.

    python -m sync_pipelines_tests.killer sync              the command line
    python -m sync_pipelines_tests.killer run RUN TAGS CONFIG     a run of the job of orders, as a daemon launches it

`KILLER_TAKES_ALL` in the environment: the kernel takes every process of the command, as it does of a container.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.stages import export_stages

TAKES_ALL = "KILLER_TAKES_ALL"


def killing(*arguments: str, settings: Settings, **environment: str) -> int:
    """Runs such a process, in a process group of its own; returns its exit status."""
    given = {
        "SYNC_HOME": str(settings.home),
        "SYNC_DATABASE_URL": str(settings.database_url),
        "SYNC_LANDING": settings.landing,
        "SYNC_SOURCES": str(settings.sources),
    }
    command = [sys.executable, "-m", "sync_pipelines_tests.killer", *arguments]
    done = subprocess.run(command, env={**os.environ, **given, **environment}, start_new_session=True, check=False)
    return done.returncode


def _lay_trap() -> None:
    reads = export_stages.normalize_archived

    def deadly(workspace: Any, entry: Any, *rest: Any) -> str:
        if "killer" in entry.path:
            takes_all = TAKES_ALL in os.environ
            (os.killpg if takes_all else os.kill)(os.getpgrp() if takes_all else os.getpid(), signal.SIGKILL)
        return reads(workspace, entry, *rest)

    export_stages.normalize_archived = deadly  # type: ignore[assignment]


def _run(run_id: str, tags: Mapping[str, str], config: Mapping[str, Any]) -> None:
    from sync_pipelines.configuration.settings import load_settings
    from sync_pipelines.definitions import build_definitions
    from sync_pipelines.orchestration.dagster_names import job_name
    from sync_pipelines.orchestration.instance import open_instance
    from sync_pipelines.partners.replenit import ORDERS

    settings, given = load_settings(), dict(tags)
    key = given.pop("dagster/partition", None)
    job = build_definitions(settings).resolve_job_def(job_name(ORDERS))
    with open_instance(settings) as instance:
        job.execute_in_process(
            instance=instance, partition_key=key, tags=given, run_config=config, run_id=run_id, raise_on_error=False
        )


if __name__ == "__main__":
    _lay_trap()
    if sys.argv[1] == "run":
        _run(sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4]))
    else:
        from sync_pipelines.cli import main

        main()
