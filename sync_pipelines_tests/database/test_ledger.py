"""What the ledger makes of a landing: new, known, changed, set right (laws 3 to 5, X4)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sync_pipelines.database import ledger
from sync_pipelines.database.reports import stream_status
from sync_pipelines.exports.landing import Landing, LandingFile
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.discovery import UNCERTAIN
from sync_pipelines.stages.export_stages import archive_export, discover, load_export, normalize_export
from sync_pipelines.stages.preview import preview
from sync_pipelines_tests.loading import LONG_AGO, TENANT, Site, order, outcomes


def orders(quantity: int) -> list[dict[str, Any]]:
    return [order("A", TotalQuantity=quantity)]


def quantity_in(site: Site) -> int:
    row = site.order("A")
    assert row is not None
    return int(row["total_quantity"])


def disguised(site: Site, path: Path, quantity: int) -> None:
    """Other content of the same size with the same time: only reading the file tells the difference."""
    status = path.stat()
    site.put(path.name, orders(quantity), mtime=datetime.fromtimestamp(status.st_mtime, UTC))
    assert path.stat().st_size == status.st_size


def test_law_3_the_accounting_is_checked_by_the_table_itself(site: Site) -> None:
    site.load("2024-05-01.json", orders(1))
    for name in ("read", "created", "updated", "unchanged", "stale", "deleted", "not_found", "blocked", "rejected"):
        with site.database.connect() as connection, pytest.raises(psycopg.errors.CheckViolation, match="accounting"):
            connection.execute(f"update sync.export_files set {name} = {name} + 1")


def test_law_3_holds_for_a_file_that_failed_or_waits(site: Site) -> None:
    site.put("2024-05-01.json", "[")
    site.sync()
    assert [(entry.status, sum(entry.counts.values())) for entry in site.ledger()] == [("failed", 0)]
    site.put("2024-05-02.json", orders(1))
    site.discover()
    assert [sum(entry.counts.values()) for entry in site.ledger()] == [0, 0]


def test_law_4_one_bad_file_never_stops_its_stream(site: Site) -> None:
    for day in range(1, 10):
        site.put(f"2024-05-0{day}.json", orders(day) if day % 3 else "not an export")
    entries = site.sync()
    assert [entry.status for entry in entries] == ["loaded", "loaded", "failed"] * 3
    assert quantity_in(site) == 8


def test_law_4_a_bad_record_names_file_position_path_code_and_value(site: Site) -> None:
    bad = order("B", TotalQuantity="six")
    entry = site.load("2024-05-01.json", [*orders(1), bad])
    (reject,) = site.rejects()
    assert (reject["path"], reject["position"], reject["field_path"]) == (entry.path, "2", "TotalQuantity")
    assert (reject["code"], reject["record"], reject["external_id"]) == ("not_a_number", bad, "B")
    assert "'six'" in reject["message"]


def test_law_5_a_loaded_file_is_not_read_again(site: Site) -> None:
    path = site.put("2024-05-01.json", orders(1))
    site.sync()
    disguised(site, path, 2)
    assert site.sync() == []
    assert quantity_in(site) == 1


def test_law_5_a_new_time_with_the_same_content_is_not_loaded_again(site: Site) -> None:
    path = site.put("2024-05-01.json", orders(1))
    (entry,) = site.sync()
    site.touch(path, LONG_AGO + timedelta(days=1))
    assert site.sync() == []
    assert [e.loaded_at for e in site.ledger()] == [entry.loaded_at]
    disguised(site, path, 2)
    assert site.sync() == [], "once looked at, it is not read a second time"


@pytest.mark.parametrize("content", [orders(2), [*orders(2), order("B")]], ids=["same size", "other size"])
def test_law_5_changed_content_is_the_next_revision(site: Site, content: Any) -> None:
    site.load("2024-05-01.json", orders(1))
    entry = site.load("2024-05-01.json", content)
    assert (entry.revision, entry.status, entry.updated) == (2, "loaded", 1)
    assert quantity_in(site) == 2


def test_law_5_another_size_tells_whatever_the_time(site: Site) -> None:
    site.load("2024-05-01.json", orders(1), mtime=LONG_AGO)
    assert site.load("2024-05-01.json", orders(10), mtime=LONG_AGO).revision == 2


def test_law_5_a_file_changed_within_two_seconds_of_the_look_is_looked_at_again(site: Site) -> None:
    path = site.put("2024-05-01.json", orders(1), mtime=datetime.now(UTC))
    site.sync()
    disguised(site, path, 2)
    assert [(entry.revision, entry.status) for entry in site.sync()] == [(2, "loaded")]
    assert quantity_in(site) == 2


def test_law_5_a_file_that_was_still_for_longer_is_not(site: Site) -> None:
    path = site.put("2024-05-01.json", orders(1), mtime=datetime.now(UTC) - timedelta(seconds=30))
    site.sync()
    disguised(site, path, 2)
    assert site.sync() == []


def test_a_file_replaced_between_look_and_load_loads_what_it_is_then(site: Site) -> None:
    site.put("2024-05-01.json", orders(1))
    workspace = site.workspace()
    (entry,) = discover(workspace).pending
    site.put("2024-05-01.json", [*orders(2), order("B")])
    assert load_export(workspace, entry.id).status == "loaded"
    assert site.sync() == []
    assert (quantity_in(site), len(site.ledger())) == (2, 1)


def test_a_renamed_file_is_another_export_that_changes_nothing(site: Site) -> None:
    path = site.put("2024-05-01.json", orders(1))
    site.sync()
    path.rename(path.with_name("2024-05-01_again.json"))
    assert [outcomes(entry) for entry in site.sync()] == [{"unchanged": 1}]


def test_a_failed_file_that_left_the_landing_is_let_go_and_tried_again_when_it_is_back(site: Site) -> None:
    bad = site.put("2024-05-01.json", "[")
    site.sync()
    half = site.put("2024-05-02.jsonl.uploading", orders(1))
    site.discover()
    bad.unlink()
    half.unlink()
    assert site.discover().pending == []
    assert site.discover().failed == []
    assert [entry.status for entry in site.ledger()] == ["failed", "failed"]
    was_bad, was_half = (str(entry.error) for entry in site.ledger())
    assert was_bad.startswith("file_vanished: the file is no longer in the landing - before: not_json: ")
    assert was_half == "file_vanished: the file is no longer in the landing"
    with site.database.connect() as connection:
        told = stream_status(connection, ORDERS)
    assert (told.pending, told.failed, told.oldest_pending) == (0, 0, None)
    site.put("2024-05-01.json", orders(4))
    site.sync()
    assert quantity_in(site) == 4


def test_a_file_that_left_the_landing_after_it_was_archived_goes_on(site: Site) -> None:
    path = site.put("2024-05-01.json", orders(3))
    (entry,) = site.discover().pending
    archive_export(site.workspace(), entry.id)
    path.unlink()
    site.discover()
    assert load_export(site.workspace(), entry.id).status == "loaded"
    assert quantity_in(site) == 3


def test_a_look_beside_a_running_sync_leaves_it_the_file_it_has_archived(site: Site) -> None:
    """The file changed within two seconds of being archived, so only its content tells that it is the same."""
    path = site.put("2024-05-01.json", orders(3), mtime=datetime.now(UTC))
    workspace = site.workspace()
    (entry,) = discover(workspace).pending
    archived = archive_export(workspace, entry.id)
    kept = normalize_export(workspace, entry.id).kept
    site.discover()
    (beside,) = site.ledger()
    assert (beside.sha256, beside.kept, beside.status) == (archived.sha256, kept, "pending")
    assert beside.looked_at and archived.looked_at and beside.looked_at > archived.looked_at
    disguised(site, path, 4)
    site.discover()
    assert [(e.sha256, e.kept) for e in site.ledger()] == [(None, None)], "other content is archived anew"
    assert load_export(workspace, entry.id).status == "loaded"
    assert quantity_in(site) == 4


def test_a_file_that_failed_is_not_renewed_by_a_look_at_the_same_content(site: Site) -> None:
    path = site.put("2024-05-01.json", "[", mtime=datetime.now(UTC))
    site.sync()
    site.discover()
    site.touch(path, LONG_AGO)
    site.discover()
    assert [(e.status, e.attempts, e.modified_at) for e in site.ledger()] == [("failed", 1, LONG_AGO)]


def test_names_that_are_no_exports_yet_wait_for_their_own_name(site: Site) -> None:
    path = site.put("2024-05-01.json.part", orders(1))
    for name in (".hidden.json", "_SUCCESS", "a.tmp", "b.PARTIAL", ".git/c.json", "_tmp/d.json"):
        site.put(name, orders(9))
    assert site.sync() == []
    path.rename(path.with_suffix(""))
    assert [entry.path.rsplit("/", 1)[-1] for entry in site.sync()] == ["2024-05-01.json"]


def test_only_files_the_sources_glob_names(site: Site) -> None:
    site.sources({"path": "daily/*.json"})
    site.put("daily/2024-05-01.json", orders(1))
    site.put("2024-05-02.json", orders(2))
    site.put("daily/2024-05-03.csv", "OrderId\n")
    assert [entry.path.rsplit("/", 1)[-1] for entry in site.sync()] == ["2024-05-01.json"]


def test_stages_one_by_one_and_each_twice(site: Site) -> None:
    site.put("2024-05-01.json", orders(1))
    workspace = site.workspace()
    (entry,) = discover(workspace).pending
    for _ in range(2):
        assert archive_export(workspace, entry.id).sha256 is not None
    kept = [normalize_export(workspace, entry.id).kept for _ in range(2)]
    assert kept[0] == kept[1] is not None
    loaded = [load_export(workspace, entry.id, "run-1") for _ in range(2)]
    assert loaded[0] == loaded[1]
    assert (loaded[0].status, loaded[0].run_id, loaded[0].attempts) == ("loaded", "run-1", 1)
    assert discover(workspace).pending == []


def test_changed_settings_are_read_before_an_archived_file_loads(site: Site) -> None:
    site.put("2024-05-01.csv", "OrderId;Currency;TotalRevenue\nA;USD;1,5\n")
    workspace = site.workspace()
    (entry,) = discover(workspace).pending
    archive_export(workspace, entry.id)
    assert normalize_export(workspace, entry.id).status == "pending"
    site.sources({"decimal": ","})
    assert outcomes(load_export(site.workspace(), entry.id)) == {"created": 1}


def test_a_preview_counts_and_writes_nothing(site: Site) -> None:
    site.load("2024-05-01.json", orders(1))
    site.put("2024-05-02.json", [*orders(2), order("B", Email="a@b.c"), {"OrderId": "C"}])
    workspace, before = site.workspace(), site.tables()
    (entry,) = discover(workspace).pending
    with preview(workspace, [entry]) as previewed:
        (shown,) = previewed.entries
    assert outcomes(shown) == {"created": 1, "updated": 1, "rejected": 1}
    assert (site.tables(), site.rejects()) == (before, [])
    assert [e.status for e in site.ledger()] == ["loaded", "pending"]
    assert outcomes(load_export(workspace, entry.id)) == outcomes(shown)


def test_of_one_tenant_and_of_some_dates(site: Site) -> None:
    for day in (1, 2, 3):
        site.put(f"2024-05-0{day}.json", orders(day))
    site.put("2024-05-02.json", orders(9), tenant="{11111111-2222-3333-4444-555555555555}")
    workspace = site.workspace()
    dates = (datetime(2024, 5, 2).date(), datetime(2024, 5, 3).date())
    found = discover(workspace, partner="replenit", stream="orders", tenant=TENANT.upper(), dates=dates)
    assert [entry.path.rsplit("/", 1)[-1] for entry in found.pending] == ["2024-05-02.json", "2024-05-03.json"]
    assert discover(workspace, partner="nilo").pending == []
    assert len(discover(workspace).pending) == 4


def test_rejects_are_superseded_whatever_order_files_come_in(site: Site) -> None:
    bad, good = [{"OrderId": "A"}], orders(2)
    site.load("2024-05-01.json", bad)
    site.load("2024-05-02.json", good)
    site.load("2024-05-01_late.json", bad)
    site.load("2024-05-03.json", bad)
    assert [r["status"] for r in site.rejects()] == ["superseded", "superseded", "open"]


def test_x4_a_path_that_gets_its_first_content_and_time_back_is_loaded_again(site: Site) -> None:
    for quantity, second in ((1, 0), (2, 1), (1, 0)):
        site.put("2024-05-01.json", orders(quantity), mtime=LONG_AGO + timedelta(seconds=second))
        site.sync()
        assert quantity_in(site) == quantity
    assert [entry.revision for entry in site.ledger()] == [1, 2, 3]


ODD_NAMES = (
    "2024-05-01.json",
    'it\'s \\x5c \\ "1 2 3".json',
    "ü\n7 9 🛒.json",
    "\t%s {}.json",
    "a/b c/d.json",
    "9 9.json",
)


def test_the_ledger_tells_what_loaded_files_look_like_as_the_landing_does(site: Site) -> None:
    for number, name in enumerate(ODD_NAMES):
        site.put(name, orders(number), mtime=LONG_AGO + timedelta(microseconds=number * 7_919))
    os.utime(site.put(os.fsdecode(b"\xff.json"), orders(9)), (1.6e9, 1.6e9))
    site.sync()
    site.put("pending.json", orders(9))
    site.discover()
    workspace = site.workspace()
    with workspace.connection() as connection:
        loaded = ledger.loaded_looks(connection, "replenit", "orders", UNCERTAIN)
        connection.execute("update sync.export_files set etag = ''")
        with_etags = ledger.loaded_looks(connection, "replenit", "orders", UNCERTAIN)
    files = [file for file in workspace.landing.list("replenit", "orders") if file.below != "pending.json"]
    assert len(loaded) == len(files) == len(ODD_NAMES) + 1
    assert {ledger.look_of(file) for file in files} == loaded
    assert {ledger.look_of(file._replace(etag="")) for file in files} == with_etags
    assert not loaded & with_etags


def test_a_look_asks_the_ledger_only_for_paths_that_changed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(1, 6):
        site.put(f"2024-05-0{day}.json", orders(day))
    site.sync()
    asked, entries_of = list[str](), ledger.latest_of_paths

    def asking(connection: Any, partner: str, stream: str, paths: Iterable[str]) -> Any:
        asked.extend(wanted := list(paths))
        return entries_of(connection, partner, stream, wanted)

    monkeypatch.setattr(ledger, "latest_of_paths", asking)
    assert site.discover().pending == [] and asked == []
    site.put("2024-05-03.json", orders(30))
    (changed,) = site.discover().pending
    assert {path.rpartition("/")[2] for path in asked} == {"2024-05-03.json"}
    assert changed.revision == 2


def test_a_look_asks_of_no_stream_without_files(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put("2024-05-01.json", orders(1))
    site.sync()
    asked, looks_of = list[str](), ledger.loaded_looks

    def asking(connection: Any, partner: str, stream: str, uncertain_for: timedelta) -> set[str]:
        asked.append(f"{partner}/{stream}")
        return looks_of(connection, partner, stream, uncertain_for)

    monkeypatch.setattr(ledger, "loaded_looks", asking)
    for name in ("unloaded", "held"):
        monkeypatch.setattr(ledger, name, lambda *_: pytest.fail("a stream's entries are read"))
    assert site.discover().pending == [] and asked == ["replenit/orders"]


def test_what_another_worker_enters_during_a_look_is_not_gone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put("2024-05-01.json", orders(1))
    workspace, others, listed = site.workspace(), site.workspace(), Landing.list

    def listing(landing: Landing, *of: str) -> Iterator[LandingFile]:
        found = list(listed(landing, *of))
        if landing is workspace.landing and of == ("replenit", "orders"):
            site.put("2024-05-02.json", orders(2))
            discover(others)
        return iter(found)

    monkeypatch.setattr(Landing, "list", listing)
    discover(workspace)
    assert [entry.status for entry in site.ledger()] == ["pending", "pending"]


def test_the_nearest_loaded_exports_are_those_nearest_in_time(site: Site) -> None:
    for day in (1, 5, 9, 10, 11, 20):
        site.put(f"2024-03-{day:02}.json", [order(f"k{day}")])
    site.put("2024-03-12.json", "no JSON")
    site.sync()
    pending = next(entry for entry in site.ledger() if entry.path.endswith("2024-03-12.json"))

    with site.workspace().connection() as connection:
        found = ledger.nearest_loaded(connection, pending, 4)

    assert [entry.path[-7:-5] for entry in found] == ["11", "10", "09", "05"]
