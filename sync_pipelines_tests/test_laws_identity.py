"""Law 1 on Nilo's stores and Pocketflows: any order, any batches, any repetition, the same tables (X4, X5, N7, N8, P2).

Histories are generated: creates, updates, calls, removals, users as sets; records with id, external id or both. What
is loaded in version order is compared with the same exports shuffled, in batches and repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import LAST_WRITE, Site, call, lines
from sync_pipelines_tests.test_laws import loading_plan

DAYS = [datetime(2024, 3, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
QUICK = examples(12)


@dataclass(frozen=True)
class Export:
    """A file of a history; its name tells its date, a log's lines carry their own times."""

    path: str
    day: datetime
    entries: tuple[dict[str, Any], ...]


# -- histories -------------------------------------------------------------------------------------------------


def maybe(field: str, *values: Any) -> st.SearchStrategy[dict[str, Any]]:
    """The field absent or with one of these values."""
    return st.one_of(st.just({}), st.sampled_from(values).map(lambda value: {field: value}))


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


code = st.sampled_from(["A", "B"])
address = st.sampled_from(
    [{"address": "Uno", "zipCode": "1"}, {"address": "Dos", "zipCode": "2", "latitude": 1, "longitude": "2°"}]
)
store_fields = st.builds(
    merged,
    maybe("ownerName", "Ana", "Leo", None),
    maybe("enabled", True, False, None),
    maybe("creditLimit", 1, 2.5, None),
    maybe("debtor", True, False, None),
    maybe("settings", {"a": 1}, {"a": 2, "b": {"x": 1}}, {"credit": 9, "isDebtor": True}, None),
    maybe("unknown", 1, 2),
    st.sampled_from([{}, {}, {"latitude": 5, "longitude": 6}, {"latitude": None, "longitude": None}]),
    st.one_of(st.just({}), st.lists(address, max_size=2).map(lambda found: {"addresses": found})),
)
whole = {"name": "K", "legalName": "L", "legalId": "1", "addresses": [{"address": "Tres", "zipCode": "3"}]}
whole_store = st.builds(lambda key, fields: {**whole, **fields, "internalCode": key}, code, store_fields)
part_store = st.builds(lambda key, fields: {**fields, "internalCode": key}, code, store_fields)
users = st.lists(st.sampled_from(["u1", "u2", "u3"]), max_size=2).map(lambda found: {"users": found})


@st.composite
def at(draw: st.DrawFn) -> str:
    return (draw(st.sampled_from(DAYS)) + timedelta(hours=draw(st.integers(0, 2)))).isoformat()


@st.composite
def store_call(draw: st.DrawFn) -> dict[str, Any]:
    key = draw(code)
    requests: list[tuple[str, str, Any]] = [
        ("POST", "/store", draw(whole_store)),
        ("PUT", f"/store/{key}", draw(store_fields)),
        ("PUT", f"/store/{key}/add/user", draw(users)),
        ("PUT", f"/store/{key}/remove/user", draw(users)),
        ("POST", f"/store/{key}/debtor", None),
        ("POST", f"/store/{key}/credit", {"amount": draw(st.integers(1, 3))}),
        ("POST", "/batch/store", {"update": [draw(part_store)], "remove": draw(st.lists(code, max_size=1))}),
        ("POST", "/batch/store", {"remove": [key]}),
    ]
    return call(draw(at()), *draw(st.sampled_from(requests)))


identity = st.builds(merged, maybe("id", "1", "2", "3"), maybe("external_id", "a", "b", "c"))
business = st.builds(merged, st.just({"name": "K"}), identity, maybe("name", "L", "M"), maybe("metadata", {"x": 1}))
customer = st.builds(
    merged,
    st.sampled_from([{"business_id": "7"}, {"business_id": "8"}, {"business_external_id": "e"}]),
    identity,
    maybe("full_name", "Ana", "Leo"),
    maybe("metadata", {"x": 1}),
    maybe("unknown", 1),
)


@st.composite
def customer_call(draw: st.DrawFn) -> dict[str, Any]:
    body = draw(st.builds(merged, maybe("external_id", "a", "b"), maybe("full_name", "Ana", "Bea")))
    return call(draw(at()), "POST", f"/customers/{draw(st.sampled_from('12'))}", body)


@st.composite
def history(draw: st.DrawFn, stream: str, entry: st.SearchStrategy[dict[str, Any]]) -> list[Export]:
    exports = []
    for number in range(draw(st.integers(2, 5))):
        day = draw(st.sampled_from(DAYS))
        name = f"{day.date()}_{draw(st.sampled_from('xyz'))}{number}.ndjson"
        entries = draw(st.lists(entry, min_size=1, max_size=3))
        exports.append(Export(f"{stream}/{name}", day, tuple(entries)))
    return exports


# -- loading and comparing -------------------------------------------------------------------------------------


def load(site: Site, exports: Sequence[Export], plan: Sequence[Sequence[int]]) -> None:
    for batch in plan:
        for index in batch:
            site.put_at(exports[index].path, lines(*exports[index].entries))
        for entry in site.sync():
            assert entry.status == "loaded", entry.error
            assert entry.read == sum(count for name, count in entry.counts.items() if name != "read")


def comparable(site: Site, *tables: str) -> Any:
    """Rows without surrogate ids and last write, children and business inside; and what is refused."""
    return {table: sorted(map(repr, rows(site, table))) for table in tables}, refused(site)


def rows(site: Site, table: str) -> Iterator[dict[str, Any]]:
    aside = {"id", *LAST_WRITE}
    businesses = {
        r["id"]: (r["partner_record_id"], r["external_id"]) for r in site.query("select * from sync.commerces")
    }
    for row in site.query(f"select * from sync.{table}"):
        found = {name: value for name, value in row.items() if name not in aside}
        if "commerce_id" in found:
            found["commerce_id"] = businesses[found["commerce_id"]]
        if table == "stores":
            for child in ("store_addresses", "store_users"):
                of_store = site.query(f"select * from sync.{child} where store_id = %s order by line_no", [row["id"]])
                found[child] = [{n: v for n, v in c.items() if n not in ("id", "store_id")} for c in of_store]
        yield found


def refused(site: Site) -> list[tuple[str, ...]]:
    """What is refused and how it stands, whatever else was before (F03)."""
    columns = ("path", "position", "code", "field_path", "status")
    return [tuple(r[c] for c in columns) for r in site.rejects() if r["status"] != "resolved"]


def check(fresh_site: Callable[[], Site], data: st.DataObject, exports: list[Export], *tables: str) -> None:
    plan = data.draw(loading_plan(len(exports)))
    in_version_order = sorted(range(len(exports)), key=lambda i: (exports[i].day, exports[i].path))
    clean = fresh_site()
    load(clean, exports, [[index] for index in in_version_order])
    expected = comparable(clean, *tables)
    shuffled = fresh_site()
    load(shuffled, exports, plan)
    assert comparable(shuffled, *tables) == expected


@QUICK
@given(data=st.data())
def test_law_1_of_stores(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    entry = st.one_of(whole_store, part_store, store_call(), store_call())
    check(fresh_site, data, data.draw(history("nilo/acme/stores", entry)), "stores")


@QUICK
@given(data=st.data())
def test_law_1_of_businesses(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    check(fresh_site, data, data.draw(history("pocketflows/acme/businesses", business)), "commerces")


@QUICK
@given(data=st.data())
def test_law_1_of_customers(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    entry = st.one_of(customer, customer, customer_call())
    check(fresh_site, data, data.draw(history("pocketflows/acme/customers", entry)), "commerces", "customers")
