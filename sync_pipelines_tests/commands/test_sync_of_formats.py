"""Exports of every format loaded by the command itself, in the processes that a user's command starts."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

from sync_pipelines_tests.exports.workbook_files import Styled, ods, ods_number, strict, xlsb
from sync_pipelines_tests.loading import CASES, TENANT, Site

HEADER = ["OrderId", "ProductId", "Sku", "Quantity", "Price"]
NS = 1_700_000_000_123_456_789


def parquet(**columns: Any) -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data)
    return data.getvalue()


def workbook(*rows: list[Any]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.worksheets[0].append(row)
    book.create_sheet("hidden").sheet_state = "hidden"
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def orders_of(name: str) -> list[list[Any]]:
    return [HEADER, [name, "P", "S", 1, 2.5]]


EXPORTS = {
    "01.parquet": parquet(
        OrderId=["parquet", "far"],
        OrderDate=pa.array([NS, 10], pa.timestamp("ns")),
        seen=pa.array([[NS], [1]], pa.large_list(pa.timestamp("ns"))),
        eta=pa.array([{"at": 0}, {"at": 2**60}], pa.struct([("at", pa.timestamp("us"))])),
    ),
    "02.xlsx": workbook(*orders_of("xlsx")),
    "03.xlsm": strict(workbook(*orders_of("strict"))),
    "04.xlsb": xlsb([HEADER, [Styled(7, 1), "P", "S", 1, 2.5]], ["00000"]),
    "05.ods": ods({"a": [HEADER, ["ods", "P", "S", ods_number("float", 1, "1"), ods_number("float", 2.5, "2.5")]]}),
    "06.xls": (CASES / "workbooks" / "old.xls").read_bytes(),
    "07.xlsx": b"<html><table/></html>",
    "08.ndjson": b'{"OrderId": "one", "Currency": "USD"}{"OrderId": "two", "Currency": "USD"}',
    "09.json": b'[{"OrderId": "x", "Currency": "USD", "TotalRevenue": 12,50}, {"OrderId": "three", "Currency": "USD"}]',
    "~$02.xlsx": b"lock",
}  # fmt: skip


def test_the_command_loads_every_format(site: Site) -> None:
    site.sources({"constants": {"Currency": "USD"}})
    for name, content in EXPORTS.items():
        site.put(f"2024-01-{name}" if name[0] != "~" else name, content)
    environment = {
        "PATH": os.environ["PATH"],
        "SYNC_HOME": str(site.folder / "home"),
        "SYNC_DATABASE_URL": site.database.url,
        "SYNC_LANDING": str(site.landing),
        "SYNC_SOURCES": str(site.folder / "sources.yaml"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "sync_pipelines", "sync", "--json"], env=environment, capture_output=True, text=True
    )
    files = {file["path"].rsplit("2024-01-", 1)[-1]: file for file in json.loads(done.stdout)["files"]}
    assert {name: (file["status"], file["created"], file["rejected"]) for name, file in files.items()} == {
        "01.parquet": ("loaded", 1, 1),
        "02.xlsx": ("loaded", 1, 0),
        "03.xlsm": ("loaded", 1, 0),
        "04.xlsb": ("loaded", 1, 0),
        "05.ods": ("loaded", 1, 0),
        "06.xls": ("held", 0, 0),
        "07.xlsx": ("failed", 0, 0),
        "08.ndjson": ("loaded", 2, 0),
        "09.json": ("loaded", 1, 1),
    }, done.stderr
    assert files["06.xls"]["error"].startswith("held: 2 of 2 records would be rejected")
    assert files["07.xlsx"]["error"].startswith("bad_sheet: the file is HTML or XML, not a workbook")
    orders = {row["external_id"]: row for row in site.tables()["orders"].values()}
    assert orders.keys() == {"parquet", "xlsx", "strict", "00007", "ods", "one", "two", "three"}
    assert orders["parquet"]["ordered_at"].isoformat() == "2023-11-14T22:13:20.123456+00:00"
    assert all(row["path"].startswith(f"replenit/{TENANT}/orders/") for row in site.rejects())
