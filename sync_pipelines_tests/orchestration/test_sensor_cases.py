"""What partners do to files, over several ticks: every content is loaded, and none twice."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.errors import LandingUnavailable
from sync_pipelines.orchestration import looks
from sync_pipelines.orchestration.partitions import PARTITION
from sync_pipelines.orchestration.runs import run_pending
from sync_pipelines.orchestration.sensors import REQUESTS_PER_TICK
from sync_pipelines.stages import export_stages as sync
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines_tests.exports_in import OTHER, order, put
from sync_pipelines_tests.orchestration.acting import TABLE, Watching, files, materialized, request, tick

LONGEST_TICK = 20.0


class Sensor:
    """The sensor of orders with its cursor, and runs of what it asks for."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._definitions, self._instance = definitions, instance
        self._cursor: str | None = None

    def tick(self) -> Any:
        data = tick(self._definitions, self._instance, self._cursor)
        self._cursor = data.cursor
        return data

    def sync(self) -> int:
        """One tick and its runs; returns how many there were."""
        asked = self.tick().run_requests
        for one in asked:
            assert request(self._definitions, self._instance, one).success
        return len(asked)


@pytest.fixture
def sensor(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Sensor:
    return Sensor(definitions, instance)


def test_a_day_whose_bad_export_was_removed_is_run_again_and_says_so(
    sensor: Sensor, definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace, landing: Path
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-01_whole.json", [{"OrderId": "B"}])
    bad = put(landing, "2010-12-01_bad.json", "not json")
    failed = request(definitions, instance, sensor.tick().run_requests[0])
    (observed,) = instance.fetch_observations(TABLE, limit=5).records
    assert not failed.success and observed.asset_observation is not None
    says = str(observed.asset_observation.metadata["summary"].value)
    assert says.startswith(f"1 export failed. {bad}: not_json: ")
    assert "Every record was rejected: " in says and "3 exports: 2 loaded, 1 failed. 2 records read: " in says
    (landing / bad).unlink()
    (again,) = sensor.tick().run_requests
    assert again.tags[PARTITION] == "2010-12-01"
    mended = request(definitions, instance, again)
    assert mended.success
    summary = materialized(instance, mended)["2010-12-01"]["summary"]
    assert summary.endswith("2 records read: 1 created, 1 rejected.")
    assert "2 exports: 2 loaded. 1 export removed from the landing before it could be loaded." in summary
    assert sensor.tick().run_requests == []


def revenues(workspace: Workspace) -> dict[str, int]:
    with workspace.connection() as connection:
        rows = connection.execute("select external_id, total_revenue from sync.orders order by 1").fetchall()
    return {key: int(revenue) for key, revenue in rows}


def loads(workspace: Workspace) -> list[tuple[str, int, str, int]]:
    """Name, revision, status and records read of every entry."""
    with workspace.connection() as connection:
        rows = connection.execute("select path, revision, status, read from sync.export_files order by id").fetchall()
    return [(path.rsplit("/", 1)[-1], *rest) for path, *rest in rows]


def test_files_of_the_same_second(sensor: Sensor, landing: Path, workspace: Workspace) -> None:
    moment = time.time() - 100
    for name in ("a", "b", "c"):
        path = put(landing, f"2010-12-01_{name}.json", [order(name)])
        os.utime(landing / path, (moment, moment))
        assert sensor.sync() == 1
    assert sensor.sync() == 0
    assert list(revenues(workspace)) == ["a", "b", "c"]


def test_a_back_dated_file_comes_after_newer_ones(sensor: Sensor, landing: Path, workspace: Workspace) -> None:
    put(landing, "2010-12-09.json", [order("A", TotalRevenue=20)])
    assert sensor.sync() == 1
    put(landing, "2010-12-01.json", [order("A", TotalRevenue=10), order("B")], age=400 * 86400)
    assert sensor.sync() == 1
    assert sensor.sync() == 0
    assert revenues(workspace) == {"A": 20, "B": 10}


def test_a_future_date_is_said_once_and_loads_when_its_day_comes(
    sensor: Sensor, landing: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{datetime.now(UTC).date() + timedelta(days=3)}.json"
    put(landing, name, [order("A")])
    assert [sensor.sync(), sensor.sync()] == [0, 0]
    assert files(workspace)[name][:2] == ("failed", 1)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=2)

    monkeypatch.setattr("sync_pipelines.stages.workspace.datetime", Later)
    monkeypatch.setattr("sync_pipelines.orchestration.sensors.datetime", Later)
    assert len(sensor.tick().run_requests) == 1


def test_renamed_before_it_was_loaded(sensor: Sensor, landing: Path, workspace: Workspace) -> None:
    path = put(landing, "2010-12-01.json", [order("A")], age=1)
    assert sensor.sync() == 0
    (landing / path).rename((landing / path).with_name("2010-12-02.json"))
    os.utime((landing / path).with_name("2010-12-02.json"), (1e9, 1e9))
    assert sensor.sync() == 1
    assert sensor.sync() == 0
    assert loads(workspace)[1] == ("2010-12-02.json", 1, "loaded", 1)
    assert str(files(workspace)["2010-12-01.json"][2]).startswith("file_vanished")


def test_renamed_after_it_was_loaded(sensor: Sensor, landing: Path, workspace: Workspace) -> None:
    path = put(landing, "2010-12-01.json", [order("A")])
    sensor.sync()
    (landing / path).rename((landing / path).with_name("2010-12-02.json"))
    assert [sensor.sync(), sensor.sync()] == [1, 0]
    with workspace.connection() as connection:
        found = connection.execute("select created, unchanged from sync.export_files order by id").fetchall()
    assert found == [(1, 0), (0, 1)]


def test_sent_again_as_it_was(sensor: Sensor, landing: Path, workspace: Workspace) -> None:
    put(landing, "2010-12-01.json", [order("A")], age=3000)
    sensor.sync()
    put(landing, "2010-12-01.json", [order("A")], age=2000)
    assert [sensor.sync(), sensor.sync()] == [0, 0]
    assert loads(workspace) == [("2010-12-01.json", 1, "loaded", 1)]


def test_overwritten_before_and_after_it_was_loaded(sensor: Sensor, landing: Path, workspace: Workspace) -> None:
    put(landing, "2010-12-01.json", [order("A", TotalRevenue=1)], age=1)
    assert sensor.sync() == 0
    put(landing, "2010-12-01.json", [order("A", TotalRevenue=2)], age=3000)
    sensor.tick()
    assert sensor.sync() == 1
    assert revenues(workspace) == {"A": 2}
    put(landing, "2010-12-01.json", [order("A", TotalRevenue=3)], age=2000)
    assert [sensor.sync(), sensor.sync()] == [1, 0]
    assert revenues(workspace) == {"A": 3}
    assert [revision for _, revision, _, _ in loads(workspace)] == [1, 2]


def test_overwritten_between_the_tick_and_its_run(
    sensor: Sensor,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    landing: Path,
    workspace: Workspace,
) -> None:
    put(landing, "2010-12-01.json", [order("A", TotalRevenue=1)], age=3000)
    (asked,) = sensor.tick().run_requests
    put(landing, "2010-12-01.json", [order("A", TotalRevenue=2), order("B")], age=2000)
    assert request(definitions, instance, asked).success
    assert sensor.sync() == 0
    assert revenues(workspace) == {"A": 2, "B": 10}


def test_a_file_that_keeps_growing_is_loaded_once_and_whole(
    sensor: Sensor, landing: Path, workspace: Workspace
) -> None:
    text = "".join(f'{{"OrderId": "k{n}", "Currency": "EUR", "Email": "a@x.y"}}\n' for n in range(30))
    for share in (0.2, 0.5, 0.8):
        put(landing, "2010-12-01.ndjson", text[: int(len(text) * share)], age=0)
        assert "1 still being written" in str(sensor.tick().skip_message)
    put(landing, "2010-12-01.ndjson", text, age=60)
    sensor.tick()
    assert sensor.sync() == 1
    assert sensor.sync() == 0
    assert loads(workspace) == [("2010-12-01.ndjson", 1, "loaded", 30)]


def test_a_file_set_aside_is_tried_by_the_command_line(
    definitions: dg.Definitions,
    postgres_instance: dg.DagsterInstance,
    landing: Path,
    workspace: Workspace,
) -> None:
    sensor = Sensor(definitions, postgres_instance)
    put(landing, "2010-12-01.json", [order("A")])
    sensor.tick()
    with workspace.connection() as connection:
        connection.execute(
            "update sync.export_files set status = 'failed', attempts = 5, attempted_at = now(), error = 'x: y'"
        )
    assert sensor.tick().skip_message == ("1 pending; 1 set aside after 5 attempts: sync-pipelines sync tries them")
    run_pending(workspace, sync.discover(workspace).pending, Watching())
    assert files(workspace)["2010-12-01.json"][0] == "loaded"
    assert sensor.tick().skip_message == "nothing pending"


def test_twenty_thousand_files_at_once(
    sensor: Sensor, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    text = '[{"OrderId": "A"}]'
    for tenant in ("7d444840-9dc0-11d1-b245-5ffdce74fad2", OTHER):
        folder = landing / "replenit" / tenant / "orders"
        folder.mkdir(parents=True)
        for n in range(10_000):
            # Every other day alone, so that there are more ranges than fit a tick.
            (folder / f"{datetime(2011, 1, 1) + timedelta(days=2 * (n % 500)):%Y-%m-%d}_{n}.json").write_text(text)
        for path in folder.iterdir():
            os.utime(path, (1e9, 1e9))
    asked: list[str] = []
    for _ in range(10):
        begun = time.monotonic()
        data = sensor.tick()
        assert time.monotonic() - begun < LONGEST_TICK
        asked += [one.tags[PARTITION] for one in data.run_requests]
        for one in data.run_requests:
            instance.create_run_for_job(_somewhere, tags=dict(one.tags), status=dg.DagsterRunStatus.STARTED)
        if len(asked) > REQUESTS_PER_TICK:
            break
    assert len(asked) == len(set(asked)) == 2 * REQUESTS_PER_TICK
    with workspace.connection() as connection:
        assert connection.execute("select count(*) from sync.export_files").fetchone() == (20_000,)


@dg.job(name="sync_replenit_orders")
def _somewhere() -> None: ...


def test_a_slow_landing_holds_up_no_tick(
    sensor: Sensor, landing: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, looked, discover = threading.Event(), [], sync.discover

    def slow(*arguments: Any) -> sync.Discovery:
        looked.append(arguments)
        answers.wait(30)
        return discover(*arguments)

    monkeypatch.setattr("sync_pipelines.stages.export_stages.discover", slow)
    monkeypatch.setattr(looks, "PATIENCE", 0.1)
    put(landing, "2010-12-01.json", [order("A")])
    for _ in range(3):
        assert str(sensor.tick().skip_message).startswith("still looking at the landing, for 0 s")
    answers.set()
    monkeypatch.setattr(looks, "PATIENCE", 10.0)
    assert len(sensor.tick().run_requests) == 1
    assert len(looked) == 1


def test_what_was_loaded_during_a_slow_look_is_not_asked_for(
    sensor: Sensor, landing: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    found, seen, goes_on, discover = sync.discover(workspace), threading.Event(), threading.Event(), sync.discover

    def slow(*arguments: Any) -> sync.Discovery:
        looked = discover(*arguments)
        seen.set()
        goes_on.wait(30)
        return looked

    monkeypatch.setattr("sync_pipelines.stages.export_stages.discover", slow)
    monkeypatch.setattr(looks, "PATIENCE", 0.1)
    sensor.tick()
    assert seen.wait(10)
    sync.load_all(workspace, found.pending)
    goes_on.set()
    monkeypatch.setattr(looks, "PATIENCE", 10.0)
    assert sensor.tick().skip_message == "nothing pending"


def test_a_look_that_never_ends_is_given_up(
    sensor: Sensor, landing: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, discover = threading.Event(), sync.discover
    monkeypatch.setattr("sync_pipelines.stages.export_stages.discover", lambda *_: stuck.wait(30))
    monkeypatch.setattr(looks, "PATIENCE", 0.1)
    put(landing, "2010-12-01.json", [order("A")])
    sensor.tick()
    monkeypatch.setattr("sync_pipelines.stages.export_stages.discover", discover)
    monkeypatch.setattr(looks, "PATIENCE", 10.0)
    monkeypatch.setattr(looks, "GIVEN_UP_AFTER", 0.0)
    assert sensor.sync() == 1
    stuck.set()


def looks_taking(seconds: float, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Every look takes as long from now on; returns the list of them, which grows."""
    looked, discover = list[tuple[object, ...]](), sync.discover

    def slow(*arguments: Any, **options: Any) -> sync.Discovery:
        looked.append(arguments)
        time.sleep(seconds)
        return discover(*arguments, **options)

    monkeypatch.setattr("sync_pipelines.stages.export_stages.discover", slow)
    monkeypatch.setattr(looks, "BRIEF", 0.1)
    return looked


def test_a_landing_that_takes_long_to_list_and_has_nothing_is_not_looked_at_by_every_tick(
    sensor: Sensor, landing: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "LONGEST_REST", 0.6)
    looked = looks_taking(0.2, workspace, monkeypatch)
    assert [sensor.tick().skip_message for _ in range(5)] == ["nothing pending"] * 5
    assert len(looked) == 1
    put(landing, "2010-12-01.json", [order("A")])
    time.sleep(0.7)
    assert len(sensor.tick().run_requests) == 1
    assert len(looked) == 2


def test_a_brief_look_is_made_by_every_tick(
    sensor: Sensor, landing: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = looks_taking(0.0, workspace, monkeypatch)
    monkeypatch.setattr(looks, "BRIEF", 60.0)
    for _ in range(3):
        sensor.tick()
    assert len(looked) == 3


def test_a_file_that_may_be_loaded_soon_is_looked_at_by_every_tick(
    sensor: Sensor, landing: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = looks_taking(0.2, workspace, monkeypatch)
    put(landing, "2010-12-01.json", [order("A")], age=0)
    for _ in range(3):
        assert sensor.tick().skip_message == "1 pending; 1 still being written"
    assert len(looked) == 3


def test_a_file_set_aside_does_not_have_the_landing_looked_at_by_every_tick(
    sensor: Sensor, landing: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    sensor.tick()
    with workspace.connection() as connection:
        connection.execute(
            "update sync.export_files set status = 'failed', attempts = 5, attempted_at = now(), error = 'x: y'"
        )
    looked = looks_taking(0.2, workspace, monkeypatch)
    says = "1 pending; 1 set aside after 5 attempts: sync-pipelines sync tries them"
    assert [sensor.tick().skip_message for _ in range(3)] == [says] * 3
    assert len(looked) == 1
    run_pending(workspace, sync.discover(workspace).pending, Watching())
    assert sensor.tick().skip_message == "nothing pending"


def test_a_landing_that_is_away_for_some_ticks(
    sensor: Sensor, landing: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    discover = sync.discover

    def away(*_: object) -> None:
        raise LandingUnavailable("landing_unavailable", "the landing does not answer", "try again later")

    monkeypatch.setattr("sync_pipelines.stages.export_stages.discover", away)
    for _ in range(3):
        assert str(sensor.tick().skip_message).startswith("landing_unavailable")
    monkeypatch.setattr("sync_pipelines.stages.export_stages.discover", discover)
    assert [sensor.sync(), sensor.sync()] == [1, 0]
    assert revenues(workspace) == {"A": 10}
