"""What Dagster is told: names that users type, one partitions object, no circle and no warning."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
import yaml

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.definitions import build_definitions
from sync_pipelines.orchestration.dagster_names import asset_key
from sync_pipelines.orchestration.partitions import daily_partitions
from sync_pipelines.orchestration.services import build_services
from sync_pipelines.partners import STREAMS
from sync_pipelines.partners.replenit import ORDERS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(Settings())


def test_the_definitions_load(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_names_that_users_rely_on(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    streams = {
        "reten/commerces",
        "replenit/orders",
        "nilo/stores",
        "traede/customers",
        "pocketflows/businesses",
        "pocketflows/customers",
    }
    declared = {stream.full_name for stream in STREAMS}
    assert streams <= declared
    assets = {f"{name}{ending}" for name in declared for ending in ("_exports", "_records", "")}
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == assets
    repository = definitions.get_repository_def()
    names = {name.replace("/", "_") for name in declared}
    jobs = {f"sync_{name}" for name in names} | {"check_tables", "housekeeping"}
    assert {job.name for job in repository.get_all_jobs()} >= jobs
    sensors = {f"{name}_arrivals" for name in names} | {"checks_after_failure", "failure_alerts", "misplaced_files"}
    assert {s.name for s in repository.sensor_defs} == sensors
    assert {s.name for s in repository.schedule_defs} == {f"{job}_daily" for job in jobs}


def test_lineage_reads_exports_records_rows(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert graph.get(asset_key("rows", ORDERS)).parent_keys == {asset_key("records", ORDERS)}
    assert graph.get(asset_key("records", ORDERS)).parent_keys == {asset_key("exports", ORDERS)}


def test_every_asset_shares_one_partitions_object(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    found = {id(graph.get(key).partitions_def) for key in graph.get_all_asset_keys()}
    assert found == {id(daily_partitions(date(2010, 1, 1)))}


def test_partitions_reach_from_the_first_date_to_tomorrow(definitions: dg.Definitions) -> None:
    keys = daily_partitions(date(2010, 1, 1)).get_partition_keys()
    assert keys[0] == "2010-01-01"
    assert (date.fromisoformat(keys[-1]) - date.today()).days in (0, 1, 2)


def test_sensors_and_schedules_are_on(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert all(s.default_status == dg.DefaultSensorStatus.RUNNING for s in repository.sensor_defs)
    assert all(s.default_status == dg.DefaultScheduleStatus.RUNNING for s in repository.schedule_defs)


def test_the_files_in_the_root_are_those_in_the_package() -> None:
    for name in ("dagster.yaml", "workspace.yaml"):
        assert (ROOT / name).samefile(ROOT / "sync_pipelines" / "orchestration" / name)


def test_up_and_dagster_dev_call_the_code_location_alike(tmp_path: Path) -> None:
    in_project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dagster"]["code_location_name"]
    for service in build_services("127.0.0.1", 3000, tmp_path, Settings(home=tmp_path)):
        workspace = service.command[service.command.index("--workspace") + 1]
        (module,) = yaml.safe_load(Path(workspace).read_text())["load_from"]
        assert module["python_module"]["location_name"] == in_project


def test_importing_them_opens_nothing_and_warns_of_nothing(tmp_path: Path) -> None:
    environment = {"SYNC_HOME": str(tmp_path / "home"), "PATH": ""}
    command = [sys.executable, "-W", "error", "-c", "import sync_pipelines.definitions"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
