"""The command line in this process, with the seconds of its stages noted.

Imports next to nothing, so that the process is the one that is measured: `python -c "... note_stages()" sync --json`.

Belongs here: the marks. Does not belong here: what is made of them (`stages`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

NOTES: Final = "BENCH_NOTES"
"""The variable that names the file."""
BORN: Final = "BENCH_BORN"
"""The variable that tells when the process was started, in seconds since 1970."""
STAGES: Final = (
    "start, imports, database",
    "importing Dagster",
    "archive and read",
    "load",
    "Dagster's run, events, checks",
)


def note_stages() -> None:
    """The command line in this process, with the seconds of its stages written to `BENCH_NOTES`.

    Rows of a first export are written while it is read, so "load" is what is left of that afterwards.
    """
    from sync_pipelines.cli import main as run_command_line
    from sync_pipelines.commands import sync as command
    from sync_pipelines.stages import export_stages
    from sync_pipelines.stages.workspace import Workspace

    spent = dict.fromkeys(STAGES, 0.0)
    reached = {"start": float(os.environ[BORN])}

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.time()
            try:
                return function(*arguments, **options)
            finally:
                spent[stage] += time.time() - began

        return call

    def run(*arguments: Any) -> Any:
        reached["run"] = time.time()
        spent["start, imports, database"] = reached["run"] - reached["start"]
        try:
            return real_run(*arguments)
        finally:
            spent["load"] -= spent["archive and read"]
            whole = time.time() - reached["imported"]
            spent["Dagster's run, events, checks"] = whole - spent["archive and read"] - spent["load"]

    def keeping(workspace: Workspace) -> Any:
        """The first thing that is done when Dagster is imported."""
        reached["imported"] = time.time()
        spent["importing Dagster"] = reached["imported"] - reached["run"]
        return real_keeping(workspace)

    real_run, real_keeping = command._run, Workspace.keeping_connections
    command.__dict__["_run"] = run
    Workspace.keeping_connections = keeping  # type: ignore[method-assign,assignment]
    for stage, name in (("archive and read", "archive_and_keep"), ("load", "load_export")):
        setattr(export_stages, name, timed(stage, getattr(export_stages, name)))
    try:
        run_command_line()
    finally:
        Path(os.environ[NOTES]).write_text(json.dumps(spent))
