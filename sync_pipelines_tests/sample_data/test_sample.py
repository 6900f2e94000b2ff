"""The sample: the same files each time, in the landing's layout, readable with plain libraries, with life in them."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import openpyxl
import pyarrow.parquet
import pytest
from backports import zstd

from sync_pipelines.errors import ConfigurationError, SyncError
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.sample_data import LAST_DAY, SampleSummary, write_sample
from sync_pipelines.sample_data.bulk import write_bench_orders

Record = dict[str, Any]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_sample(tmp_path_factory.mktemp("sample"))


def fingerprints(folder: Path) -> dict[str, tuple[str, float]]:
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime)
        for path in folder.rglob("*")
        if path.is_file()
    }


# Reading back, with nothing of the project's own


def unpacked(path: Path) -> tuple[bytes, str]:
    data, form = path.read_bytes(), path.name.split(".")[1]
    unpack: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.decompress, ".bz2": bz2.decompress, ".zst": zstd.decompress, ".zip": only_member,
    }  # fmt: skip
    return unpack.get(path.suffix, bytes)(data), form


def only_member(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name,) = archive.namelist()
        return archive.read(name)


def read_back(path: Path) -> list[Record]:
    data, form = unpacked(path)
    match form:
        case "ndjson" | "jsonl":
            return list(whole_lines(data.decode()))
        case "json":
            loaded: list[Record] = json.loads(data)
            return loaded
        case "csv":
            text = data.decode("utf-8-sig")
            dialect = csv.Sniffer().sniff(text.splitlines()[0], ",;|\t")
            return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=dialect.delimiter))
        case "parquet":
            rows: list[Record] = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
            return rows
        case "xlsx":
            sheet = openpyxl.load_workbook(io.BytesIO(data), read_only=True).worksheets[0]
            header, *cells = sheet.values
            return [{str(name): cell for name, cell in zip_longest(header, row)} for row in cells]
    raise AssertionError(f"a format nobody reads: {path}")


def whole_lines(text: str) -> Iterator[Record]:
    *lines, last = text.split("\n")
    assert not last or last.startswith('{"OrderId"'), "only a torn line stands without its end"
    yield from (json.loads(line) for line in lines)


def read_kind(sample: SampleSummary, *kinds: str, partner: str = "replenit") -> dict[str, list[Record]]:
    return {
        file.path: read_back(sample.dest / file.path)
        for file in sample.files
        if file.kind in kinds and file.path.startswith(f"{partner}/")
    }


# The same files each time


def test_same_seed_same_bytes_and_times(tmp_path: Path, sample: SampleSummary) -> None:
    again = write_sample(tmp_path)
    assert fingerprints(tmp_path) == fingerprints(sample.dest)
    assert again.files == sample.files


def test_writing_twice_into_one_folder_changes_nothing(tmp_path: Path) -> None:
    write_sample(tmp_path, days=3, orders=60)
    before = fingerprints(tmp_path)
    write_sample(tmp_path, days=3, orders=60)
    assert fingerprints(tmp_path) == before


def test_another_seed_another_sample(tmp_path: Path) -> None:
    write_sample(tmp_path / "a", days=2, orders=20, seed=1)
    write_sample(tmp_path / "b", days=2, orders=20, seed=2)
    hashes = [{content for content, _ in fingerprints(tmp_path / name).values()} for name in "ab"]
    assert not hashes[0] & hashes[1]


# Options


@pytest.mark.parametrize(("days", "orders"), [(1, 0), (1, 1), (1, 3), (2, 40), (8, 5), (40, 300)])
def test_small_samples_are_whole(tmp_path: Path, days: int, orders: int) -> None:
    summary = write_sample(tmp_path, days=days, orders=orders)
    assert {file.path for file in summary.files} == set(fingerprints(tmp_path))
    assert all(read_back(tmp_path / file.path) for file in summary.files)


def test_as_many_orders_as_asked_for(tmp_path: Path) -> None:
    summary = write_sample(tmp_path, days=20, orders=700)
    told = [record for records in read_kind(summary, "daily", "late").values() for record in records]
    bodies = [body for calls in read_kind(summary, "log").values() for call in calls for body in call.get("body", [])]
    keys = {str(record.get("OrderId") or record.get("order_id")) for record in told + bodies}
    # A spoilt key is one more, and an order that never came back corrected is one less.
    assert len({key for key in keys if len(key) < 100}) == pytest.approx(700, abs=8)


def test_another_last_day_changes_no_number(tmp_path: Path, sample: SampleSummary) -> None:
    later = write_sample(tmp_path, last_day=date(2028, 2, 29))
    assert (len(later.files), later.records, later.kinds) == (len(sample.files), sample.records, sample.kinds)


def test_the_last_day_can_be_chosen(tmp_path: Path) -> None:
    summary = write_sample(tmp_path, days=3, orders=30, last_day=date(2024, 3, 1))
    assert (summary.first_day, summary.last_day) == (date(2024, 2, 28), date(2024, 3, 1))
    assert {file.path.split("_")[1][:10] for file in summary.files} <= {"2024-02-28", "2024-02-29", "2024-03-01"}


@pytest.mark.parametrize(("days", "orders"), [(0, 10), (-1, 10), (6026, 10), (10_000, 10), (3, -1)])
def test_impossible_options_are_refused(tmp_path: Path, days: int, orders: int) -> None:
    with pytest.raises(ConfigurationError, match="sample_option"):
        write_sample(tmp_path, days=days, orders=orders)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="sample_unwritable"):
        write_sample(tmp_path / "file", days=1, orders=5)


# Layout


def test_every_file_lies_where_the_landing_wants_it(sample: SampleSummary) -> None:
    for file in sample.files:
        partner, _tenant, stream, year, month, name = file.path.split("/")
        assert find_stream(partner, stream) is not None
        told = date.fromisoformat(name.split("_")[1][:10])
        assert (year, month) == (f"{told:%Y}", f"{told:%m}")
        assert date(2010, 1, 1) <= told <= LAST_DAY
    folders = {"/".join(file.path.split("/")[:3]) for file in sample.files}
    assert len(folders) == len(STREAMS) + 1, "two shops send orders"


def test_no_half_written_file_remains(sample: SampleSummary) -> None:
    assert set(fingerprints(sample.dest)) == {file.path for file in sample.files}


def test_files_arrive_on_their_day_or_later_and_never_in_the_future(sample: SampleSummary) -> None:
    last = datetime.fromisoformat(f"{sample.last_day}T23:59:59Z")
    for file in sample.files:
        day = datetime.fromisoformat(file.path.split("_")[1][:10] + "T23:00:00Z")
        arrived = datetime.fromtimestamp((sample.dest / file.path).stat().st_mtime, UTC)
        assert day < arrived < last


def test_every_format_and_compression_occurs(sample: SampleSummary) -> None:
    suffixes = {"." + file.path.rpartition("/")[2].partition(".")[2] for file in sample.files}
    assert {".ndjson", ".json", ".csv", ".parquet", ".xlsx", ".json.zip", ".csv.gz", ".ndjson.zst"} <= suffixes
    assert sum("bz2" in suffix for suffix in suffixes) >= 2


# Formats readable


def test_every_file_is_read_by_plain_libraries(sample: SampleSummary) -> None:
    for file in sample.files:
        records = read_back(sample.dest / file.path)
        assert records, file.path
        is_of_orders = file.path.startswith("replenit/") and file.kind != "log"
        assert not is_of_orders or all("OrderId" in record or "order_id" in record for record in records), file.path


def test_flat_files_carry_the_names_of_the_partners_page(sample: SampleSummary) -> None:
    flat = [rows[0] for path, rows in read_kind(sample, "daily").items() if ".csv" in path or ".xlsx" in path]
    assert flat
    for row in flat:
        assert {"OrderId", "Currency", "ProductId", "Sku", "Quantity", "Price", "IsOrderCancelled"} <= set(row)


def test_a_flat_file_tells_an_order_once(sample: SampleSummary) -> None:
    """Lines of one order fold into one (O12), so telling it twice would double its items."""
    for path, rows in read_kind(sample, "daily", "late").items():
        keys = [row["OrderId"] for row in rows if row.get("ProductId")]
        blocks = [key for index, key in enumerate(keys) if index == 0 or keys[index - 1] != key]
        assert len(blocks) == len(set(blocks)), path


def test_totals_agree_with_the_lines(sample: SampleSummary) -> None:
    documents = [records for path, records in read_kind(sample, "daily").items() if ".json" in path or ".ndj" in path]
    orders = [record for records in documents for record in records if record.get("OrderItems")]
    wrong = 0
    for order in orders:
        try:
            lines = sum(Decimal(str(item["Price"])) * item["Quantity"] for item in order["OrderItems"])
            wrong += lines != Decimal(str(order["TotalRevenue"]))
        except (KeyError, TypeError, ArithmeticError):
            wrong += 1
    assert len(orders) > 2000
    assert wrong < 0.01 * len(orders)


# Life: what the laws speak of


def test_about_one_order_in_a_hundred_is_dirty(sample: SampleSummary) -> None:
    known = {"CLP", "BRL", "MXN", "ARS", "COP", "PEN", "USD"}
    records = [record for records in read_kind(sample, "daily").values() for record in records]
    strange = [
        record for record in records if record.get("Currency") not in known or len(str(record.get("OrderId"))) > 100
    ]
    assert 0.001 < len(strange) / len(records) < 0.02
    assert {"PESOS", "XQZ"} <= {record.get("Currency") for record in strange}
    assert any(str(record.get("Currency")).islower() for record in strange)


def test_resent_files_are_the_same_under_another_name(sample: SampleSummary) -> None:
    contents = {file.path: (sample.dest / file.path).read_bytes() for file in sample.files}
    for file in sample.files:
        if file.kind == "resent":
            assert contents[file.path] == contents[file.path.replace("_resent", "")]
    assert sample.kinds["resent"] >= 4


def test_late_files_hold_new_orders_and_orders_told_since(sample: SampleSummary) -> None:
    daily = read_kind(sample, "daily")
    for path, records in read_kind(sample, "late").items():
        keys = {record["OrderId"] for record in records}
        day, tenant = path.split("_")[1], path.split("/")[1]
        newer, older = (
            {
                row.get("OrderId") for other, rows in daily.items() for row in rows
                if tenant in other and (other.split("_")[1][:10] > day) is is_newer
            }
            for is_newer in (True, False)
        )  # fmt: skip
        assert keys & newer, "a newer file has already told of some"
        assert keys - newer - older, "no other file tells of some"
    assert sample.kinds["late"] >= 4


def test_logs_hold_deletes_of_known_unknown_and_deleted_orders(sample: SampleSummary) -> None:
    told = {str(row.get("OrderId")) for rows in read_kind(sample, "daily").values() for row in rows}
    calls = [call for calls in read_kind(sample, "log").values() for call in calls]
    deleted = [unquote(call["path"].split("/")[3]) for call in calls if call["method"] == "DELETE"]
    assert set(deleted) & told
    assert any(key and key not in told for key in deleted)
    assert len(deleted) > len(set(deleted))
    assert "" in deleted


def test_logs_hold_calls_overtaken_by_newer_files(sample: SampleSummary) -> None:
    latest = {
        str(row.get("OrderId")): path.split("_")[1][:10]
        for path, rows in sorted(read_kind(sample, "daily").items(), key=lambda pair: pair[0].split("_")[1])
        for row in rows
    }
    calls = [call for calls in read_kind(sample, "log").values() for call in calls if call.get("body")]
    overtaken = [
        body["OrderId"] for call in calls if "at" in call for body in call["body"]
        if call["at"] < latest.get(str(body.get("OrderId")), "")
    ]  # fmt: skip
    assert len(overtaken) > 10


def test_changes_come_as_whole_orders_and_as_patches(sample: SampleSummary) -> None:
    patches = [row for rows in read_kind(sample, "status").values() for row in rows]
    assert all(set(row) == {"OrderId", "Currency", "IsOrderCancelled"} for row in patches)
    documents = [row for path, rows in read_kind(sample, "daily").items() if "json" in path for row in rows]
    assert any("OrderItems" not in row for row in documents)
    assert any(row.get("IsOrderCancelled") is True for row in documents)


# Large files for measuring


def test_bench_orders_are_told_in_full(tmp_path: Path) -> None:
    totals = write_bench_orders(tmp_path / "orders.ndjson", 500)
    orders = [json.loads(line) for line in (tmp_path / "orders.ndjson").read_text().splitlines()]
    assert len({order["OrderId"] for order in orders}) == len(orders) == totals.orders == 500
    assert {len(order["OrderItems"]) for order in orders} == {3}
    assert all(item is not None for order in orders for item in [*order.values(), *order["OrderItems"][0].values()])
    assert len({order["Email"] for order in orders}) == totals.customers
    lines = [item for order in orders for item in order["OrderItems"]]
    assert len(lines) == totals.items == 1500
    assert sum(Decimal(str(item["Price"])) * item["Quantity"] for item in lines) == totals.value
    assert sum(order["IsOrderCancelled"] for order in orders) == totals.cancelled


def test_bench_orders_with_changes_keep_the_rest_as_it_is(tmp_path: Path) -> None:
    write_bench_orders(tmp_path / "first", 300)
    one = write_bench_orders(tmp_path / "resent", 300, changed=1 / 300)
    some = write_bench_orders(tmp_path / "changed", 300, changed=0.1, new=0.05)
    first, resent, changed = (
        (tmp_path / name).read_text().splitlines() for name in ("first", "resent", "changed")
    )  # fmt: skip
    assert (one.changed, one.new) == (1, 0) and sum(a != b for a, b in zip(first, resent, strict=True)) == 1
    assert (some.changed, some.new, len(changed)) == (30, 15, 315)
    assert sum(a != b for a, b in zip(first, changed, strict=False)) == 30


def test_flattened_bench_orders_say_the_same(tmp_path: Path) -> None:
    totals = write_bench_orders(tmp_path / "orders.ndjson", 200, changed=0.1, new=0.05, flat=tmp_path / "rows")
    orders, rows = (
        list(csv.reader((tmp_path / f"rows.{table}.csv").read_text().splitlines())) for table in ("orders", "items")
    )
    assert (len(orders), len(rows)) == (totals.orders, totals.items)
    assert sum(int(row[5]) * Decimal(row[6]) for row in rows) == totals.value
    assert sum(Decimal(order[5]) for order in orders) == totals.value


@pytest.mark.parametrize("place", ["replenit", "nilo"])
def test_a_link_planted_in_the_landing_leads_no_sample_out(tmp_path: Path, place: str) -> None:
    landing, elsewhere = tmp_path / "landing", tmp_path / "elsewhere"
    for folder in (landing, elsewhere):
        folder.mkdir()
    (landing / place).symlink_to(elsewhere)
    with pytest.raises(SyncError, match=rf"{place} is a symbolic link"):
        write_sample(landing, days=1, orders=1)
    assert not list(elsewhere.iterdir())


def test_a_link_planted_under_a_samples_name_is_replaced(tmp_path: Path) -> None:
    landing, secret = tmp_path / "landing", tmp_path / "secret"
    (path, *_) = (landing / file.path for file in write_sample(landing, days=1, orders=1).files)
    secret.write_bytes(b"mine")
    path.unlink()
    path.symlink_to(secret)
    path.with_name(f"{path.name}.part").symlink_to(secret)
    write_sample(landing, days=1, orders=1)
    assert secret.read_bytes() == b"mine"
    assert path.is_file() and not path.is_symlink()
