"""Links, odd files and folders that may not be read, from the landing to the ledger and the commands."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from string import ascii_letters
from typing import Any

import pytest

from sync_pipelines.commands import check
from sync_pipelines.commands.sync import answer, exit_status
from sync_pipelines.database.postgres import Database
from sync_pipelines.database.reports import stream_status
from sync_pipelines.exports.landing import Landing, LandingFile
from sync_pipelines.partners import replenit
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.export_stages import Workspace, load_all
from sync_pipelines_tests.loading import OTHER_TENANT, TENANT, Site, order
from sync_pipelines_tests.unprivileged import as_nobody, reachable_folder

ORDERS = f"replenit/{TENANT}/orders"


def codes(site: Site) -> dict[str, str]:
    """Name of each ledger entry's path -> its status, or its code where it failed."""
    return {
        f"{entry.path.rsplit('/', 1)[-1]}#{entry.revision}": (entry.error or entry.status).split(":")[0]
        for entry in site.ledger()
    }


def test_links_and_odd_files_fail_alone_and_are_told(site: Site) -> None:
    good = site.put("2026-06-01.json", [order("A")])
    (good.parent / "2026-06-01_environ.ndjson").symlink_to("/proc/self/environ")
    os.mkfifo(good.parent / "2026-06-01_pipe.json")
    entries = site.sync()
    assert codes(site) == {
        "2026-06-01.json#1": "loaded",
        "2026-06-01_environ.ndjson#1": "link_refused",
        "2026-06-01_pipe.json#1": "not_a_regular_file",
    }
    assert (site.rejects(), exit_status(entries)) == ([], 4)
    assert sum(file["error"] is not None for file in answer(entries)["files"]) == 2
    with site.database.connect() as connection:
        assert stream_status(connection, replenit.ORDERS).failed == 2
    assert [entry.attempts for entry in site.sync()] == [1, 1], "told again, and never tried"


def test_another_tenants_folder_is_not_loaded_as_ones_own(site: Site) -> None:
    site.put("2026-06-01.json", [order("A")], tenant=OTHER_TENANT)
    mine = site.landing / "replenit" / TENANT
    mine.mkdir()
    (mine / "orders").symlink_to(f"../{OTHER_TENANT}/orders")
    site.sync()
    assert {key[0] for key in site.tables()["orders"]} == {OTHER_TENANT}
    assert codes(site) == {"2026-06-01.json#1": "loaded", "orders#1": "link_refused"}
    site.sources({"follow_links": True}, others={OTHER_TENANT: {}})
    site.sync()
    assert {key[0] for key in site.tables()["orders"]} == {OTHER_TENANT, TENANT}


def test_a_loaded_path_that_became_a_link_keeps_its_rows_and_is_told(site: Site, tmp_path: Path) -> None:
    path = site.put("2026-06-01.json", [order("A")])
    site.sync()
    (tmp_path / "other.json").write_text("[]")
    path.unlink()
    path.symlink_to(tmp_path / "other.json")
    assert exit_status(site.sync()) == exit_status(site.sync()) == 4
    assert codes(site) == {"2026-06-01.json#1": "loaded", "2026-06-01.json#2": "link_refused"}
    assert len(site.tables()["orders"]) == 1
    path.unlink()
    site.put("2026-06-01.json", [order("A"), order("B")])
    assert [entry.status for entry in site.sync()] == ["loaded"]
    assert len(site.tables()["orders"]) == 2


class Unprivileged(Landing):
    """A landing that is listed as a user who owns nothing."""

    def list(self, partner: str, stream: str) -> Iterator[LandingFile]:
        with as_nobody():
            return iter(tuple(super().list(partner, stream)))


class Reachable(Site):
    """A site whose exports every user may read, as partners put them down: a sync makes what it makes private."""

    def put_at(self, path: str, content: Any, mtime: datetime | None = None) -> Path:
        put = super().put_at(path, content, mtime)
        for folder in put.relative_to(self.folder).parents:
            (self.folder / folder).chmod(0o755)
        return put


@pytest.fixture
def reachable(database: Database) -> Iterator[Site]:
    """A site whose landing every user can reach."""
    with reachable_folder() as folder:
        yield Reachable(folder, database)


def unprivileged(site: Site) -> Workspace:
    return replace(site.workspace(), landing=Unprivileged(site.settings.landing))


def test_a_folder_that_may_not_be_read_stops_no_other(reachable: Site) -> None:
    waiting = reachable.put("closed/2026-06-01.json", [order("A")])
    reachable.discover()
    reachable.put("open/2026-06-02.json", [order("B")])
    reachable.put("2026-06-03.json", [order("C")], tenant=OTHER_TENANT)
    waiting.parent.chmod(0o000)
    workspace = unprivileged(reachable)
    found = export_stages.discover(workspace)
    assert exit_status([*found.failed, *load_all(workspace, found.pending)]) == 4
    assert codes(reachable) == {
        "2026-06-01.json#1": "pending",
        "2026-06-02.json#1": "loaded",
        "2026-06-03.json#1": "loaded",
        "closed#1": "folder_unreadable",
    }
    assert found.failed[0].path == f"{ORDERS}/closed"
    waiting.parent.chmod(0o755)
    assert exit_status(reachable.sync()) == 0
    assert "closed#1" not in codes(reachable) and len(reachable.tables()["orders"]) == 3


def test_a_partners_folder_that_may_not_be_read_is_told_for_its_streams(reachable: Site) -> None:
    reachable.put("2026-06-01.json", [order("A")])
    (reachable.landing / "nilo").mkdir(mode=0o700)
    workspace = unprivileged(reachable)
    found = export_stages.discover(workspace, tenant=TENANT)
    assert [(entry.path, entry.tenant) for entry in found.failed] == [("nilo", "*")]
    assert [entry.status for entry in load_all(workspace, found.pending)] == ["loaded"]


def test_check_names_what_is_not_read(
    site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = site.put("2026-06-01.json", [order("A")])
    (path.parent / "link.json").symlink_to(path)
    os.mkfifo(path.parent / "pipe.json")
    monkeypatch.setattr(check, "load_settings", lambda: site.settings)
    assert check.run() == 4
    said = capfd.readouterr().out
    assert f"ERROR  landing: {ORDERS}/link.json is a symbolic link" in said
    assert f"ERROR  landing: {ORDERS}/pipe.json is a FIFO" in said
    assert f"{ORDERS}: 1 export\n" in said


def test_two_names_with_other_bytes_are_two_files_in_the_ledger(site: Site) -> None:
    site.put(os.fsdecode(b"2026-06-01\xff.json"), [order("A")])
    site.put(r"2026-06-01\xff.json", [order("B")])
    assert [entry.status for entry in site.sync()] == ["loaded", "loaded"]
    assert (len(site.ledger()), len(site.tables()["orders"])) == (2, 2)
    assert site.sync() == []


def test_a_path_longer_than_an_index_holds_stops_no_other(site: Site) -> None:
    letters = random.Random(0)
    names = ["".join(letters.choices(ascii_letters, k=250)) for _ in range(14)]
    site.put("/".join([*names, "2026-06-01.json"]), [order("A")])
    site.put("2026-06-02.json", [order("B")])
    for _ in range(2):
        entries = site.sync()
        assert exit_status(entries) == 4
    assert sorted(code for code in codes(site).values()) == ["loaded", "path_too_long"]
    assert [key[2] for key in site.tables()["orders"]] == ["B"]
