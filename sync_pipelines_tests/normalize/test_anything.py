"""Whatever stands in a record, it is loaded or rejected: never a fault of its file (law 4)."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.contracts.codes import LENIENCY_CODES, REJECT_CODES
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT, Site

NUMBERS = (
    "0",
    "-0",
    "1.5",
    "1e3",
    "1E400",
    "-1e-400",
    "1e99999999999999999999",
    "NaN",
    "-Infinity",
    "9" * 30,
    "7" * 4400,
)
NAMES = (
    *("OrderId", "order_id", "Email", "CustomerId", "TotalQuantity", "TotalRevenue", "OrderDate", "Currency"),
    *("UniqueQuantity", "IsOrderCancelled", "OrderItems", "ProductId", "Sku", "Quantity", "Price", "Size", "IsGift"),
    *("OriginalPrice", "at", "method", "path", "body", "x", "", "\0", "\ud800", "é"),
)
TEXTS = st.one_of(
    st.sampled_from(
        ("USD", "a@b.c", "2024-05-06", "1.5", "yes", " A ", "1/2 kg", "1e5", "POST", f"/orders/{TENANT}", "")
    ),
    st.text(st.characters(codec=None), max_size=6),
    st.text("9.,eE+-/ \0'\"\\{}\t\n", max_size=8),
)
LEAVES = st.one_of(
    st.none().map(json.dumps), st.booleans().map(json.dumps), TEXTS.map(json.dumps), st.sampled_from(NUMBERS)
)


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=6)
    return pairs.map(lambda found: "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in found) + "}")


VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(lambda v: f"[{','.join(v)}]"), objects(inner)),
    max_leaves=8,
)


@st.composite
def almost_orders(draw: st.DrawFn) -> str:
    """An order that is right but for some fields, as JSON text."""
    key, currency = f'"k{draw(st.integers(0, 3))}"', '"USD"'
    fields = {"OrderId": key, "Currency": currency}
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=3)):
        fields[name] = draw(VALUES)
    goods = {"ProductId": '"p"', "Sku": '"s"', "Quantity": "1", "Price": "2"}
    if draw(st.booleans()):
        goods[draw(st.sampled_from(NAMES))] = draw(VALUES)
        fields["OrderItems"] = "[{" + ",".join(f"{json.dumps(n)}:{v}" for n, v in goods.items()) + "}]"
    return "{" + ",".join(f"{json.dumps(n)}:{v}" for n, v in fields.items()) + "}"


@st.composite
def almost_calls(draw: st.DrawFn) -> str:
    """A log line that is right but for some parts, as JSON text."""
    parts = {"at": '"2024-05-03T10:00:00Z"', "method": '"POST"', "path": f'"/orders/{TENANT}"'}
    if draw(st.booleans()):
        key = draw(st.sampled_from(("k0", "", "%00", "%ff", "%F0%9F%98%80", "a%2Fb", "%ED%A0%80")))
        parts |= {"method": '"DELETE"', "path": json.dumps(f"/orders/{TENANT}/{key}")}
    else:
        parts["body"] = draw(VALUES | st.lists(almost_orders(), max_size=3).map(lambda v: f"[{','.join(v)}]"))
    if draw(st.booleans()):
        parts[draw(st.sampled_from(sorted(parts)))] = draw(VALUES)
    return "{" + ",".join(f"{json.dumps(n)}:{v}" for n, v in parts.items()) + "}"


def assert_accounted(site: Site) -> None:
    for entry in site.sync():
        assert entry.status == "loaded", entry.error
        assert entry.leniencies.keys() <= LENIENCY_CODES.keys()
    assert {reject["code"] for reject in site.rejects()} <= REJECT_CODES.keys() | LENIENCY_CODES.keys()


QUICK = examples(25)


@QUICK
@given(
    first=st.lists(almost_orders() | almost_calls() | VALUES, min_size=1, max_size=25),
    second=st.lists(almost_orders(), max_size=10),
    strict=st.sampled_from((False, False, True)),
)
def test_any_json_is_loaded_or_rejected(fresh_site: Any, first: list[str], second: list[str], strict: bool) -> None:
    site = fresh_site()
    site.sources({"strict": strict})
    site.put("2024-05-02.ndjson", '{"OrderId":"k0","Currency":"USD"}\n' + "\n".join(first))
    site.put("2024-05-01.json", f"[{','.join(second)}]")
    assert_accounted(site)
    site.put("2024-05-01_late.json", f"[{','.join(second)}]")
    assert_accounted(site)


@QUICK
@given(
    header=st.lists(st.sampled_from([n for n in NAMES if n.strip("\0\ud800")]), min_size=1, max_size=8, unique=True),
    rows=st.lists(st.lists(TEXTS | st.sampled_from(NUMBERS), max_size=8), max_size=25),
    empty_is=st.sampled_from(("absent", "null")),
)
def test_any_csv_is_loaded_or_rejected(
    fresh_site: Any, header: list[str], rows: list[list[str]], empty_is: str
) -> None:
    site = fresh_site()
    site.sources({"empty_is": empty_is})
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL)
    writer.writerow(["OrderId", "Currency", *(name for name in header if name not in ("OrderId", "Currency"))])
    writer.writerows(["k", "USD", *(cell.replace("\0", "") for cell in row)] for row in rows)
    site.put("2024-05-01.csv", written.getvalue().encode("utf-8", "replace"))
    assert_accounted(site)


COLUMNS: list[pa.Array] = [
    pa.array([True, False, None]),
    pa.array([1, None, 2**63 - 1]),
    pa.array([2**64 - 1, 0, None], pa.uint64()),
    pa.array([1.5, float("nan"), float("-inf")]),
    pa.array([1e300, 5e-324, -0.0]),
    pa.array([0.1, 3e38, None], pa.float32()),
    pa.array(["a", "", None]),
    pa.array([b"a", b"\xff\x00", None]),
    pa.array([Decimal("1.50"), Decimal("-0.01"), None], pa.decimal128(38, 20)),
    pa.array([Decimal("9" * 70), None, Decimal(0)], pa.decimal256(76, 0)),
    pa.array([date(2024, 5, 6), date(1, 1, 1), None]),
    pa.array([0, 2**62, -(2**62)], pa.timestamp("ms")),
    pa.array([0, 1, None], pa.timestamp("ns", "America/Mexico_City")),
    pa.array([1, 2, None], pa.time64("ns")),
    pa.array([1, 2, None], pa.duration("ns")),
    pa.array(["x", "y", None]).dictionary_encode(),
    pa.array([[1, None], [], None]),
    pa.array([{"ProductId": "p", "x": float("nan")}, None, {}]),
    pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    pa.nulls(3),
]


@pytest.mark.parametrize(
    "name", ["OrderId", "Currency", "TotalRevenue", "OrderDate", "IsOrderCancelled", "Quantity", "x"]
)
def test_any_parquet_column_is_loaded_or_rejected(site: Site, name: str, tmp_path: Path) -> None:
    good = {"OrderId": ["a", "b", "c"], "Currency": ["USD"] * 3}
    for number, column in enumerate(COLUMNS, start=1):
        pq.write_table(pa.table({**good, name: column}), tmp_path / "x.parquet")
        site.put(f"2024-05-{number:02}.parquet", (tmp_path / "x.parquet").read_bytes())
    assert_accounted(site)
    assert all(entry.read >= 2 for entry in site.ledger())
