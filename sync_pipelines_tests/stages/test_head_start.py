"""Stages that are begun before the run that asks for them (law 2)."""

from __future__ import annotations

import gzip
import io
import threading
import zipfile
from typing import Any, BinaryIO

import pytest

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ExportError
from sync_pipelines.kept.archive import Archive, ArchivedExport
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.head_start import head_start
from sync_pipelines_tests.loading import Site, lines, order, outcomes, until

CHANGED = [order("A", TotalQuantity=2)]


def waited(site: Site, ready: export_stages.Workspace) -> list[LedgerFile]:
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
        loaded = [export_stages.load_export(ready, entry.id) for entry in site.ledger()]
    assert all(kept)
    assert [entry.kept for entry in loaded] == kept
    assert [outcomes(entry) for entry in loaded] == [{"created": 1}, {"updated": 1}]


def test_a_fault_is_told_by_the_run_once(site: Site) -> None:
    site.put("2024-05-01.json", "[")
    with head_start(site.workspace(), site.discover().pending) as (ready, _):
        (entry,) = [export_stages.load_export(ready, entry.id) for entry in site.ledger()]
    assert (entry.status, entry.attempts) == ("failed", 1)
    assert str(entry.error).startswith("not_json")


@pytest.mark.parametrize("suffix", ["json", "ndjson", "json.gz", "json.zip", "csv"])
def test_what_is_archived_while_it_is_read_is_what_is_kept(site: Site, suffix: str) -> None:
    text = lines(*(order(f"A{n}", TotalQuantity=n + 1) for n in range(300)))
    if suffix == "csv":
        text = "OrderId,Currency,TotalQuantity\n" + "".join(f"A{n},USD,{n + 1}\n" for n in range(300))
    site.put(f"2024-05-01.{suffix}", packed(text.encode(), suffix))
    with head_start(site.workspace(), site.discover().pending) as (ready, _):
        assert until(lambda: bool(waited(site, ready)[0].kept))
    (entry,) = site.ledger()
    assert entry.sha256
    with site.workspace().archive.read(entry.sha256).open() as archived:
        assert archived.read() == packed(text.encode(), suffix)
    assert outcomes(export_stages.load_export(site.workspace(), entry.id)) == {"created": 300}


def packed(content: bytes, suffix: str) -> bytes:
    """The bytes of a file with a suffix, the same each time."""
    if suffix.endswith(".gz"):
        return gzip.compress(content, mtime=0)
    if suffix.endswith(".zip"):
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as archive:
            archive.writestr(zipfile.ZipInfo("orders.json"), content)
        return whole.getvalue()
    return content


def test_an_export_that_cannot_be_read_is_archived_all_the_same(site: Site) -> None:
    site.put("2024-05-01.json", "[" + " " * 5_000_000 + "}")
    with head_start(site.workspace(), site.discover().pending) as (ready, _):
        assert until(lambda: bool(site.ledger()[0].sha256))
        (entry,) = waited(site, ready)
    assert not entry.kept


def test_an_export_that_cannot_be_archived_is_not_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put("2024-05-01.ndjson", lines(*(order(f"A{n}") for n in range(9))))

    tried = threading.Event()

    def broken(archive: Archive, stream: BinaryIO, name: str = "") -> ArchivedExport:
        stream.read(100)
        tried.set()
        raise ExportError("storage_full", "no space is left", "make some")

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "store", broken)
        with head_start(site.workspace(), site.discover().pending) as (ready, _):
            assert tried.wait(10)
            (entry,) = waited(site, ready)
    assert (entry.status, entry.sha256, entry.kept) == ("pending", None, None)
    assert not list((site.settings.archive / "records").glob("*"))
    assert [outcomes(loaded) for loaded in site.sync()] == [{"created": 9}]


def test_nothing_more_is_begun_after_the_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    archive = export_stages.archive_and_keep

    def slow(*given: Any) -> None:
        begun.set()
        go_on.wait(10)
        archive(*given)

    for day in (1, 2):
        site.put(f"2024-05-0{day}.json", [order("A", TotalQuantity=day)])
    monkeypatch.setattr(export_stages, "archive_and_keep", slow)
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
    normalize = export_stages.normalize_archived

    def overtaken(*given: Any) -> str:
        kept = normalize(*given)
        site.put("2024-05-01.json", [*CHANGED, order("B")])
        site.discover()
        return kept

    with monkeypatch.context() as patch:
        patch.setattr(export_stages, "normalize_archived", overtaken)
        waiting = export_stages.load_export(site.workspace(), entry.id)
    assert (waiting.status, waiting.kept) == ("pending", None)
    assert [outcomes(loaded) for loaded in site.sync()] == [{"created": 2}]
    row = site.order("A")
    assert row is not None
    assert row["total_quantity"] == 2
