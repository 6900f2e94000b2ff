"""The job that explains a row: its tables, masked, the way to it from sample rows, and wrong input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.orchestration.dagster_names import CODE_LOCATION, asset_key
from sync_pipelines.orchestration.explain_job import EXPLAIN, launchpad_path
from sync_pipelines.orchestration.jobs import run_config
from sync_pipelines.partners import find_stream
from sync_pipelines.stages.export_stages import Workspace, discover, load_all
from sync_pipelines_tests.loading import TENANT, as_bytes, order

FOLDER = f"replenit/{TENANT}/orders"


@pytest.fixture(autouse=True)
def loaded(workspace: Workspace, landing: Path) -> None:
    folder = landing / FOLDER
    folder.mkdir(parents=True)
    (folder / "2024-03-01.json").write_bytes(as_bytes([order("A", TotalQuantity=1, Email="maria@x.cl")]))
    (folder / "2024-03-02.json").write_bytes(as_bytes([order("A", TotalQuantity=2)]))
    load_all(workspace, discover(workspace).pending)


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    return definitions.resolve_job_def(EXPLAIN).execute_in_process(
        instance=instance, run_config={"ops": {"sync_explain": {"config": config}}}, raise_on_error=False
    )


def test_its_run_shows_the_records_and_the_row(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    result = run(definitions, instance, table="orders", tenant=TENANT, key="A", column="total_quantity")
    (output,) = [e for e in result.all_events if e.event_type_value == "STEP_OUTPUT"]
    found: dict[str, Any] = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert found["summary"] == "2 records of replenit/orders, the oldest first."
    rows = [(row.data["said"], row.data["value"]) for row in found["records"].records]
    assert rows == [("value", "1"), ("value", "2")]
    assert {row.data["column"]: row.data["value"] for row in found["row"].records}["total_quantity"] == "2"


def test_personal_values_are_masked(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    result = run(definitions, instance, table="orders", tenant=TENANT, key="A", at="2024-03-01")
    assert result.success
    events = " ".join(str(event) for event in result.all_events)
    assert "m***@x.cl" in events and "maria" not in events and "2024-03-02" not in events


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"table": "ordrs", "key": "A"}, "unknown table 'ordrs'; did you mean orders?"),
        ({"table": "orders", "key": "B"}, "no record and no row of orders has the key 'B'"),
        ({"table": "orders", "key": "A", "at": "soon"}, "'soon' is not a date such as 2026-06-30"),
    ],
)
def test_wrong_input_fails_with_one_sentence(
    definitions: dg.Definitions, instance: dg.DagsterInstance, config: dict[str, str], says: str
) -> None:
    result = run(definitions, instance, tenant=TENANT, **config)
    (failure,) = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    assert not result.success and says in str(failure.step_failure_data.error_display_string)


def test_sample_rows_lead_to_it(definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path) -> None:
    (landing / FOLDER / "2024-03-03.json").write_bytes(as_bytes([order("it's")]))
    stream = find_stream("replenit", "orders")
    assert stream is not None
    result = definitions.resolve_job_def("sync_replenit_orders").execute_in_process(
        instance=instance, partition_key="2024-03-03", run_config=run_config(stream)
    )
    (event,) = [
        e
        for e in result.all_events
        if e.event_type_value == "ASSET_MATERIALIZATION" and e.asset_key == asset_key("rows", stream)
    ]
    found = event.materialization.metadata
    assert found["explain_rows"].value == f"/locations/{CODE_LOCATION}/jobs/explain_row/playground"
    table: Any = found["sample_rows"].value
    (row,) = table.records
    words = f"sync-pipelines explain orders {TENANT} 'it'\"'\"'s' --partner replenit"
    assert row.data["explain it"] == words
    assert launchpad_path(None, "other") == "/locations/other/jobs/explain_row/playground"
