"""The sensor of misplaced files, against a webhook on this machine: what it says, and how often."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from sync_pipelines.orchestration.misplaced_alerts import build_misplaced_sensor
from sync_pipelines.orchestration.resources import WORKSPACE
from sync_pipelines.orchestration.webhook import Patience, send
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines_tests.webhook_server import webhook

QUICK = Patience(attempts=2, seconds=5, first_pause=0.01, timeout=1)
SENSOR = build_misplaced_sensor(partial(send, patience=QUICK))


class Ticks:
    def __init__(self, instance: dg.DagsterInstance, workspace: Workspace, url: str | None) -> None:
        told = {"alert_webhook": SecretStr(url) if url else None, "ui_url": "https://dagster.example/"}
        self._workspace = replace(workspace, settings=workspace.settings.model_copy(update=told))
        self._instance = instance
        self._cursor: str | None = None

    def tick(self) -> str:
        context = dg.build_sensor_context(
            instance=self._instance,
            cursor=self._cursor,
            resources={WORKSPACE: dg.ResourceDefinition.hardcoded_resource(self._workspace)},
        )
        with context:
            found: Any = SENSOR.evaluate_tick(context)
        self._cursor = found.cursor
        assert not found.run_requests
        return str(found.skip_message)


def test_a_misplaced_file_is_told_once_and_only_if_it_stays(
    instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    with webhook() as hook:
        ticks = Ticks(instance, workspace, hook.url)
        assert ticks.tick() == "every file and folder belongs to a stream"
        (landing / "passing.csv").write_text("x")
        assert ticks.tick().startswith("passing.csv is not in a stream's folder; move it to ")
        (landing / "passing.csv").unlink()
        (landing / "nilo" / "acme" / "Stores").mkdir(parents=True)
        ticks.tick()
        assert hook.texts == []
        ticks.tick()
        (text,) = hook.texts
        assert "nilo/acme/Stores: is not a stream of nilo; did you mean stores?" in text
        assert text.endswith("https://dagster.example")
        (landing / "orders.csv").write_text("x")
        ticks.tick()
        ticks.tick()
        ticks.tick()
        assert ["orders.csv" in text for text in hook.texts] == [False, True]
        assert "Stores" not in hook.texts[1]


def test_a_webhook_that_is_down_is_said_and_tried_again(
    instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    ticks = Ticks(instance, workspace, "http://127.0.0.1:1/s3cret")
    (landing / "orders.csv").parent.mkdir(parents=True, exist_ok=True)
    (landing / "orders.csv").write_text("x")
    ticks.tick()
    for _ in range(2):
        said = ticks.tick()
        assert "; no message was sent: " in said
        assert "s3cret" not in said


@pytest.mark.parametrize("cursor", ["nonsense", "[]", '{"seen": 7}'])
def test_a_cursor_that_is_none_is_begun_anew(
    cursor: str, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    ticks = Ticks(instance, workspace, None)
    ticks._cursor = cursor
    assert ticks.tick() == "every file and folder belongs to a stream"
