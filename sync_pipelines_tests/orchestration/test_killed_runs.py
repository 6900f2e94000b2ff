"""An export that kills whoever reads it: attempts are counted, the exports beside it load, it is set aside."""

from __future__ import annotations

import json
import signal
import uuid
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from sync_pipelines.database import ledger_changes
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ExportError
from sync_pipelines.orchestration.due import ATTEMPTS
from sync_pipelines.stages.export_stages import Workspace, discover
from sync_pipelines.stages.killed_runs import mark_killed
from sync_pipelines.stages.run_files import at_work, dead_runs, held, installation_id, is_held
from sync_pipelines_tests.exports_in import order, put
from sync_pipelines_tests.killer import TAKES_ALL, killing
from sync_pipelines_tests.orchestration.acting import files, holding, tick
from sync_pipelines_tests.unprivileged import as_nobody, reachable_folder

KILLED = -signal.SIGKILL
KILLER, NEIGHBOR, OTHER_DAY = "2010-12-01_killer.json", "2010-12-01_z.json", "2010-12-05.json"


def put_three(landing: Path) -> None:
    put(landing, KILLER, [order("A")])
    put(landing, NEIGHBOR, [order("B")])
    put(landing, OTHER_DAY, [order("C")])


def entry_in(workspace: Workspace) -> LedgerFile:
    (entry,) = discover(workspace).pending
    return entry


@pytest.mark.parametrize("environment", [{}, {TAKES_ALL: "1"}], ids=["one process", "every process"])
def test_a_sync_that_is_killed_uses_an_attempt_and_the_next_loads_the_others(
    workspace: Workspace, landing: Path, environment: dict[str, str]
) -> None:
    put_three(landing)
    settings = workspace.settings
    assert killing("sync", settings=settings, **environment) == KILLED
    assert files(workspace)[KILLER] == ("pending", 0, None)
    # It tries the killer again, when nothing else is left to do.
    assert killing("sync", settings=settings, **environment) == KILLED
    after = files(workspace)
    assert after[NEIGHBOR] == ("loaded", 1, None)
    assert after[OTHER_DAY] == ("loaded", 1, None)
    assert after[KILLER][1] == 1
    assert mark_killed(workspace) == 1
    status, attempts, error = files(workspace)[KILLER]
    assert (status, attempts) == ("failed", 2)
    assert str(error).startswith("run_killed: the process that was loading this export was killed")
    assert list(dead_runs(settings.home)) == []


def test_one_that_was_killed_beside_it_loads_before_it(workspace: Workspace, landing: Path) -> None:
    put_three(landing)
    entries = {Path(entry.path).name: entry for entry in discover(workspace).pending}
    kill_at_work_on(workspace, entries[KILLER], entries[NEIGHBOR])
    assert mark_killed(workspace) == 2
    kill_at_work_on(workspace, entries[KILLER])
    assert killing("sync", settings=workspace.settings) == KILLED
    after = files(workspace)
    assert (after[KILLER][1], after[NEIGHBOR][:2], after[OTHER_DAY][:2]) == (2, ("loaded", 2), ("loaded", 1))


def test_a_killed_run_of_the_daemon_is_launched_again_without_the_export(
    definitions: dg.Definitions, postgres_instance: dg.DagsterInstance, workspace: Workspace, landing: Path
) -> None:
    put_three(landing)
    asked = tick(definitions, postgres_instance).run_requests[0]
    given = (json.dumps(dict(asked.tags)), json.dumps(dict(asked.run_config)))
    assert killing("run", str(uuid.uuid4()), *given, settings=workspace.settings) == KILLED
    # As Dagster does, perhaps before a sensor has looked.
    assert killing("run", str(uuid.uuid4()), *given, settings=workspace.settings) == 0
    after = files(workspace)
    assert after[NEIGHBOR][0] == "loaded"
    assert after[KILLER][:2] == ("failed", 1)
    failure = dg.DagsterRunStatus.FAILURE
    tick(definitions, postgres_instance)
    assert {run.status for run in postgres_instance.get_runs()} == {failure}


def test_an_export_that_goes_on_killing_is_set_aside(
    definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace, landing: Path
) -> None:
    put(landing, KILLER, [order("A")])
    for attempt in range(1, ATTEMPTS + 1):
        assert len(tick(definitions, instance).run_requests) == 1
        kill_at_work_on(workspace, entry_in(workspace))
        waiting = tick(definitions, instance)
        assert waiting.run_requests == []
        assert files(workspace)[KILLER][:2] == ("failed", attempt)
        with workspace.connection() as connection:
            moved = [timedelta(days=1)]
            connection.execute("update sync.export_files set attempted_at = attempted_at - %s", moved)
    assert "1 set aside after 5 attempts" in tick(definitions, instance).skip_message


def kill_at_work_on(workspace: Workspace, *entries: LedgerFile) -> None:
    """A process for each entry dies while it is at work on it."""
    home = workspace.settings.home
    for entry in entries:
        run_id = str(uuid.uuid4())
        does = (
            "from types import SimpleNamespace; from sync_pipelines.stages.run_files import at_work;"
            f"noted = at_work(Path({str(home)!r}), {run_id!r}, SimpleNamespace(id={entry.id}, path={entry.path!r}));"
            "noted.__enter__(); print('noted', flush=True)"
        )
        with holding(home, run_id, does) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "noted\n"
            (noted,) = (home / "runs").glob(f"{run_id}.*")
            assert json.loads(noted.read_text()) == [entry.id, entry.path]
            assert is_held(home, run_id)
            process.kill()


def test_processes_killed_together_are_one_attempt(workspace: Workspace, landing: Path) -> None:
    put(landing, KILLER, [order("A")])
    entry = entry_in(workspace)
    home = workspace.settings.home
    left = [home / "runs" / str(uuid.uuid4()) for _ in range(2)]
    kill_at_work_on(workspace, entry)
    (only,) = (home / "runs").iterdir()
    for path in left:
        path.write_text(only.read_text())
    assert mark_killed(workspace) == 1
    assert files(workspace)[KILLER][1] == 1


def test_an_entry_of_another_database_is_left_alone(workspace: Workspace, landing: Path) -> None:
    put(landing, NEIGHBOR, [order("A")])
    path = workspace.settings.home / "runs" / str(uuid.uuid4())
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([entry_in(workspace).id, "replenit/another/orders/file.json"]))
    assert mark_killed(workspace) == 0
    assert files(workspace)[NEIGHBOR] == ("pending", 0, None)


@pytest.mark.parametrize("text", ["", "[", "[1", "5", "[1, 2]", '["a", "b"]', "null", "\xff"])
def test_a_file_that_says_nothing_readable_is_removed(workspace: Workspace, text: str) -> None:
    path = workspace.settings.home / "runs" / str(uuid.uuid4())
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    assert mark_killed(workspace) == 0
    assert not path.exists()


def test_what_a_run_is_at_work_on_is_said_while_it_is(workspace: Workspace, landing: Path) -> None:
    put(landing, NEIGHBOR, [order("A")])
    entry, home, run_id = entry_in(workspace), workspace.settings.home, str(uuid.uuid4())
    file = home / "runs" / run_id
    with held(home, run_id):
        with at_work(home, run_id, entry):
            with at_work(home, run_id, entry):
                pass
            assert json.loads(file.read_text()) == [entry.id, entry.path]
        assert file.read_text() == ""
        assert file.stat().st_mode & 0o777 == 0o600
    assert not file.exists()


def test_the_id_of_a_state_folder_is_made_once(tmp_path: Path) -> None:
    assert installation_id(tmp_path / "a") == installation_id(tmp_path / "a")
    assert installation_id(tmp_path / "a") != installation_id(tmp_path / "b")


def test_a_state_folder_that_may_not_be_written_is_said() -> None:
    with reachable_folder() as home, as_nobody():
        with pytest.raises(ExportError, match="storage_unwritable: cannot write to"):
            installation_id(home)
        with pytest.raises(ExportError, match="storage_unwritable: cannot write to"), held(home, str(uuid.uuid4())):
            raise AssertionError("it is not held")


def test_an_export_that_was_loaded_meanwhile_stays_loaded(workspace: Workspace, landing: Path) -> None:
    put(landing, NEIGHBOR, [order("A")])
    entry = entry_in(workspace)
    with workspace.connection() as connection:
        ledger_changes.mark_loaded(
            connection,
            entry.id,
            entry.counts,
            lines=None,
            leniencies={},
            unknown_fields={},
            window=None,
            run_id=None,
        )
    kill_at_work_on(workspace, entry)
    assert mark_killed(workspace) == 0
    assert files(workspace)[NEIGHBOR] == ("loaded", 1, None)
