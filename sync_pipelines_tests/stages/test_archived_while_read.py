"""Exports that are archived while they are read (law 2)."""

from __future__ import annotations

import gzip
import io
import zipfile
from typing import Any, BinaryIO

import pytest

from sync_pipelines.errors import ExportError
from sync_pipelines.kept.archive import Archive, ArchivedExport
from sync_pipelines.stages import export_stages
from sync_pipelines_tests.loading import Site, lines, order, outcomes

CHANGED = [order("A", TotalQuantity=2)]


@pytest.mark.parametrize("suffix", ["json", "ndjson", "json.gz", "json.zip", "csv"])
def test_what_is_archived_while_it_is_read_is_what_is_loaded(site: Site, suffix: str) -> None:
    text = lines(*(order(f"A{n}", TotalQuantity=n + 1) for n in range(300)))
    if suffix == "csv":
        text = "OrderId,Currency,TotalQuantity\n" + "".join(f"A{n},USD,{n + 1}\n" for n in range(300))
    content = packed(text.encode(), suffix)
    entry = site.load(f"2024-05-01.{suffix}", content)
    assert entry.sha256
    with site.workspace().archive.read(entry.sha256).open() as archived:
        assert archived.read() == content
    assert outcomes(entry) == {"created": 300}


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
    entry = site.load("2024-05-01.json", "[" + " " * 5_000_000 + "}")
    assert entry.sha256 and not entry.kept
    assert (entry.status, entry.attempts) == ("failed", 1)
    assert str(entry.error).startswith("not_json")


def test_an_export_that_cannot_be_archived_is_not_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(archive: Archive, stream: BinaryIO, name: str = "") -> ArchivedExport:
        stream.read(100)
        raise ExportError("storage_full", "no space is left", "make some")

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "store", broken)
        entry = site.load("2024-05-01.ndjson", lines(*(order(f"A{n}") for n in range(9))))
    assert (entry.status, entry.sha256, entry.kept) == ("failed", None, None)
    assert str(entry.error).startswith("storage_full")
    assert not list((site.settings.archive / "records").glob("*"))
    assert [outcomes(loaded) for loaded in site.sync()] == [{"created": 9}]


def test_who_interrupts_does_not_wait_for_the_rest(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that archives reads a megabyte at a time, ahead of the one that is interrupted."""
    site.put("2024-05-01.ndjson", lines(*(order(f"A{n}") for n in range(100_000))))
    workspace, read = site.workspace(), list[int]()
    (entry,) = site.discover().pending
    opened = workspace.landing.open

    class Counted(io.RawIOBase):
        def __init__(self, content: BinaryIO) -> None:
            self._content = content

        def read(self, size: int = -1, /) -> bytes:
            read.append(size)
            return self._content.read(size)

        def close(self) -> None:
            self._content.close()
            super().close()

    def interrupted(*_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(workspace.landing), "open", lambda _, path: Counted(opened(path)))
    monkeypatch.setattr(export_stages, "normalize_archived", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_stages.load_export(workspace, entry.id)
    assert len(read) < 5
    assert [(e.status, e.sha256) for e in site.ledger()] == [("pending", None)]
    assert not list((site.settings.archive / "raw" / "incoming").iterdir())


@pytest.mark.parametrize("suffix", ["json", "json.zip"])
def test_a_path_that_gets_other_content_while_it_is_read_waits_for_the_next_look(
    site: Site, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    site.put(f"2024-05-01.{suffix}", packed(lines(order("A", TotalQuantity=1)).encode(), suffix))
    (entry,) = site.discover().pending
    store = Archive.store

    def overtaken(*given: Any) -> ArchivedExport:
        stored = store(*given)
        site.put(f"2024-05-01.{suffix}", packed(lines(*CHANGED, order("B")).encode(), suffix))
        site.discover()
        return stored

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "store", overtaken)
        waiting = export_stages.load_export(site.workspace(), entry.id)
    assert (waiting.status, waiting.kept) == ("pending", None)
    assert [outcomes(loaded) for loaded in site.sync()] == [{"created": 2}]
    row = site.order("A")
    assert row is not None
    assert row["total_quantity"] == 2
