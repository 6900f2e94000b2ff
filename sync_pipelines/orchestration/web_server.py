"""Dagster's web server behind its door: `python -m sync_pipelines.orchestration.web_server`.

`sync-pipelines up` runs it, and so do production units. It does what `dagster-webserver` does.

Belongs here: its options, building and serving the app. Does not belong here: rejecting requests (`web_door`), restarts
(`services`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import click
import uvicorn

from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.orchestration.listening import check_listening
from sync_pipelines.orchestration.private_dagster import web_app
from sync_pipelines.orchestration.web_door import WebDoor
from sync_pipelines.stages.first_day import first_day_moved_at

WORKSPACE: Final = Path(__file__).with_name("workspace.yaml")
_LOOK_EVERY: Final = 5.0
_LOGGER: Final = "dagster-webserver"
"""Dagster's own logger; Dagster sets its level and format."""


@click.command(context_settings={"help_option_names": ["--help"]})
@click.option("--host", "-h", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", "-p", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port to listen on.")
@click.option(
    "--workspace", "-w", type=click.Path(exists=True, dir_okay=False), default=str(WORKSPACE), help="Workspace file."
)
@click.option("--read-only", is_flag=True, help="Reject every mutation: nobody can launch or change anything.")
@click.option("--allow-remote", is_flag=True, help="Allow a --host other than loopback; Dagster's UI has no login.")
def serve(host: str, port: int, workspace: str, read_only: bool, allow_remote: bool) -> None:
    """Serve Dagster's UI, to localhost and the host of SYNC_UI_URL only."""
    try:
        settings = load_settings()
        check_listening(host, allow_remote=allow_remote)
    except ConfigurationError as error:
        raise _Fault(error) from None
    if not os.environ.get("DAGSTER_HOME"):
        raise click.UsageError("DAGSTER_HOME is not set; name the folder with dagster.yaml")
    with web_app([workspace], read_only=read_only, lifespan=_lifespan) as (app, reload):
        threading.Thread(target=_follow_first_day, args=(settings.home, reload), daemon=True).start()
        logging.getLogger(_LOGGER).info(f"Serving the UI on http://{host}:{port} in process {os.getpid()}")
        uvicorn.run(WebDoor(app, settings.ui_url), host=host, port=port, log_level="warning")


def _follow_first_day(home: Path, reload: Callable[[], None]) -> None:
    """Reloads the definitions when an export arrives that is older than all before: partitions start with it."""
    moved_at = first_day_moved_at(home)
    while True:
        time.sleep(_LOOK_EVERY)
        if moved_at != (moved_at := first_day_moved_at(home)):
            try:
                reload()
            except Exception:
                logging.getLogger(_LOGGER).exception("The definitions could not be reloaded")


class _Fault(click.ClickException):
    exit_code = ConfigurationError.exit_status

    def __init__(self, error: ConfigurationError) -> None:
        super().__init__(f"{error.message}; {error.hint}" if error.hint else error.message)


@contextlib.asynccontextmanager
async def _lifespan(app: Any) -> AsyncIterator[None]:
    # Uvicorn cancels it at shutdown, which is not an error.
    with contextlib.suppress(asyncio.CancelledError):
        yield


if __name__ == "__main__":
    sys.exit(serve())
