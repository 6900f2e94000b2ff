"""What tests do with definitions: tick a sensor, run what it asks for, look at what became of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.orchestration.dagster_names import asset_key, job_name, sensor_name
from sync_pipelines.orchestration.resources import WORKSPACE
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.pulls import Pull

TABLE = asset_key("rows", ORDERS)


@dataclass
class Watching:
    """An observer that remembers."""

    seen: list[tuple[str, str]] = field(default_factory=list)

    def started(self, entry: LedgerFile) -> None:
        self.seen.append(("started", entry.path.rsplit("/", 1)[-1]))

    def reached(self, stage: str, entry: LedgerFile) -> None:
        self.seen.append((stage, entry.path.rsplit("/", 1)[-1]))

    def pulled(self, pull: Pull) -> None:
        self.seen.append(("pull", pull.tenant))


def tick(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    """One evaluation of the sensor of orders."""
    repository = definitions.get_repository_def()
    sensor = repository.get_sensor_def(sensor_name(ORDERS))
    resources = {WORKSPACE: (definitions.resources or {})[WORKSPACE]}
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=definitions, resources=resources)
    with context:
        return sensor.evaluate_tick(context)


def run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    tags: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    """A run of the job of orders, as a run request asks for it."""
    given = dict(tags)
    key = given.pop("dagster/partition", None)
    job = definitions.resolve_job_def(job_name(ORDERS))
    return job.execute_in_process(
        instance=instance, partition_key=key, tags=given, run_config=dict(config or {}), raise_on_error=False
    )


def request(
    definitions: dg.Definitions, instance: dg.DagsterInstance, asked: dg.RunRequest
) -> dg.ExecuteInProcessResult:
    """Runs what a sensor asked for."""
    return run(definitions, instance, asked.tags, asked.run_config)


def days(first: int, last: int) -> dict[str, str]:
    """Tags for some days of December 2010."""
    return {
        "dagster/asset_partition_range_start": f"2010-12-{first:02d}",
        "dagster/asset_partition_range_end": f"2010-12-{last:02d}",
    }


def materialized(
    instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult, key: dg.AssetKey = TABLE
) -> dict[str, dict[str, Any]]:
    """Partition -> metadata of what a run materialized."""
    found = {}
    for record in instance.get_records_for_run(
        result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    ).records:
        made = record.asset_materialization
        if made is not None and made.asset_key == key:
            found[str(made.partition)] = {name: value.value for name, value in made.metadata.items()}
    return found


def files(workspace: Workspace) -> dict[str, tuple[str, int, str | None]]:
    """File name -> status, attempts, error."""
    with workspace.connection() as connection:
        rows = connection.execute("select path, status, attempts, error from sync.export_files order by id").fetchall()
    return {path.rsplit("/", 1)[-1]: (status, attempts, error) for path, status, attempts, error in rows}


@contextmanager
def holding(home: Path, run_id: str, does: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process of another container, with the same state folder, that is at work on a run."""
    program = (
        "import sys, time; from pathlib import Path; from sync_pipelines.stages.run_files import hold_until_exit;"
        f"hold_until_exit(Path({str(home)!r}), {run_id!r}); print('held', flush=True); {does}\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
