"""Stages that are begun before the run that asks for them (law 2)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sync_pipelines import sync
from sync_pipelines.head_start import head_start
from sync_pipelines.ledger import LedgerFile
from sync_pipelines_tests.loading import Site, order, outcomes

CHANGED = [order("A", TotalQuantity=2)]


def waited(site: Site, ready: sync.Workspace) -> list[LedgerFile]:
    for entry in site.ledger():
        ready.settled(entry.id)
    return site.ledger()


def test_what_is_begun_is_done_when_the_run_asks(site: Site) -> None:
    for day in (1, 2):
        site.put(f"2024-05-0{day}.json", [order("A", TotalQuantity=day)])
    with head_start(site.workspace(), site.discover().pending) as (ready, _):
        pause = threading.Event()
        for _ in range(100):
            if all(entry.kept for entry in waited(site, ready)):
                break
            pause.wait(0.05)
        kept = [entry.kept for entry in site.ledger()]
        loaded = [sync.load_export(ready, entry.id) for entry in site.ledger()]
    assert all(kept)
    assert [entry.kept for entry in loaded] == kept
    assert [outcomes(entry) for entry in loaded] == [{"created": 1}, {"updated": 1}]


def test_a_fault_is_told_by_the_run_once(site: Site) -> None:
    site.put("2024-05-01.json", "[")
    with head_start(site.workspace(), site.discover().pending) as (ready, _):
        (entry,) = [sync.load_export(ready, entry.id) for entry in site.ledger()]
    assert (entry.status, entry.attempts) == ("failed", 1)
    assert str(entry.error).startswith("not_json")


def test_nothing_more_is_begun_after_the_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    archive = sync.archive

    def slow(*given: Any) -> None:
        begun.set()
        go_on.wait(10)
        archive(*given)

    for day in (1, 2):
        site.put(f"2024-05-0{day}.json", [order("A", TotalQuantity=day)])
    monkeypatch.setattr(sync, "archive", slow)
    with head_start(site.workspace(), site.discover().pending) as (ready, ahead):
        assert begun.wait(10)
        ahead.end()
        go_on.set()
        first, second = waited(site, ready)
    assert first.kept
    assert second.sha256 is None


def test_a_path_that_gets_other_content_while_it_is_read_waits_for_the_next_look(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("2024-05-01.json", [order("A", TotalQuantity=1)])
    (entry,) = site.discover().pending
    normalize = sync.normalize_archived

    def overtaken(*given: Any) -> str:
        kept = normalize(*given)
        site.put("2024-05-01.json", [*CHANGED, order("B")])
        site.discover()
        return kept

    with monkeypatch.context() as patch:
        patch.setattr(sync, "normalize_archived", overtaken)
        waiting = sync.load_export(site.workspace(), entry.id)
    assert (waiting.status, waiting.kept) == ("pending", None)
    assert [outcomes(loaded) for loaded in site.sync()] == [{"created": 2}]
    row = site.order("A")
    assert row is not None
    assert row["total_quantity"] == 2
