"""A preview: the numbers of the load that follows, and nothing of it in the tables, the ledger or the rejects."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from sync_pipelines.cli import cli
from sync_pipelines.database.ledger import COUNTS
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.sample_data import write_sample
from sync_pipelines.stages.export_stages import discover, load_all
from sync_pipelines.stages.preview import in_load_order, preview
from sync_pipelines_tests.loading import Site, item, order
from sync_pipelines_tests.sample_data.test_sample_synced import put, sample_site
from sync_pipelines_tests.test_laws_partners import contents


def state(site: Site) -> Any:
    """Tables, rejects, and the ledger but for what archiving and normalizing note there."""
    ledger = [(e.path, e.revision, e.status, e.counts, e.error, e.attempts, e.run_id) for e in site.ledger()]
    return contents(site), site.rejects(), ledger


def numbers(entries: Any) -> list[Any]:
    return [(e.path, e.status, e.error, *(getattr(e, name) for name in COUNTS)) for e in entries]


def test_the_numbers_of_a_preview_are_those_of_the_load_over_the_whole_sample(site: Site, tmp_path: Any) -> None:
    sample = write_sample(tmp_path / "sample", days=5, orders=80)
    put(sample_site(site), sample, sample.files[::2])
    site.sync()
    put(site, sample, sample.files)
    site.put("2026-06-05_bad.json", "not json", tenant=sample_tenant(sample))
    workspace = site.workspace()
    pending = in_load_order(discover(workspace).pending)
    assert len(pending) > 20
    before = state(site)

    with preview(workspace, pending) as previewed:
        expected = numbers(previewed.entries)
        told = {entry.path: (entry.leniencies, entry.unknown_fields, entry.lines) for entry in previewed.entries}

    assert state(site) == before
    loaded = load_all(workspace, pending)
    assert numbers(loaded) == expected
    assert {e.path: (e.leniencies, e.unknown_fields, e.lines) for e in loaded} == told
    assert sorted({status for _, status, *_ in expected}) == ["failed", "loaded"]
    for outcome in COUNTS:
        assert any(getattr(entry, outcome) for entry in loaded), outcome


def sample_tenant(sample: Any) -> str:
    return next(str(file.path).split("/")[1] for file in sample.files if file.path.startswith("replenit/"))


def test_each_file_of_a_preview_sees_the_earlier_ones(site: Site) -> None:
    site.put("2024-05-01.json", [order("A", TotalRevenue=1)])
    site.put("2024-05-02.json", [order("A", TotalRevenue=2)])
    site.put("2024-05-03.json", [order("A", TotalRevenue=2)])
    with preview(site.workspace(), site.discover().pending) as previewed:
        assert [(e.created, e.updated, e.unchanged) for e in previewed.entries] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert [(e.created, e.updated, e.unchanged) for e in site.sync()] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]


def test_a_file_that_would_fail_says_so_and_stays_pending(site: Site) -> None:
    site.put("2024-05-01.json", "[")
    site.put("2024-05-02.json", [order("A")])
    workspace = site.workspace()
    with preview(workspace, discover(workspace).pending) as previewed:
        (bad, good) = previewed.entries
    assert (bad.status, good.status, good.created) == ("failed", "loaded", 1)
    assert str(bad.error).startswith("not_json")
    assert [(e.status, e.attempts, e.error) for e in site.ledger()] == [("pending", 0, None)] * 2


def test_a_file_that_failed_before_is_previewed_and_stays_failed(site: Site) -> None:
    site.put("2024-05-01.csv", "OrderId,Currency,Email\nA,EUR,caf\u00e9@example.com\n".encode("utf-16-le"))
    (failed,) = site.sync()
    assert failed.status == "failed"
    site.sources({"encoding": "utf-16-le"})
    workspace = site.workspace()
    with preview(workspace, discover(workspace).pending) as previewed:
        assert [(e.status, e.created, e.error) for e in previewed.entries] == [("loaded", 1, None)]
    assert [(e.status, e.attempts, e.error) for e in site.ledger()] == [("failed", 1, failed.error)]


def test_differences_tell_old_and_new_values(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", TotalRevenue=1, OrderItems=[item("P1")]), order("B")])
    site.put(
        "2024-05-02.json",
        [order("A", TotalRevenue=2, OrderItems=[item("P2")]), order("B"), order("C", Email="c@example.com")],
    )
    with preview(site.workspace(), site.discover().pending) as previewed:
        one, two = previewed.differences(ORDERS, 20)
        assert len(previewed.differences(ORDERS, 1)) == 1
    assert (one.key, one.change, one.path.rsplit("/", 1)[-1]) == ("A", "updated", "2024-05-02.json")
    assert (one.before["total_revenue"], one.after["total_revenue"]) == (1, 2)
    assert one.before.keys() == {"total_revenue", "order_items"}
    assert [i["product_id"] for i in one.after["order_items"]] == ["P2"]
    assert (two.key, two.change, two.before["currency"], two.after["customer_id"]) == (
        "C",
        "created",
        None,
        "c@example.com",
    )


def test_a_sync_beside_a_preview_waits_for_it_and_loads(site: Site) -> None:
    site.put("2024-05-01.json", [order("A", Email="a@example.com")])
    site.put("2024-05-02.json", [order("A", TotalRevenue=7)])
    workspace = site.workspace()
    pending = discover(workspace).pending
    loaded: list[Any] = []
    beside = threading.Thread(target=lambda: loaded.extend(load_all(workspace, pending[:1])))
    with preview(workspace, pending) as previewed:
        beside.start()
        beside.join(0.5)
        assert beside.is_alive()
        assert [e.status for e in previewed.entries] == ["loaded", "loaded"]
    beside.join(30)
    assert [(e.status, e.created) for e in loaded] == [("loaded", 1)]


@pytest.fixture
def commanded(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Calls `sync-pipelines sync` with options on the site; returns status, output and errors."""
    monkeypatch.setenv("SYNC_HOME", str(site.settings.home))
    monkeypatch.setenv("SYNC_DATABASE_URL", site.database.url)
    monkeypatch.setenv("SYNC_LANDING", str(site.landing))
    monkeypatch.setenv("SYNC_SOURCES", str(site.settings.sources))

    def call(*options: str) -> tuple[int, str, str]:
        status = cli(["sync", *options], standalone_mode=False)
        printed = capsys.readouterr()
        return int(status), printed.out, printed.err

    return call


def test_the_command_line_tells_what_a_sync_would(site: Site, commanded: Any) -> None:
    site.put("2024-05-01.json", [order("A"), {"OrderId": "B"}])
    site.put("2024-05-02.json", "not json")
    status, out, err = commanded("--preview", "--json")
    shown = json.loads(out)
    assert (status, "nothing was loaded" in err, "preview: loaded" in err) == (4, True, True)
    assert [(f["status"], f["created"], f["rejected"]) for f in shown["files"]] == [("loaded", 1, 1), ("failed", 0, 0)]
    assert shown["files"][1]["error"].startswith("not_json: ")
    assert [e.status for e in site.ledger()] == ["pending", "pending"]

    status, out, _ = commanded("--preview")
    assert status == 4
    assert "replenit/orders" in out and "not_json" in out
    assert out.rstrip().endswith("This was a preview: nothing was loaded.")
    assert "rejects list" not in out, "there is nothing to list"

    (site.landing / site.ledger()[1].path).unlink()
    assert commanded("--preview", "--to", "2024-05-01")[0] == 3
    assert commanded("--preview", "--from", "2024-05-03")[0] == 0
    assert site.tables()["orders"] == {}


def test_the_command_line_answers_alike_before_and_after(site: Site, commanded: Any) -> None:
    site.put("2024-05-01.json", [order("A"), order("B")])
    site.put("2024-05-02.json", [order("A", TotalRevenue=3)])
    previewed = json.loads(commanded("--preview", "--json")[1])
    assert json.loads(commanded("--json")[1]) == previewed
