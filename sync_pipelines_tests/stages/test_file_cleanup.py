"""Files that housekeeping removes, and those it must not: what a later fold or an unfinished sync needs."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.database import ledger_changes
from sync_pipelines.database.reports import RejectFilter
from sync_pipelines.kept.object_store import new_name, open_store
from sync_pipelines.stages import file_cleanup
from sync_pipelines.stages.export_stages import Workspace, archive_export, discover, normalize_export
from sync_pipelines.stages.file_cleanup import Cleared, Removed, clear_files
from sync_pipelines.stages.replay import read_again, replay_rejects
from sync_pipelines_tests.loading import Site, order

DAY = file_cleanup.DAY


def workspace_of(site: Site, **settings: Any) -> Workspace:
    workspace = site.workspace()
    object.__setattr__(workspace, "settings", workspace.settings.model_copy(update=settings))
    return workspace


def clear(site: Site, in_days: float = 0, **settings: Any) -> Cleared:
    """A round some days from now."""
    return clear_files(workspace_of(site, **settings), time.time() + in_days * DAY)


def age(path: Path, days: float) -> None:
    for each in (*path.rglob("*"), path):
        os.utime(each, (time.time() - days * DAY,) * 2)


def archive(site: Site, *below: str) -> Path:
    return site.settings.archive.joinpath(*below)


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "records.parquet").write_bytes(b"12345")
    return path


def everything(site: Site) -> set[str]:
    return {str(path.relative_to(site.settings.home)) for path in site.settings.home.rglob("*") if path.is_file()}


def test_what_loads_made_stays_whatever_its_age(site: Site) -> None:
    site.load("2024-01-01.json", [order("A", TotalRevenue=1), {"Currency": "EUR"}])
    before = everything(site)
    assert clear(site, in_days=4000) == Cleared(*(Removed() for _ in range(4)))
    assert everything(site) == before


def test_a_late_file_still_folds_after_housekeeping(site: Site) -> None:
    site.load("2024-01-02.json", [order("A", TotalRevenue=2)])
    site.load("2024-01-03.json", [order("A", UniqueQuantity=3)])
    assert clear(site, in_days=100, keep_raw_days=1).raw.entries == 2
    site.load("2024-01-01.json", [order("A", TotalRevenue=1, TotalQuantity=9)])
    found = site.order("A")
    assert found is not None
    assert (found["total_revenue"], found["total_quantity"], found["unique_quantity"]) == (2, 9, 3)


def test_what_dead_processes_left_goes_after_a_day(site: Site) -> None:
    site.load("2024-01-01.json", [order("A")])
    left = [
        folder(archive(site, "tmp", "half")) / "records.parquet",
        archive(site, "raw", "incoming", "half"),
        folder(site.settings.home / "postgres.unfinished-x") / "records.parquet",
    ]
    left[1].write_bytes(b"12345")
    assert clear(site, in_days=0.9).unfinished == Removed()
    assert clear(site, in_days=1.1).unfinished == Removed(3, 15)
    assert not any(path.exists() for path in left)


def test_kept_records_still_being_written_stay(site: Site) -> None:
    site.load("2024-01-01.json", [order("A")])
    writing = folder(archive(site, "tmp", "writing"))
    os.utime(writing, (time.time() - 3 * DAY,) * 2)
    assert clear(site).unfinished == Removed()
    assert writing.exists()


def orphan(site: Site) -> str:
    """An object that no entry names."""
    store = open_store(site.settings.archive)
    file = store.new_file()
    file.write_bytes(b"12345")
    store.put(name := new_name(), file)
    return name


def test_objects_no_entry_names_go_a_day_after_that_was_seen(site: Site) -> None:
    site.load("2024-01-01.json", [order("A")])
    name = orphan(site)
    assert [clear(site, in_days=days).objects for days in (0, 0.9, 0.99)] == [Removed()] * 3
    assert archive(site, "records", name).exists()
    assert clear(site, in_days=1.1).objects == Removed(1, 5)
    assert not archive(site, "records", name).exists()
    assert clear(site, in_days=1.2).objects == Removed()


def test_an_old_object_stays_for_a_day_after_its_last_entry_named_it(site: Site) -> None:
    """A process may have read the ledger before."""
    entry = site.load("2024-01-01.json", [order("A")])
    assert clear(site, in_days=50).objects == Removed()
    assert read_again(site.workspace(), entry, whole=True).error is None
    rounds = [clear(site, in_days=days).objects.entries for days in (50, 50.5, 50.9, 51.1)]
    assert rounds == [0, 0, 0, 1]


def test_an_object_that_is_named_again_stays(site: Site) -> None:
    entry = site.load("2024-01-01.json", [order("A")])
    assert read_again(site.workspace(), entry, whole=True).error is None
    assert clear(site).objects == Removed()
    with site.database.connect(autocommit=True) as connection:
        again, before = site.ledger()[0], entry.kept or "-"
        assert ledger_changes.replace_kept(connection, again, before)
        assert clear(site, in_days=2).objects == Removed()
        assert ledger_changes.replace_kept(connection, replace(again, kept=before), again.kept or "-")
    assert [clear(site, in_days=days).objects.entries for days in (2.1, 3, 3.2)] == [0, 0, 1]


def test_records_of_a_sync_that_was_killed_before_its_load_are_not_orphans(site: Site) -> None:
    site.load("2024-01-01.json", [order("A")])
    site.put("2024-01-02.json", [order("B")])
    workspace = site.workspace()
    (entry,) = discover(workspace).pending
    archive_export(workspace, entry.id)
    normalize_export(workspace, entry.id)
    assert [clear(site, in_days=days).objects for days in (0, 50)] == [Removed()] * 2
    assert [entry.status for entry in site.sync()] == ["loaded"]


def test_an_archive_of_another_database_is_left_alone(site: Site) -> None:
    """Its records are older than anything in this ledger, or the ledger is empty."""
    theirs = archive(site, "records", orphan(site))
    assert [clear(site, in_days=days).objects for days in (0, 2)] == [Removed()] * 2
    site.load("2024-01-01.json", [order("A")])
    assert [clear(site, in_days=days).objects for days in (0, 2)] == [Removed()] * 2
    assert theirs.exists()


def loaded_days_ago(site: Site, days: float) -> None:
    with site.database.connect(autocommit=True) as connection:
        connection.execute(
            "update sync.export_files set loaded_at = %s where status = 'loaded'",
            [datetime.now(UTC) - timedelta(days=days)],
        )


def test_raw_bytes_are_kept_for_ever_unless_a_setting_says_otherwise(site: Site) -> None:
    site.load("2024-01-01.json", [order("A")])
    assert clear(site, in_days=9999).raw == Removed()
    assert clear(site, in_days=29, keep_raw_days=30).raw == Removed()
    removed = clear(site, in_days=31, keep_raw_days=30).raw
    assert removed.entries == 1 and removed.bytes > 0
    assert clear(site, in_days=31, keep_raw_days=30).raw == Removed()


def test_raw_bytes_of_what_is_not_loaded_stay(site: Site) -> None:
    site.load("2024-01-01.json", "not json")
    site.put("2024-01-02.json", [order("B")])
    workspace = site.workspace()
    pending = next(e for e in discover(workspace).pending if e.path.endswith("02.json"))
    archive_export(workspace, pending.id)
    assert clear(site, in_days=99, keep_raw_days=1).raw == Removed()


def test_raw_bytes_of_a_content_that_came_again_stay(site: Site) -> None:
    site.load("2024-01-01.json", [order("A")])
    loaded_days_ago(site, 50)
    (stored,) = [p for p in archive(site, "raw").rglob("*") if p.is_file()]
    age(stored, 50)
    site.put("again_2024-01-02.json", [order("A")])
    workspace = site.workspace()
    (pending,) = discover(workspace).pending
    archive_export(workspace, pending.id)
    assert workspace.archive.remove(str(pending.sha256 or stored.stem), time.time() - 30 * DAY) is None
    assert clear(site, keep_raw_days=30).raw == Removed()
    assert [entry.status for entry in site.sync()] == ["loaded"]


def test_a_replay_of_bytes_that_retention_removed_says_so(site: Site) -> None:
    site.sources({})
    entry = site.load("2024-01-01.json", [order("A"), {"OrderId": "B"}])
    assert entry.rejected == 1
    clear(site, in_days=31, keep_raw_days=30)
    site.sources({"currency_default": "EUR"})
    (replayed,) = replay_rejects(site.workspace(), RejectFilter())
    assert replayed.outcome is None and replayed.error is not None
    assert replayed.error.code == "raw_export_gone"
    assert "retention (SYNC_KEEP_RAW_DAYS) removed the bytes" in replayed.error.message
    assert "under another name with the same date" in replayed.error.hint
    again = site.load("again_2024-01-01.json", [order("A"), {"OrderId": "B"}])
    assert (again.created, again.rejected) == (1, 0)


def test_a_removed_export_that_comes_again_is_stored_again(site: Site) -> None:
    site.load("2024-01-01.json", [order("A")])
    clear(site, in_days=31, keep_raw_days=30)
    entry = site.load("b_2024-01-01.json", [order("A")])
    with site.workspace().archive.read(entry.sha256 or "").open() as content:
        assert b'"A"' in content.read()


def test_old_traces_and_log_files_go_and_those_in_use_stay(site: Site) -> None:
    logs = site.settings.logs
    logs.mkdir(parents=True)
    for name in ("file-1.txt", "cli-x.txt", "daemon.old.log", "daemon.log", "notes.md"):
        (logs / name).write_text("12345")
        age(logs / name, 100)
    (logs / "daemon.log").touch()
    assert clear(site).logs == Removed(3, 15)
    assert {path.name for path in logs.iterdir()} == {"daemon.log", "notes.md"}
    assert clear(site, keep_runs_days=5000).logs == Removed()


@pytest.mark.parametrize("days", [0, -1, "many"])
def test_a_retention_that_is_no_number_of_days_is_refused(days: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sync_pipelines.configuration.settings import load_settings
    from sync_pipelines.errors import ConfigurationError

    monkeypatch.setenv("SYNC_KEEP_RAW_DAYS", str(days))
    with pytest.raises(ConfigurationError, match="SYNC_KEEP_RAW_DAYS"):
        load_settings()
