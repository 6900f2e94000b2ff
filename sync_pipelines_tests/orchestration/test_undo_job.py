"""The job that takes loaded exports back: its observations, its tables, and wrong input (U)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.orchestration.dagster_names import asset_key, table_key
from sync_pipelines.orchestration.undo_job import UNDO
from sync_pipelines.partners import find_stream
from sync_pipelines.stages.export_stages import Workspace, discover, load_all
from sync_pipelines_tests.loading import TENANT, as_bytes, order

FOLDER = f"replenit/{TENANT}/orders"
WRONG = f"{FOLDER}/2024-03-02.json"


@pytest.fixture(autouse=True)
def loaded(workspace: Workspace, landing: Path) -> None:
    """Two exports: the second one changes an order of the first, adds one, and has a record that is rejected."""
    folder = landing / FOLDER
    folder.mkdir(parents=True)
    (folder / "2024-03-01.json").write_bytes(as_bytes([order("A", TotalQuantity=1, Email="ana@x.cl")]))
    wrong = [order("A", TotalQuantity=2, Email="leo@x.cl"), order("B"), order("C", Currency="ZZZ")]
    (folder / "2024-03-02.json").write_bytes(as_bytes(wrong))
    load_all(workspace, discover(workspace).pending)


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    return definitions.resolve_job_def(UNDO).execute_in_process(
        instance=instance, run_config={"ops": {"sync_undo_or_redo": {"config": config}}}, raise_on_error=False
    )


def observed(result: dg.ExecuteInProcessResult) -> tuple[str | None, dict[str, Any]]:
    (event,) = [e for e in result.all_events if e.event_type_value == "ASSET_OBSERVATION"]
    observation = event.asset_observation_data.asset_observation
    stream = find_stream("replenit", "orders")
    assert stream is not None and observation.asset_key == asset_key("rows", stream)
    return observation.partition, {name: value.value for name, value in observation.metadata.items()}


def quantities(workspace: Workspace) -> dict[str, int]:
    with workspace.connection() as connection:
        return dict(connection.execute("select external_id, total_quantity from sync.orders").fetchall())


def test_undo_and_redo(definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace) -> None:
    result = run(definitions, instance, paths=[WRONG], reason="a test file")
    assert result.success and quantities(workspace) == {"A": 1}
    day, found = observed(result)
    assert day == "2024-03-02" and (found["files"], found["rejects_withdrawn"]) == (0, 1)
    assert found["summary"].startswith(f"Withdrawn by run {result.run_id}: a test file. {WRONG}. 1 export: ")
    changes = [row.data for row in found["differences"].records]
    assert {"column": "total_quantity", "stored": "2", "would be": "1"}.items() <= next(
        row.items() for row in changes if row["column"] == "total_quantity"
    )
    assert not any("leo@" in str(row) for row in changes)
    counted = [e.asset_key for e in result.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]
    assert set(counted) == {table_key("orders"), table_key("customers")}
    again = run(definitions, instance, paths=[WRONG], redo=True)
    assert again.success and quantities(workspace) == {"A": 2, "B": 1}
    assert observed(again)[1]["summary"].startswith("Loaded again by run ")


def test_a_preview_changes_nothing(
    definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace
) -> None:
    result = run(definitions, instance, paths=[WRONG], preview=True)
    assert result.success and quantities(workspace) == {"A": 2, "B": 1}
    assert observed(result)[1]["summary"] == f"Preview: nothing was changed. An undo would withdraw {WRONG}."
    assert not [e for e in result.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"paths": [WRONG]}, "an undo needs a reason"),
        ({"paths": [], "reason": "r"}, "paths is empty"),
        ({"paths": [f"{WRONG}x"], "reason": "r"}, f"did you mean {WRONG}"),
        ({"paths": [WRONG], "redo": True}, "is loaded, not withdrawn"),
        ({"paths": [WRONG], "redo": True, "preview": True}, "contradict"),
    ],
)
def test_wrong_input_is_one_sentence(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    workspace: Workspace,
    config: dict[str, Any],
    why: str,
) -> None:
    result = run(definitions, instance, **config)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert not result.success and data is not None and why in (data.description or "")
    assert quantities(workspace) == {"A": 2, "B": 1}
