"""Ticks over a real ledger: what is asked for, what waits, and what the tick says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from sync_pipelines.errors import LandingUnavailable
from sync_pipelines.orchestration.activity import installation_tags
from sync_pipelines.orchestration.sensors import EXPORTS_TAG, REQUESTS_PER_TICK
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.run_files import held
from sync_pipelines_tests.exports_in import order, put
from sync_pipelines_tests.orchestration.acting import days, files, request, tick


def active(
    instance: dg.DagsterInstance,
    tags: Mapping[str, str],
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
) -> dg.DagsterRun:
    """A run of the job that is at work somewhere."""

    @dg.job(name="sync_replenit_orders")
    def somewhere() -> None: ...

    return instance.create_run_for_job(somewhere, tags=dict(tags), status=status)


def later(workspace: Workspace, by: timedelta) -> None:
    """Moves what the ledger remembers into the past."""
    with workspace.connection() as connection:
        connection.execute("update sync.export_files set attempted_at = attempted_at - %s", [by])


def test_an_empty_landing(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    data = tick(definitions, instance)
    assert data.skip_message == "nothing pending"
    assert data.run_requests == []


def test_contiguous_days_become_one_run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path
) -> None:
    for day in (1, 2, 3, 7):
        put(landing, f"2010-12-{day:02d}.json", [order(f"A{day}")])
    asked = tick(definitions, instance).run_requests
    assert [{k: v for k, v in r.tags.items() if "partition" in k} for r in asked] == [
        days(1, 3),
        {"dagster/partition": "2010-12-07"},
    ]


def test_what_is_asked_for_loads_and_is_never_asked_for_again(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", [order("B")])
    data = tick(definitions, instance)
    for asked in data.run_requests:
        assert request(definitions, instance, asked).success
    assert {status for status, *_ in files(workspace).values()} == {"loaded"}
    assert tick(definitions, instance, data.cursor).skip_message == "nothing pending"


def test_the_same_name_with_other_content_has_another_run_key(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path
) -> None:
    put(landing, "2010-12-01.json", [order("A")], age=100)
    first = tick(definitions, instance).run_requests[0]
    request(definitions, instance, first)
    put(landing, "2010-12-01.json", [order("A", TotalRevenue=11)], age=50)
    second = tick(definitions, instance).run_requests[0]
    assert first.run_key != second.run_key


def test_a_file_that_was_just_written_waits(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path
) -> None:
    path = put(landing, "2010-12-01.json", [order("A")], age=1)
    data = tick(definitions, instance)
    assert data.skip_message == "1 pending; 1 still being written"
    os.utime(landing / path, (0, datetime.now().timestamp() - 6))
    assert len(tick(definitions, instance).run_requests) == 1


def test_a_file_that_grew_since_the_last_tick_waits(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path
) -> None:
    put(landing, "2010-12-01.json", "[", age=600)
    busy = active(instance, {"dagster/partition": "2010-12-01"})
    cursor = tick(definitions, instance).cursor
    instance.report_run_failed(busy)
    put(landing, "2010-12-01.json", [order("A")], age=500)
    data = tick(definitions, instance, cursor)
    assert data.skip_message == "1 pending; 1 still being written"
    assert len(tick(definitions, instance, data.cursor).run_requests) == 1


def test_a_growing_file_is_left_out_of_its_neighbour_s_run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01_a.json", [order("A")])
    put(landing, "2010-12-01_b.json", "[{", age=0)
    asked = tick(definitions, instance).run_requests[0]
    assert request(definitions, instance, asked).success
    assert files(workspace)["2010-12-01_a.json"][0] == "loaded"
    assert files(workspace)["2010-12-01_b.json"] == ("pending", 0, None)


def test_a_clock_that_is_ahead_keeps_no_file_waiting(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path
) -> None:
    put(landing, "2010-12-01.json", [order("A")], age=-3000)
    assert len(tick(definitions, instance).run_requests) == 1


@pytest.mark.parametrize("tags", [{"dagster/partition": "2010-12-02"}, days(1, 3)])
def test_days_a_run_is_busy_with_are_left_alone(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, tags: dict[str, str]
) -> None:
    put(landing, "2010-12-02.json", [order("A")])
    active(instance, tags)
    assert tick(definitions, instance).skip_message == "1 pending; 1 on days a run is busy with"
    put(landing, "2010-12-04.json", [order("B")])
    assert [r.tags["dagster/partition"] for r in tick(definitions, instance).run_requests] == ["2010-12-04"]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_run_of_a_killed_command_line_is_not_waited_for(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    landing: Path,
    workspace: Workspace,
    status: dg.DagsterRunStatus,
) -> None:
    put(landing, "2010-12-02.json", [order("A")])
    home = workspace.settings.home
    killed = active(instance, {"dagster/partition": "2010-12-02"}, status)
    instance.add_run_tags(killed.run_id, installation_tags(home, killed.run_id))
    alive = active(instance, {"dagster/partition": "2010-12-09"})
    instance.add_run_tags(alive.run_id, installation_tags(home, alive.run_id))
    with held(home, alive.run_id):
        assert len(tick(definitions, instance).run_requests) == 1
    assert instance.get_run_by_id(killed.run_id).status == dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    assert instance.get_run_by_id(alive.run_id).status == dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]


def test_a_failed_file_comes_back_later_each_time_and_is_set_aside(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", "[{")
    cursor, keys = None, set()
    for attempt, minutes in enumerate((1, 5, 15, 60, 10_000), start=1):
        data = tick(definitions, instance, cursor)
        (asked,) = data.run_requests
        keys.add(asked.run_key)
        assert not request(definitions, instance, asked).success
        assert files(workspace)["2010-12-01.json"][1] == attempt
        assert tick(definitions, instance, data.cursor).run_requests == []
        later(workspace, timedelta(minutes=minutes - 1, seconds=55))
        waiting = tick(definitions, instance, data.cursor)
        assert waiting.run_requests == []
        later(workspace, timedelta(seconds=10))
        cursor = waiting.cursor
    assert len(keys) == 5
    assert "1 set aside after 5 attempts" in tick(definitions, instance, cursor).skip_message
    put(landing, "2010-12-01.json", [order("A")], age=60)
    assert len(tick(definitions, instance).run_requests) == 1


def test_a_run_that_crashed_is_asked_for_again_under_another_key(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    first = tick(definitions, instance).run_requests[0]
    crashed = active(instance, {"dagster/partition": "2010-12-01", EXPORTS_TAG: first.tags[EXPORTS_TAG]})
    instance.report_run_failed(crashed)
    assert tick(definitions, instance).skip_message == "1 pending; 1 whose runs crashed, waiting"

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(minutes=2)

    monkeypatch.setattr("sync_pipelines.orchestration.sensors.datetime", Later)
    (second,) = tick(definitions, instance).run_requests
    assert second.run_key != first.run_key


def test_a_tick_is_bounded_and_the_next_goes_on(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path
) -> None:
    for n in range(25):
        day = datetime(2011, 1, 1) + timedelta(days=2 * n)
        put(landing, f"{day:%Y-%m-%d}.json", [order(f"A{n}")])
    data = tick(definitions, instance)
    assert len(data.run_requests) == REQUESTS_PER_TICK
    for asked in data.run_requests:
        active(instance, asked.tags)
    rest = tick(definitions, instance, data.cursor).run_requests
    assert len(rest) == 5
    assert {r.run_key for r in rest}.isdisjoint({r.run_key for r in data.run_requests})


def test_every_key_asked_for_is_a_partition(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    today = datetime.now(UTC).date()
    put(landing, "2009-12-31.json", [order("A")])
    put(landing, f"{today + timedelta(days=2)}.json", [order("B")])
    put(landing, f"{today + timedelta(days=1)}.json", [order("C")])
    (asked,) = tick(definitions, instance).run_requests
    assert asked.tags["dagster/partition"] == str(today + timedelta(days=1))
    assert request(definitions, instance, asked).success
    errors = {name: error for name, (_, _, error) in files(workspace).items()}
    assert str(errors["2009-12-31.json"]).startswith("date_out_of_range")


def test_a_landing_that_is_away_is_said_and_no_fault(
    definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise LandingUnavailable("landing_unavailable", "the landing does not answer", "try again later")

    monkeypatch.setattr("sync_pipelines.stages.export_stages.discover", away)
    data = tick(definitions, instance, '{"7": "1 2"}')
    assert data.skip_message == "landing_unavailable: the landing does not answer (try again later)"
    assert data.cursor == '{"7": "1 2"}'


@pytest.mark.parametrize("cursor", ["nonsense", "[]", "{", "null"])
def test_a_cursor_nobody_can_read_is_forgotten(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, cursor: str
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    assert len(tick(definitions, instance, cursor).run_requests) == 1


def test_a_ledger_row_deleted_by_hand_comes_back(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", [order("B")])
    request(definitions, instance, tick(definitions, instance).run_requests[0])
    with workspace.connection() as connection:
        connection.execute("delete from sync.export_files where path like '%12-01.json'")
    (asked,) = tick(definitions, instance).run_requests
    assert request(definitions, instance, asked).success
    assert files(workspace)["2010-12-01.json"][0] == "loaded"
