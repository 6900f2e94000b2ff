"""The nightly verification and its check, as Dagster runs them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.database import quality
from sync_pipelines.database.verified_slices import SLICES
from sync_pipelines.orchestration.checks import Asked, equality
from sync_pipelines.orchestration.verify_job import VERIFY, slice_of_today
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines_tests.exports_in import put
from sync_pipelines_tests.loading import order
from sync_pipelines_tests.orchestration.acting import days, run


def verify(definitions: dg.Definitions, instance: dg.DagsterInstance, **config: Any) -> dict[str, Any]:
    """Runs the job; returns the metadata of its step."""
    job = definitions.resolve_job_def(VERIFY)
    result = job.execute_in_process(
        instance=instance, run_config={"ops": {"sync_verify_rows": {"config": config}}}, raise_on_error=False
    )
    assert result.success
    (output,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def check(workspace: Workspace, now: datetime | None = None) -> tuple[str, dict[str, int]]:
    with workspace.connection() as connection:
        answer = equality(Asked(connection, ORDERS, workspace, quality.EVERYTHING, now or datetime.now(UTC)))
    return "passed" if answer.passed else answer.severity.value, answer.numbers


def test_a_change_by_hand_is_found_within_a_month_and_repaired(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A", Email="ana@x.cl"), order("B")])
    assert check(workspace) == ("passed", {"keys": 0, "differences": 0, "overdue": 0})
    run(definitions, instance, days(1, 1))
    assert check(workspace) == ("passed", {"keys": 0, "differences": 0, "overdue": 0})
    with workspace.connection() as connection:
        connection.execute("update sync.orders set currency = 'EUR' where external_id = 'B'")
    nights = [verify(definitions, instance, slice=number) for number in range(SLICES)]
    assert sum(night["differences"] for night in nights) == 1
    # Two orders and the placeholder of a customer.
    assert sum(night["keys"] for night in nights) == 3
    assert check(workspace)[0] == "ERROR"
    assert verify(definitions, instance, everything=True, repair=True)["differences"] == 1
    assert check(workspace)[0] == "passed"
    whole = verify(definitions, instance, everything=True)
    assert whole["archive_files"] > 0
    assert sum(night["archive_files"] for night in nights) >= whole["archive_files"] - 1
    stores = verify(definitions, instance, everything=True, stream="stores")
    assert (stores["keys"], stores["archive_files"]) == (0, 0)


def test_the_check_warns_when_no_night_has_verified_for_a_month(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    run(definitions, instance, days(1, 1))
    assert check(workspace, datetime.now(UTC) + timedelta(days=31))[0] == "passed"
    assert check(workspace, datetime.now(UTC) + timedelta(days=33))[0] == "WARN"
    verify(definitions, instance, everything=True)
    assert check(workspace, datetime.now(UTC) + timedelta(days=20))[0] == "passed"


@pytest.mark.parametrize("config", [{"slice": SLICES}, {"slice": -1}, {"everythin": True}])
def test_a_wrong_option_stops_the_run_before_it_starts(
    definitions: dg.Definitions, instance: dg.DagsterInstance, config: dict[str, Any]
) -> None:
    job = definitions.resolve_job_def(VERIFY)
    with pytest.raises(Exception, match=r"slice|everythin"):
        job.execute_in_process(instance=instance, run_config={"ops": {"sync_verify_rows": {"config": config}}})


def test_every_slice_has_its_night() -> None:
    today = datetime(2026, 11, 27, tzinfo=UTC)
    assert {slice_of_today(today + timedelta(days=day)) for day in range(SLICES)} == set(range(SLICES))
