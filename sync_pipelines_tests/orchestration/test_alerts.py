"""The sensor of failed runs, against a webhook on this machine: what it says, when it is silent, what it survives."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from sync_pipelines.definitions import build_definitions
from sync_pipelines.orchestration.alerts import build_alert_sensor
from sync_pipelines.orchestration.check_alerts import build_check_alert_sensor
from sync_pipelines.orchestration.check_runs import CHECK_JOB
from sync_pipelines.orchestration.resources import WORKSPACE
from sync_pipelines.orchestration.webhook import Patience, send
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines_tests.exports_in import order, put
from sync_pipelines_tests.orchestration.acting import days, run
from sync_pipelines_tests.webhook_server import Webhook, webhook

QUICK = Patience(attempts=3, seconds=5, first_pause=0.01, timeout=1)
SENSOR: dg.SensorDefinition = build_alert_sensor(STREAMS, [CHECK_JOB], partial(send, patience=QUICK))


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as served:
        yield served


class Ticks:
    """The sensor's ticks, as the daemon makes them, each with the cursor of the one before."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace) -> None:
        self._repository = definitions.get_repository_def()
        self._instance = instance
        self.workspace = workspace
        self._cursor: str | None = None
        self.sensor = SENSOR
        self.tick()

    def configure(self, **settings: Any) -> None:
        self.workspace = replace(self.workspace, settings=self.workspace.settings.model_copy(update=settings))

    def tick(self) -> Any:
        context = dg.build_sensor_context(
            instance=self._instance,
            cursor=self._cursor,
            repository_def=self._repository,
            resources={WORKSPACE: dg.ResourceDefinition.hardcoded_resource(self.workspace)},
        )
        with context:
            found = self.sensor.evaluate_tick(context)
        self._cursor = found.cursor
        return found


@pytest.fixture
def ticks(definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace) -> Ticks:
    return Ticks(definitions, instance, workspace)


def fail(definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path) -> str:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", "not json")
    failed = run(definitions, instance, days(1, 2))
    assert not failed.success
    return failed.run_id


def test_a_failed_run_is_told_with_its_files_and_what_to_do(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, ticks: Ticks, hook: Webhook
) -> None:
    ticks.configure(alert_webhook=SecretStr(hook.url), ui_url="https://dagster.example/")
    run_id = fail(definitions, instance, landing)
    tick = ticks.tick()
    (text,) = hook.texts
    assert "replenit/orders failed for 2010-12-01..2010-12-02 (job sync_replenit_orders)" in text
    assert "1 export failed; the others of the run are loaded:" in text
    assert "orders/2010-12-02.json: not_json: " in text
    assert "What to do: correct the file" in text
    assert text.endswith(f"https://dagster.example/runs/{run_id}")
    assert "s3cret" not in str(tick)
    ticks.tick()
    assert len(hook.told) == 1


def test_nobody_is_told_where_no_webhook_is_set(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, ticks: Ticks
) -> None:
    fail(definitions, instance, landing)
    assert "SYNC_ALERT_WEBHOOK is not set" in ticks.tick().skip_message


def test_a_run_that_succeeds_is_not_told(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, ticks: Ticks, hook: Webhook
) -> None:
    ticks.configure(alert_webhook=SecretStr(hook.url))
    put(landing, "2010-12-01.json", [order("A")])
    assert run(definitions, instance, days(1, 1)).success
    ticks.tick()
    assert hook.told == []


def test_a_check_that_turns_red_is_told_once_and_each_held_export_too(
    workspace: Workspace, instance: dg.DagsterInstance, landing: Path, ticks: Ticks, hook: Webhook
) -> None:
    guarded = replace(workspace, sources=replace(workspace.sources, has_guards=True))
    definitions = build_definitions(workspace.settings, {WORKSPACE: guarded})
    checks = replaced(ticks, build_check_alert_sensor(STREAMS, partial(send, patience=QUICK)))
    checks.configure(alert_webhook=SecretStr(hook.url))
    put(landing, "2010-12-01.json", [order("A"), {"OrderId": "B"}])
    assert run(definitions, instance, days(1, 1)).success
    checks.tick()
    assert hook.told == []
    held = put(landing, "2010-12-02.json", [{"OrderId": "C"}, {"OrderId": "D"}])
    for _ in range(2):
        assert run(definitions, instance, days(2, 2)).success
        checks.tick()
    (text,) = hook.texts
    first, *further = text.splitlines()
    assert first == "sync_pipelines: replenit/orders: 1 export is held, 1 check is red (job sync_replenit_orders)"
    assert further[:2] == [
        "Nothing of these exports is loaded:",
        f"- {held}: held: 2 of 2 records would be rejected (guard rejected, every record)",
    ]
    assert further[3] == (
        "- nothing_is_held: 1 export is held; nothing of it is loaded. Guards that tripped: rejected."
    )
    # The check is red already.
    put(landing, "2010-12-03.json", [{"OrderId": "C"}])
    assert run(definitions, instance, days(3, 3)).success
    checks.tick()
    assert hook.texts[1].startswith("sync_pipelines: replenit/orders: 1 export is held (job")


def replaced(ticks: Ticks, sensor: dg.SensorDefinition) -> Ticks:
    """Ticks of another sensor."""
    other = copy(ticks)
    other.sensor, other._cursor = sensor, None
    other.tick()
    return other


def test_a_webhook_that_is_down_is_said_in_the_tick_without_its_url(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, ticks: Ticks
) -> None:
    ticks.configure(alert_webhook=SecretStr("http://127.0.0.1:1/services/s3cret"))
    run_id = fail(definitions, instance, landing)
    tick = ticks.tick()
    assert f"run {run_id} failed, and no message was sent" in tick.skip_message
    assert "ConnectError" in tick.skip_message
    assert "s3cret" not in str(tick)
    events = [str(entry) for entry in instance.all_logs(run_id)]
    assert not any("s3cret" in event for event in events)


def test_a_webhook_that_was_busy_is_told_in_the_same_tick(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, ticks: Ticks, hook: Webhook
) -> None:
    ticks.configure(alert_webhook=SecretStr(hook.url))
    hook.answers = [503, 429]
    fail(definitions, instance, landing)
    ticks.tick()
    assert len(hook.told) == 3


def test_a_file_tried_again_is_told_first_and_last_alone(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, ticks: Ticks, hook: Webhook
) -> None:
    ticks.configure(alert_webhook=SecretStr(hook.url))
    told = []
    put(landing, "2010-12-02.json", "not json")
    for _ in range(5):
        assert not run(definitions, instance, days(2, 2)).success
        ticks.tick()
        told.append(len(hook.told))
    assert told == [1, 1, 1, 1, 2]
    assert "set aside after 5 attempts" in hook.texts[-1]


def test_a_fault_that_is_no_files_is_told(
    definitions: dg.Definitions, instance: dg.DagsterInstance, ticks: Ticks, hook: Webhook, workspace: Workspace
) -> None:
    ticks.configure(alert_webhook=SecretStr(hook.url))
    with workspace.connection() as connection:
        connection.execute("alter table sync.rejected_records rename to elsewhere")
    job = definitions.resolve_job_def(CHECK_JOB)
    assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    ticks.tick()
    assert "sync_pipelines: sync_check_tables failed" in hook.texts[0]
    assert "What to do: open the run" in hook.texts[0]


def test_runs_of_others_are_not_told(instance: dg.DagsterInstance, ticks: Ticks, hook: Webhook) -> None:
    @dg.op
    def fails() -> None:
        raise ValueError

    @dg.job
    def theirs() -> None:
        fails()

    ticks.configure(alert_webhook=SecretStr(hook.url))
    theirs.execute_in_process(instance=instance, raise_on_error=False)
    assert "does not belong to sync_pipelines" in ticks.tick().skip_message
    assert hook.told == []


def test_many_files_are_told_as_their_number(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, ticks: Ticks, hook: Webhook
) -> None:
    ticks.configure(alert_webhook=SecretStr(hook.url))
    for n in range(12):
        put(landing, f"2010-12-02_{n:02}.json", "not json")
    run(definitions, instance, days(2, 2))
    ticks.tick()
    assert "12 exports failed" in hook.texts[0]
    assert "... and 2 more" in hook.texts[0]


def test_text_of_an_export_is_no_markup_in_a_message(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, ticks: Ticks, hook: Webhook
) -> None:
    ticks.configure(alert_webhook=SecretStr(hook.url))
    put(landing, "2010-12-02_<!channel>.csv", '"<https://a.cl|x>","<https://a.cl|x>"\n1,2\n')
    assert not run(definitions, instance, days(2, 2)).success
    ticks.tick()
    (text,) = hook.texts
    assert "&lt;!channel&gt;.csv" in text, text
    assert "&lt;https://a.cl|x&gt;" in text, text
    assert "<" not in text
