"""Law 1 on `replenit/orders`: any order, any batches, any repetition, the same tables (X4, X5, X6, O3).

Histories are generated; the oracle is a plain fold of records in version order, written from the rules alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT, Site, lines

KEYS = ("A", "B", "C")
DAYS = [datetime(2024, 3, day, tzinfo=UTC) for day in (1, 2, 3)]
COLUMNS = {
    "Email": "email",
    "CustomerId": "customer_external_id",
    "TotalQuantity": "total_quantity",
    "TotalRevenue": "total_revenue",
    "OrderDate": "ordered_at",
    "Currency": "currency",
    "UniqueQuantity": "unique_quantity",
    "IsOrderCancelled": "is_cancelled",
}
DEFAULTS = {"TotalQuantity": 1, "TotalRevenue": Decimal(1), "UniqueQuantity": 1, "IsOrderCancelled": False}


@dataclass(frozen=True)
class Export:
    """A file of a history: its name tells its date; a log's lines carry their own times."""

    name: str
    day: datetime
    entries: tuple[dict[str, Any], ...]

    @property
    def content(self) -> str:
        return lines(*self.entries)

    @property
    def place(self) -> tuple[str | int, ...]:
        """Where it stands among exports of its time: its name, whose numbers compare as numbers."""
        return tuple(int(part) if part.isdigit() else part for part in re.split("([0-9]+)", self.name))


# -- the oracle ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """One record and its version."""

    version: tuple[datetime, tuple[str | int, ...], int]
    key: str
    record: dict[str, Any] | None


def said_in(export: Export) -> Iterator[Said]:
    for position, entry in enumerate(export.entries):
        if "method" not in entry:
            yield Said((export.day, export.place, position), entry["OrderId"], entry)
            continue
        version = (datetime.fromisoformat(entry["at"]), export.place, position)
        if entry["method"] == "DELETE":
            yield Said(version, entry["path"].rsplit("/", 1)[1], None)
        for record in entry.get("body", ()):
            yield Said(version, record["OrderId"], record)


def is_good(said: Said) -> bool:
    return said.record is None or said.record.get("Currency") == "USD"


def oracle(exports: Sequence[Export]) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Orders by key, and the customers they ever named."""
    orders: dict[str, dict[str, Any]] = {}
    customers: set[str] = set()
    for said in sorted((s for export in exports for s in said_in(export) if is_good(s)), key=lambda s: s.version):
        before = orders.get(said.key)
        if said.record is None:
            # The first delete since the order last lived (F13).
            is_dead = before is not None and before["deleted_at"] is not None
            orders[said.key] = {"deleted_at": before["deleted_at"] if before and is_dead else said.version[0]}
        else:
            orders[said.key] = written(before, said.record, said.version[0])
            if said.record.get("Email"):
                customers.add(said.record["Email"].strip().casefold())
    return orders, customers


def written(before: dict[str, Any] | None, record: dict[str, Any], at: datetime) -> dict[str, Any]:
    if before is None or before["deleted_at"] is not None:
        before = {column: None for column in COLUMNS.values()} | {"deleted_at": None, "items": [], "extra": {}}
        before |= {"customer": None, "ordered_at": at}
        before |= {COLUMNS[name]: value for name, value in DEFAULTS.items()}
        before["defaulted"] = ["TotalQuantity", "TotalRevenue", "OrderDate", "UniqueQuantity", "IsOrderCancelled"]
        before["defaulted"].append("OrderItems")
    after = dict(before)
    for name, value in record.items():
        if name in COLUMNS:
            after[COLUMNS[name]] = in_column(name, value)
    if "Email" in record:
        after["customer"] = record["Email"].strip().casefold() if record["Email"] else None
    if "OrderItems" in record:
        after["items"] = [(i["ProductId"], i["Quantity"], Decimal(str(i["Price"]))) for i in record["OrderItems"] or ()]
    after["extra"] = before["extra"] | {name: record[name] for name in record if name.startswith("Unknown")}
    after["defaulted"] = [name for name in before["defaulted"] if name not in record]
    return after


def in_column(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "TotalRevenue":
        return Decimal(str(value))
    return datetime.fromisoformat(value) if name == "OrderDate" else value


# -- histories -------------------------------------------------------------------------------------------------


def maybe(field: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The field absent, null or with a value (X1)."""
    return st.one_of(st.just({}), st.just({field: None}), values.map(lambda value: {field: value}))


item = st.builds(
    lambda product, quantity, price: {"ProductId": product, "Sku": product, "Quantity": quantity, "Price": price},
    st.sampled_from(["P1", "P2"]),
    st.integers(1, 2),
    st.sampled_from([1, 2.5]),
)
record = st.builds(
    lambda key, currency, *fields: (
        {"OrderId": key, "Currency": currency} | {n: v for f in fields for n, v in f.items()}
    ),
    st.sampled_from(KEYS),
    st.sampled_from(["USD"] * 9 + ["ZZZ"]),
    maybe("Email", st.sampled_from(["ana@x.cl", " Ana@X.cl ", "leo@x.cl"])),
    maybe("CustomerId", st.sampled_from(["1", "2"])),
    maybe("TotalQuantity", st.integers(1, 3)),
    maybe("TotalRevenue", st.sampled_from([1, 9.75])),
    maybe("OrderDate", st.sampled_from(["2024-02-01T00:00:00+00:00", "2024-02-02T10:00:00+00:00"])),
    maybe("UniqueQuantity", st.integers(1, 2)),
    maybe("IsOrderCancelled", st.booleans()),
    maybe("OrderItems", st.lists(item, max_size=2)),
    maybe("UnknownA", st.integers(1, 2)),
    maybe("UnknownB", st.just({"deep": [True, "é"]})),
)


@st.composite
def log_line(draw: st.DrawFn) -> dict[str, Any]:
    at = draw(st.sampled_from(DAYS)) + timedelta(hours=draw(st.integers(0, 2)))
    if draw(st.booleans()):
        path = f"/orders/{TENANT}/{draw(st.sampled_from(KEYS))}"
        return {"at": at.isoformat(), "method": "DELETE", "path": path}
    body = draw(st.lists(record, max_size=2))
    return {"at": at.isoformat(), "method": "POST", "path": f"/orders/{TENANT}", "body": body}


@st.composite
def history(draw: st.DrawFn) -> list[Export]:
    exports = []
    for number in range(draw(st.integers(2, 5))):
        day = draw(st.sampled_from(DAYS))
        entries = draw(st.lists(st.one_of(record, record, log_line()), min_size=1, max_size=3))
        exports.append(Export(f"{day.date()}_{draw(st.sampled_from('xyz'))}{number + 8}.ndjson", day, tuple(entries)))
    return exports


@st.composite
def loading_plan(draw: st.DrawFn, exports: int) -> list[list[int]]:
    """Batches of exports in any order, some of them given again."""
    order = draw(st.permutations(range(exports)))
    order += draw(st.lists(st.sampled_from(range(exports)), max_size=2))
    joined = draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    plan: list[list[int]] = []
    for index, joins in zip(order, joined, strict=True):
        if plan and joins:
            plan[-1].append(index)
        else:
            plan.append([index])
    return plan


def load(site: Site, exports: Sequence[Export], plan: Sequence[Sequence[int]]) -> None:
    for batch in plan:
        for index in batch:
            site.put(exports[index].name, exports[index].content)
        for entry in site.sync():
            assert entry.status == "loaded", entry.error
            assert entry.read == sum(count for name, count in entry.counts.items() if name != "read")


def comparable(site: Site) -> Any:
    rejects = [(r["path"], r["position"], r["code"], r["status"]) for r in site.rejects()]
    return site.tables(), rejects


def as_oracle_says(tables: Any) -> tuple[dict[str, dict[str, Any]], set[str]]:
    orders = {}
    for (_, _, key), row in tables["orders"].items():
        if row["deleted_at"] is not None:
            assert row["order_items"] == [] and row["currency"] is None, "a tombstone keeps only its key"
            orders[key] = {"deleted_at": row["deleted_at"]}
            continue
        order = {column: row[column] for column in COLUMNS.values()}
        order |= {"deleted_at": None, "defaulted": row["defaulted_fields"], "extra": row["extra"] or {}}
        order["items"] = [(i["product_id"], i["quantity"], i["price"]) for i in row["order_items"]]
        order["customer"] = row["customer_id"][2] if row["customer_id"] else None
        orders[key] = order
    customers = {key for (_, _, key), row in tables["customers"].items() if row["is_placeholder"]}
    return orders, customers


@examples(40)
@given(data=st.data())
def test_law_1_any_order_any_number_of_times(fresh_site: Any, data: st.DataObject) -> None:
    exports = data.draw(history())
    plan = data.draw(loading_plan(len(exports)))
    in_version_order = sorted(range(len(exports)), key=lambda i: (exports[i].day, exports[i].place))
    clean = fresh_site()
    load(clean, exports, [[index] for index in in_version_order])
    expected = comparable(clean)
    shuffled = fresh_site()
    load(shuffled, exports, plan)
    assert comparable(shuffled) == expected
    assert as_oracle_says(expected[0]) == oracle(exports)


def test_the_oracle_is_not_vacuous() -> None:
    day = DAYS[0]
    one = Export("2024-03-01_a.ndjson", day, ({"OrderId": "A", "Currency": "USD", "TotalQuantity": 5},))
    two = Export("2024-03-01_b.ndjson", day, ({"OrderId": "A", "Currency": "USD", "Email": "a@x.cl"},))
    orders, customers = oracle([two, one])
    assert orders["A"]["total_quantity"] == 5 and orders["A"]["email"] == "a@x.cl" and customers == {"a@x.cl"}
    assert json.loads(one.content)["OrderId"] == "A"
