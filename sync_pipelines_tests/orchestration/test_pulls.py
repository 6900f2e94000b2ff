"""When Dagster pulls: on today's partition and by the schedule, never by a sensor or for old days (N11)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.definitions import build_definitions
from sync_pipelines.orchestration.dagster_names import asset_key, job_name, schedule_name, sensor_name
from sync_pipelines.orchestration.resources import OBSERVER, WORKSPACE
from sync_pipelines.partners.nilo import STORES
from sync_pipelines.stages.export_stages import Workspace, open_workspace
from sync_pipelines_tests.listing_server import (
    ENVIRONMENT,
    Answer,
    Partner,
    pull_of,
    served,
    store,
    stores,
    write_sources,
)
from sync_pipelines_tests.orchestration.acting import Watching, materialized

EXPORTS, TABLE = asset_key("exports", STORES), asset_key("rows", STORES)
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def day(ago: int = 0) -> str:
    return str((datetime.now(UTC) - timedelta(days=ago)).date())


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def partner() -> Iterator[Partner]:
    with served() as running:
        running.list(stores(1, 3))
        yield running


@pytest.fixture
def stored_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that a schedule's tick can open for itself."""
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as opened:
        yield opened


@pytest.fixture
def workspace(settings: Settings, partner: Partner) -> Workspace:
    write_sources(settings.sources, pull_of(partner))
    return open_workspace(settings)


@pytest.fixture
def definitions(workspace: Workspace, watching: Watching) -> dg.Definitions:
    return build_definitions(workspace.settings, {WORKSPACE: workspace, OBSERVER: watching})


def put(workspace: Workspace, name: str, code: str, age: int = 60) -> None:
    path = Path(workspace.settings.landing) / "nilo" / "acme" / "stores" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([store(code)]))
    modified = datetime.now(UTC).timestamp() - age
    os.utime(path, (modified, modified))


def run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    tags: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    given = dict(tags)
    key = given.pop("dagster/partition", None)
    job = definitions.resolve_job_def(job_name(STORES))
    return job.execute_in_process(
        instance=instance, partition_key=key, tags=given, run_config=dict(config or {}), raise_on_error=False
    )


def loaded(workspace: Workspace) -> list[Any]:
    with workspace.connection() as connection:
        rows = connection.execute("select external_id from sync.live_stores order by 1").fetchall()
    return [code for (code,) in rows]


def test_N11_materializing_today_pulls_and_loads(
    definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace, watching: Watching
) -> None:
    result = run(definitions, instance, {"dagster/partition": day()})
    assert result.success
    assert loaded(workspace) == ["S0001", "S0002", "S0003"]
    told = materialized(instance, result, EXPORTS)[day()]
    (row,) = told["pulled"].records
    assert (row.data["tenant"], row.data["records"], row.data["error"]) == ("acme", 3, "")
    assert materialized(instance, result, TABLE)[day()]["created"] == 3
    assert ("pull", "acme") in watching.seen


def test_N11_the_exports_asset_alone_pulls(
    definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace, partner: Partner
) -> None:
    done = dg.materialize(
        list(definitions.get_repository_def().assets_defs_by_key.values()),
        selection=[EXPORTS],
        instance=instance,
        partition_key=day(),
    )
    assert done.success and len(partner.asked) == 1
    with workspace.connection() as connection:
        (entry,) = connection.execute("select status, sha256 is not null from sync.export_files").fetchall()
    assert entry == ("pending", True)


def test_N11_a_backfill_of_old_days_does_not_pull(
    definitions: dg.Definitions, instance: dg.DagsterInstance, partner: Partner
) -> None:
    assert run(definitions, instance, {START: day(5), END: day(1)}).success
    assert partner.asked == []


def test_N11_a_failed_pull_fails_todays_exports_with_a_sentence_and_no_other_day(
    definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace, partner: Partner
) -> None:
    put(workspace, f"{day(1)}.json", "OLD")
    put(workspace, f"{day()}.json", "DROPPED")
    partner.answers = [Answer({"message": "Token inválido"}, 401)]
    result = run(definitions, instance, {START: day(2), END: day()})
    assert not result.success
    (failure,) = [e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
    message = failure.step_failure_data.error.message  # type: ignore[union-attr]
    assert "1 of 1 pulls failed. The first: acme: pull_refused: page 1 of " in message
    assert "Token inválido" in message and "materialize today's partition again" in message
    assert set(materialized(instance, result, EXPORTS)) == {day(2), day(1)}
    assert set(materialized(instance, result, TABLE)) == {day(2), day(1), day()}
    assert loaded(workspace) == ["DROPPED", "OLD"]
    assert len(partner.asked) == 1


def test_N11_a_failed_pull_and_a_failed_file_are_both_told(
    definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace, partner: Partner
) -> None:
    put(workspace, f"{day(1)}.json", "OLD")
    (Path(workspace.settings.landing) / "nilo/acme/stores" / f"{day(1)}_bad.json").write_text("not json")
    partner.answers = [Answer({"message": "no"}, 401)]
    result = run(definitions, instance, {START: day(1), END: day()})
    (failure,) = [e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
    message = failure.step_failure_data.error.message  # type: ignore[union-attr]
    assert "1 of 1 pulls failed" in message and "Exports failed on 1 of 2 days" in message
    assert set(materialized(instance, result, EXPORTS)) == {day(1)}
    assert set(materialized(instance, result, TABLE)) == {day()}
    assert loaded(workspace) == ["OLD"]


def tick(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """What the sensor of stores asks for."""
    sensor = definitions.get_repository_def().get_sensor_def(sensor_name(STORES))
    resources = {WORKSPACE: (definitions.resources or {})[WORKSPACE]}
    with dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources) as context:
        return list(sensor.evaluate_tick(context).run_requests or [])


def scheduled(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """What the schedule of stores asks for tonight."""
    schedule = definitions.get_repository_def().get_schedule_def(schedule_name(STORES))
    resources = {WORKSPACE: (definitions.resources or {})[WORKSPACE]}
    now = datetime.now(UTC)
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=now, resources=resources) as context:
        return list(schedule.evaluate_tick(context).run_requests or [])


def test_N11_the_sensor_never_pulls(
    definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace, partner: Partner
) -> None:
    assert tick(definitions, instance) == []
    put(workspace, f"{day()}.json", "DROPPED")
    (asked,) = tick(definitions, instance)
    assert run(definitions, instance, asked.tags, asked.run_config).success
    assert loaded(workspace) == ["DROPPED"]
    assert partner.asked == []


def test_N11_the_schedule_pulls_today_and_nothing_else(
    definitions: dg.Definitions, stored_instance: dg.DagsterInstance, workspace: Workspace, partner: Partner
) -> None:
    put(workspace, f"{day(3)}.json", "OLD")
    put(workspace, f"{day()}.json", "DROPPED")
    put(workspace, f"{day()}_growing.json", "GROWING", age=0)
    first, *others = scheduled(definitions, stored_instance)
    assert first.tags["dagster/partition"] == day()
    assert [o.tags["dagster/partition"] for o in others] == [day(3), day(1)]
    assert partner.asked == []
    assert run(definitions, stored_instance, first.tags, first.run_config).success
    assert len(partner.asked) == 1
    assert loaded(workspace) == ["DROPPED", "S0001", "S0002", "S0003"]
    assert all(run(definitions, stored_instance, o.tags, o.run_config).success for o in others)
    assert len(partner.asked) == 1
    assert "OLD" in loaded(workspace)


def test_N11_a_stream_without_a_pull_is_scheduled_as_ever(
    settings: Settings, workspace: Workspace, stored_instance: dg.DagsterInstance
) -> None:
    settings.sources.write_text("sources: []\n")
    plain = build_definitions(settings, {WORKSPACE: open_workspace(settings)})
    (asked,) = scheduled(plain, stored_instance)
    assert asked.tags["dagster/partition"] == day(1)
