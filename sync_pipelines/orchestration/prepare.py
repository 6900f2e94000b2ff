"""Prepares the database before the services start: `python -m sync_pipelines.orchestration.prepare`.

`sync-pipelines up` does this at every start. With a service manager or Compose it is a step of its own. It is safe to
repeat, and safe while services run.

Belongs here: the order of these steps. Does not belong here: what a migration or a pool is.
"""

from __future__ import annotations

import sys

import click

from sync_pipelines.configuration.settings import Settings, load_settings
from sync_pipelines.errors import SyncError
from sync_pipelines.orchestration.activity import bury_orphans
from sync_pipelines.orchestration.instance import limit_pools, open_instance
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages.export_stages import open_workspace


def prepare(settings: Settings) -> None:
    """Migrates the schema, gives each stream's pool its limit, and fails runs whose process was killed."""
    workspace = open_workspace(settings)
    with open_instance(settings) as instance:
        limit_pools(instance, STREAMS)
        bury_orphans(instance, workspace)


@click.command(context_settings={"help_option_names": ["--help"]})
def main() -> None:
    """Migrate the database and set the limits of the streams' pools."""
    try:
        prepare(load_settings())
    except SyncError as error:
        click.echo(f"error: {error.code}: {error.message}" + (f"; {error.hint}" if error.hint else ""), err=True)
        sys.exit(error.exit_status)
    click.echo(f"the database is ready, and {len(STREAMS)} pools have their limit")


if __name__ == "__main__":
    main()
