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
from sync_pipelines.orchestration import code_location
from sync_pipelines.orchestration.dagster_names import asset_key, table_key
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
    tables = {"tables/commerces", "tables/orders", "tables/stores", "tables/customers"}
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == assets | tables
    repository = definitions.get_repository_def()
    names = {name.replace("/", "_") for name in declared}
    jobs = {f"sync_{name}" for name in names}
    jobs |= {"sync_check_tables", "sync_housekeeping", "sync_verify"}
    by_hand = {"explain_row", "undo_export"}
    assert {job.name for job in repository.get_all_jobs()} >= jobs | by_hand
    sensors = {f"{name}_arrivals" for name in names} | {
        "sync_check_alerts",
        "sync_checks_after_failure",
        "sync_failure_alerts",
        "sync_misplaced_files",
    }
    assert {s.name for s in repository.sensor_defs} == sensors
    assert {s.name for s in repository.schedule_defs} == {f"{job}_daily" for job in jobs}


def test_they_merge_with_a_deployment_that_has_an_executor_and_common_names(definitions: dg.Definitions) -> None:
    @dg.asset(required_resource_keys={"workspace", "observer"})
    def mine() -> None: ...

    @dg.asset_check(asset=mine)
    def mine_is_well() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.op
    def tidy() -> None: ...

    @dg.job
    def housekeeping() -> None:
        tidy()

    @dg.job
    def check_tables() -> None:
        tidy()

    @dg.sensor(job_name="housekeeping")
    def failure_alerts() -> None: ...

    theirs = dg.Definitions(
        assets=[mine],
        asset_checks=[mine_is_well],
        jobs=[housekeeping, check_tables],
        sensors=[failure_alerts],
        resources={"workspace": 1, "observer": 2, "io_manager": dg.FilesystemIOManager()},
        loggers={"console": dg.colored_console_logger},
        executor=dg.multiprocess_executor,
    )
    for both in ((definitions, theirs), (theirs, definitions)):
        merged = dg.Definitions.merge(*both)
        dg.Definitions.validate_loadable(merged)
        executors = {job.name: job.executor_def for job in merged.get_repository_def().get_all_jobs()}
        assert all(executors[name] is dg.in_process_executor for name in executors if name.startswith("sync_"))
        assert executors["housekeeping"] is dg.multiprocess_executor
        steps = {node.name for node in merged.resolve_job_def("sync_check_tables").nodes}
        assert steps and "mine_mine_is_well" not in steps and all(name.startswith("check_") for name in steps)


def test_as_a_location_of_its_own_every_run_is_one_process() -> None:
    jobs = code_location.defs.get_repository_def().get_all_jobs()
    assert {job.executor_def for job in jobs} == {dg.in_process_executor}


def test_lineage_reads_exports_records_rows(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert graph.get(asset_key("rows", ORDERS)).parent_keys == {asset_key("records", ORDERS)}
    assert graph.get(asset_key("records", ORDERS)).parent_keys == {asset_key("exports", ORDERS)}


def test_tables_are_downstream_of_the_streams_that_write_them(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    customers, orders = graph.get(table_key("customers")), graph.get(table_key("orders"))
    writers = {"traede/customers", "pocketflows/customers", "replenit/orders"}
    assert {key.to_user_string() for key in customers.parent_keys} == writers
    assert {key.to_user_string() for key in orders.parent_keys} == {"replenit/orders"}
    assert not orders.is_partitioned and orders.metadata["dagster/table_name"] == "sync.orders"
    assert {key.name for key in orders.check_keys} >= {"keys_and_references", "totals_match_items"}


def test_every_asset_shares_one_partitions_object(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    found = {id(graph.get(key).partitions_def) for key in graph.get_all_asset_keys() if key.path[0] != "tables"}
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
    command = [sys.executable, "-W", "error", "-c", "import sync_pipelines.orchestration.code_location"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
