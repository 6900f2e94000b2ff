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
    "archive",
    "normalize",
    "load",
    "Dagster's run, events, checks",
)


def note_stages() -> None:
    """The command line in this process, with the seconds of its stages written to `BENCH_NOTES`."""
    from sync_pipelines.cli import main as run_command_line
    from sync_pipelines.commands import sync as command
    from sync_pipelines.stages import export_stages, forked, head_start

    spent = dict.fromkeys(STAGES, 0.0)
    reached = {"start": float(os.environ[BORN])}

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            begun = time.time()
            try:
                return function(*arguments, **options)
            finally:
                spent[stage] += time.time() - begun

        return call

    def run(*arguments: Any) -> Any:
        reached["run"] = reached["imported"] = time.time()
        spent["start, imports, database"] = reached["run"] - reached["start"]
        try:
            return real_run(*arguments)
        finally:
            whole = time.time() - reached["imported"]
            spent["Dagster's run, events, checks"] = whole - sum(spent[s] for s in ("archive", "normalize", "load"))

    def told_once(end: Callable[[Any], None]) -> Callable[[Any], None]:
        """The head start is told to end when Dagster is imported, and once more at the end."""

        def call(begun: Any) -> None:
            if not spent["importing Dagster"]:
                reached["imported"] = time.time()
                spent["importing Dagster"] = reached["imported"] - reached["run"]
            end(begun)

        return call

    real_run = command._run
    command.__dict__["_run"] = run
    for kind, name in ((forked.ForkedHeadStart, "end"), (head_start.HeadStart, "end")):
        setattr(kind, name, told_once(getattr(kind, name)))
    for stage, name in (("archive", "archive_export"), ("normalize", "normalize_export"), ("load", "load_export")):
        setattr(export_stages, name, timed(stage, getattr(export_stages, name)))
    try:
        run_command_line()
    finally:
        Path(os.environ[NOTES]).write_text(json.dumps(spent))
