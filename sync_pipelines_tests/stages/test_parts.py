"""Exports of several files: `parts: folder`, and what is said without it (E2)."""

from __future__ import annotations

import gzip
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from sync_pipelines.commands import check
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.reports import RejectFilter
from sync_pipelines.exports.landing import Landing
from sync_pipelines.exports.parts import PartsRule
from sync_pipelines.orchestration.metadata import loaded
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.export_stages import discover
from sync_pipelines.stages.preview import preview
from sync_pipelines.stages.replay import replay_rejects
from sync_pipelines_tests.loading import TENANT, Site, order

HEADER = "OrderId,ProductId,Sku,Quantity,Price\n"
DAY = datetime(2024, 1, 1, tzinfo=UTC)
USD = {"constants": {"Currency": "USD"}}
PARTS = {**USD, "parts": "folder"}
ROOT = f"replenit/{TENANT}/orders/"


def csv(*lines: str) -> str:
    return HEADER + "".join(f"{line}\n" for line in lines)


def products(site: Site, key: str) -> list[str]:
    return [row["product_id"] for row in site.items(key)]


def told(entries: list[LedgerFile]) -> list[tuple[str, int, str, int]]:
    return [(e.path.removeprefix(ROOT), e.revision, (e.error or e.status).split(":")[0], e.read) for e in entries]


def put_parts(site: Site, folder: str = "2024-01-01") -> None:
    """Part files as Spark leaves them, ten after nine, the empty one too."""
    site.put(f"{folder}/part-10.csv", csv("A,p4,s,1,1", "B,p1,s,1,1"))
    site.put(f"{folder}/part-9.csv", csv("A,p1,s,1,1", "A,p2,s,1,1", "A,p3,s,1,1"))
    site.put(f"{folder}/part-11.csv", "")
    site.put(f"{folder}/_SUCCESS", "")
    site.put(f"{folder}/.part-9.csv.crc", "crc")


def test_the_parts_of_a_folder_are_one_export(site: Site) -> None:
    site.sources(PARTS)
    put_parts(site)
    assert told(site.sync()) == [("2024-01-01/", 1, "loaded", 2)]
    assert (products(site, "A"), products(site, "B")) == (["p1", "p2", "p3", "p4"], ["p1"])
    places = site.query("select external_id, source_file, source_position from sync.orders order by id")
    assert [(p["external_id"], p["source_file"], p["source_position"]) for p in places] == [
        ("A", f"{ROOT}2024-01-01/", "part-9.csv:2"),
        ("B", f"{ROOT}2024-01-01/", "part-10.csv:3"),
    ]
    (entry,) = site.ledger()
    assert (entry.effective_at, entry.has_own_date, entry.lines) == (DAY, True, 5)
    assert site.sync() == []


def test_a_part_that_comes_or_changes_or_goes_is_the_next_revision(site: Site) -> None:
    site.sources(PARTS)
    put_parts(site)
    site.sync()
    (site.landing / ROOT / "2024-01-01/part-9.csv").touch()
    assert site.sync() == [], "the same content"
    site.put("2024-01-01/part-12.csv", csv("B,p2,s,1,1"))
    assert told(site.sync()) == [("2024-01-01/", 2, "loaded", 2)]
    assert products(site, "B") == ["p1", "p2"]
    site.put("2024-01-01/part-12.csv", csv("B,p3,s,1,1"))
    assert told(site.sync()) == [("2024-01-01/", 3, "loaded", 2)]
    (site.landing / ROOT / "2024-01-01/part-12.csv").unlink()
    assert told(site.sync()) == [("2024-01-01/", 4, "loaded", 2)]
    assert products(site, "B") == ["p1"]


def test_dates_in_names_tell_exports_of_one_folder_apart(site: Site) -> None:
    site.sources({**PARTS, "path": "x/*.csv"})
    site.put("x/orders_2024-01-02_1.csv", csv("A,p9,s,1,1"))
    site.put("x/orders_2024-01-01_1.csv", csv("A,p1,s,1,1"))
    site.put("x/orders_20240101_0000_part_01.csv", csv("A,p2,s,1,1"))
    site.put("x/orders_20240101_0002_part_02.csv", csv("A,p3,s,1,1"))
    site.put("x/notes_2024-01-01.txt", "left out by path")
    assert told(site.sync()) == [("x/[2024-01-01]/", 1, "loaded", 1), ("x/[2024-01-02]/", 1, "loaded", 1)]
    assert products(site, "A") == ["p9"]
    assert [entry.effective_at for entry in site.ledger()] == [DAY + timedelta(minutes=2), DAY + timedelta(days=1)]


def test_without_a_date_the_newest_part_tells_when_the_export_holds(site: Site) -> None:
    site.sources(PARTS)
    site.put("run/a.csv", csv("A,p1,s,1,1"), DAY)
    site.put("run/b.csv", csv("A,p2,s,1,1"), DAY + timedelta(hours=1))
    site.put("c.csv", csv("B,p1,s,1,1"), DAY)
    (root, run) = site.sync()
    assert (root.path, root.effective_at, root.has_own_date) == (ROOT, DAY, False)
    assert (run.path, run.effective_at, run.has_own_date) == (f"{ROOT}run/", DAY + timedelta(hours=1), False)


def workbook(*rows: tuple[Any, ...]) -> bytes:
    book, file = openpyxl.Workbook(), io.BytesIO()
    for row in (HEADER.strip().split(","), *rows):
        book.worksheets[0].append(list(row))
    book.save(file)
    return file.getvalue()


def test_parts_of_any_format_and_compression(site: Site) -> None:
    site.sources(PARTS)
    site.put("2024-01-01/1.csv.gz", gzip.compress(csv("A,p1,s,1,1").encode()))
    site.put("2024-01-01/2.xlsx", workbook(("A", "p2", "s", 1, 1)))
    site.put("2024-01-02/1.ndjson", [order("J")])
    site.put("2024-01-02/2.json", [order("K"), {"OrderId": "", "Currency": "USD"}])
    site.put("2024-01-03/1.csv", csv("A,p1,s,1,1"))
    site.put("2024-01-03/2.json", [order("L")])
    site.put("2024-01-04/1.csv", "")
    site.put("2024-01-04/2.csv", " \n")
    site.put("2024-01-05/1.csv", csv("A,p1,s,1,1"))
    site.put("2024-01-05/2.csv.gz", b"\x1f\x8bno")
    site.put("2024-01-06/1.csv", csv("A,p1,s,1,1"))
    site.put("2024-01-06/2.csv", "OrderId,ProductId,Sku,Quantity\nA,p1,s,1\n")
    site.put("2024-01-07/1.csv", csv("A,p1,s,1,1"))
    site.put("2024-01-07/2.csv", "A,p1,s,1,1\n")
    assert told(site.sync()) == [
        ("2024-01-01/", 1, "loaded", 1),
        ("2024-01-02/", 1, "loaded", 3),
        ("2024-01-03/", 1, "parts_differ", 0),
        ("2024-01-04/", 1, "empty_file", 0),
        ("2024-01-05/", 1, "bad_compression", 0),
        ("2024-01-06/", 1, "parts_differ", 0),
        ("2024-01-07/", 1, "bad_header", 0),
    ]
    assert products(site, "A") == ["p1", "p2"]
    assert [(r["position"], r["code"]) for r in site.query("select position, code from sync.rejected_records")] == [
        ("2.json:2", "key_missing")
    ]
    assert "2.csv.gz: " in (site.ledger()[4].error or "")


def test_an_order_with_a_damaged_line_in_another_part_is_refused_whole(site: Site) -> None:
    site.sources(PARTS)
    site.put("2024-01-01/1.csv", csv("A,p1,s,1,1"))
    site.put("2024-01-01/2.csv", csv("A,p2,s,1,1,1", "B,p1,s,1,1"))
    site.sync()
    found = site.query("select position, external_id, code from sync.rejected_records order by id")
    assert [tuple(row.values()) for row in found] == [
        ("1.csv:2", "A", "order_incomplete"),
        ("2.csv:2", "A", "too_many_cells"),
    ]


def test_they_are_previewed_and_replayed_from_the_archive(site: Site) -> None:
    site.sources({"parts": "folder"})
    put_parts(site)
    workspace = site.workspace()
    with preview(workspace, discover(workspace).pending) as previewed:
        (entry,) = previewed.entries
        assert (entry.path, entry.read, entry.rejected) == (f"{ROOT}2024-01-01/", 2, 2)
    site.sync()
    for part in (site.landing / ROOT / "2024-01-01").iterdir():
        part.unlink()
    site.sources(PARTS)
    (replayed,) = replay_rejects(site.workspace(), RejectFilter())
    assert replayed.error is None
    assert products(site, "A") == ["p1", "p2", "p3", "p4"]


def test_a_part_that_cannot_be_read_fails_the_export(site: Site) -> None:
    site.sources(PARTS)
    site.put("2024-01-01/1.csv", csv("A,p1,s,1,1"))
    (site.landing / ROOT / "2024-01-01/2.csv").symlink_to("1.csv")
    assert told(site.sync()) == [("2024-01-01/", 1, "link_refused", 0)]


def test_a_landing_lists_them_as_one(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "sub/c.csv"):
        path = tmp_path / "p/t/s/2024-01-01" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    landing = Landing(str(tmp_path), parts_of=lambda *_: PartsRule())
    found = {file.path: (file.size, file.parts and file.parts.number) for file in landing.list("p", "s")}
    assert found == {"p/t/s/2024-01-01/": (10, 2), "p/t/s/2024-01-01/sub/": (9, 1)}
    first, again = (landing.open("p/t/s/2024-01-01/").read() for _ in range(2))
    assert first == again and first.index(b"a.csv") < first.index(b"b.csv") and b"c.csv" not in first


# -- without the setting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
def test_an_order_in_two_files_of_one_time_is_counted_and_said(site: Site, turned: bool) -> None:
    site.sources(USD)
    files = {
        "2024-01-01/part-0.csv": csv("A,p1,s,1,1", "A,p2,s,1,1", "C,p1,s,1,1"),
        "2024-01-01/part-1.csv": csv("A,p3,s,1,1", "B,p1,s,1,1", "C,p1,s,9,9", "C,p2,s,1,1"),
    }
    entries = [site.load(name, files[name]) for name in sorted(files, reverse=turned)]
    assert [entry.leniencies.get("split_across_files") for entry in entries] == [None, 1]
    day = loaded(ORDERS, site.ledger(), [], 0.0)
    assert "Orders with lines in another export of the same time: 1" in day["summary"].value


def test_what_is_no_split_is_not_counted(site: Site) -> None:
    site.sources(USD)
    site.load("2024-01-01.csv", csv("A,p1,s,1,1"))
    site.load("2024-01-02.csv", csv("A,p2,s,1,1"))
    site.load("2024-01-02.csv", csv("A,p3,s,1,1"))
    site.load("2024-01-02_b.json", [{"OrderId": "A", "Currency": "USD", "OrderItems": []}])
    site.load("2024-01-02_c.csv", "OrderId,Email\nA,a@x.cl\n")
    assert not any("split_across_files" in entry.leniencies for entry in site.ledger())


def test_check_counts_them_as_exports(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.sources(PARTS)
    put_parts(site)
    monkeypatch.setenv("SYNC_HOME", str(site.settings.home))
    monkeypatch.setenv("SYNC_LANDING", str(site.landing))
    monkeypatch.setenv("SYNC_DATABASE_URL", site.database.url)
    monkeypatch.setenv("SYNC_SOURCES", str(site.settings.sources))
    check.run()
    out = capsys.readouterr()
    assert f"replenit/{TENANT}/orders: 1 export\n" in out.out + out.err
    assert "no date" not in out.out + out.err
