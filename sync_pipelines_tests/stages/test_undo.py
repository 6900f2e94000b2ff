"""Undo equals never loaded: any set of exports in any order, several at once, between loads, redo after (U).

Histories are those of the law tests. The oracle is a clean load of what is left; for Replenit's orders also the plain
fold of `test_laws`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.stages.withdrawal import Decided, Undone, redo, undo
from sync_pipelines_tests import test_laws, test_laws_identity, test_laws_partners, test_laws_references
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT, Site, deleted, lines, order, posted

WHY = Decided("a wrong file", "ana")


@dataclass(frozen=True)
class Put:
    """An export as a file of the landing."""

    path: str
    content: str


def withdraw(site: Site, *paths: str, is_preview: bool = False) -> Undone:
    ids = [entry.id for entry in site.ledger() if entry.path in paths]
    return undo(site.workspace(), ids, WHY, is_preview=is_preview)


def put_back(site: Site, *paths: str) -> None:
    for entry in redo(site.workspace(), [e.id for e in site.ledger() if e.path in paths], WHY):
        assert entry.status == "loaded", entry.error


def load(site: Site, exports: Sequence[Put]) -> None:
    for export in exports:
        site.put_at(export.path, export.content)
    for entry in site.sync():
        assert entry.status == "loaded", entry.error


def contents(site: Site, exports: Sequence[Put]) -> Any:
    """Rows without ids and last writes, and the rejects that are neither resolved nor withdrawn."""
    names = ("path", "position", "code", "field_path", "status")
    rejects = [[r[name] for name in names] for r in site.rejects() if r["status"] not in ("resolved", "withdrawn")]
    if exports[0].path.startswith("pocketflows/"):
        # Customers of two businesses may have one key.
        return test_laws_identity.comparable(site, "commerces", "customers")[0], rejects
    return site.tables(), rejects


@st.composite
def history(draw: st.DrawFn) -> list[Put]:
    kind = draw(st.sampled_from(["orders", "stores", "commerces", "customers", "businesses", "named"]))
    if kind == "orders":
        folder = f"replenit/{TENANT}/orders"
        return [Put(f"{folder}/{export.name}", export.content) for export in draw(test_laws.history())]
    if kind in ("commerces", "customers"):
        record, path, body, folder = {
            "commerces": (test_laws_partners.commerce, "/api/commerces/sync", "items", "reten/acme/commerces"),
            "customers": (test_laws_partners.customer, "/customers/sync", "customers", "traede/acme/customers"),
        }[kind]
        exports = draw(test_laws_partners.history(record, path, body))
        return [Put(f"{folder}/{export.name}", lines(*export.entries)) for export in exports]
    identity = test_laws_identity
    if kind == "stores":
        entry = st.one_of(identity.whole_store, identity.part_store, identity.store_call(), identity.store_call())
        found = draw(identity.history("nilo/acme/stores", entry))
    elif kind == "businesses":
        found = draw(identity.history("pocketflows/acme/businesses", identity.business))
    else:
        found = draw(test_laws_references.history())
    return [Put(export.path, lines(*export.entries)) for export in found]


@examples(40, at_least=8)
@given(data=st.data())
def test_undo_equals_never_loaded(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    exports = data.draw(history())
    arriving = list(data.draw(st.permutations(exports)))
    site, loaded, gone = fresh_site(), list[Put](), list[Put]()
    while arriving:
        some = [arriving.pop() for _ in range(data.draw(st.integers(1, len(arriving))))]
        load(site, some)
        loaded += some
        if wrong := data.draw(st.lists(st.sampled_from(loaded), unique=True, max_size=3)):
            withdraw(site, *(export.path for export in wrong))
            loaded, gone = [e for e in loaded if e not in wrong], gone + wrong
        if gone and (right := data.draw(st.lists(st.sampled_from(gone), unique=True, max_size=2))):
            put_back(site, *(export.path for export in right))
            loaded, gone = loaded + right, [e for e in gone if e not in right]
    assert not disowned(site, gone)
    # One database serves all sites of an example.
    found, clean = contents(site, exports), fresh_site()
    for export in sorted(loaded, key=lambda export: export.path):
        load(clean, [export])
    assert found == contents(clean, exports)


def disowned(site: Site, gone: Sequence[Put]) -> list[Any]:
    """Rows whose last writer is a withdrawn export."""
    paths = [export.path for export in gone]
    return [
        row
        for table in ("orders", "customers", "commerces", "stores")
        for row in site.query(f"select * from sync.{table} where source_file = any(%s)", [paths])
    ]


# -- across streams --------------------------------------------------------------------------------------------

customer = st.one_of(
    st.builds(lambda key: {"customer_number": key, "delete": True}, st.sampled_from("12")),
    st.builds(
        lambda key, name: {"customer_number": key, "name": name, "currency": "USD"},
        st.sampled_from("12"),
        st.sampled_from(["K", "L"]),
    ),
)
order_call = st.one_of(
    st.builds(
        lambda key, named: posted(AT, order(key, **named)),
        st.sampled_from("AB"),
        st.sampled_from([{"CustomerId": "1"}, {"CustomerId": "2"}, {"CustomerId": None}, {}]),
    ),
    st.builds(lambda key: deleted(AT, key), st.sampled_from("AB")),
)
AT = "2024-03-{day:02}T00:00:00Z"


@st.composite
def orders_and_customers(draw: st.DrawFn) -> list[Put]:
    """Exports in the order in which they come, which is that of their versions: blocked deletes depend on it."""
    exports = []
    for day in range(1, draw(st.integers(4, 8))):
        if draw(st.booleans()):
            records = draw(st.lists(customer, min_size=1, max_size=2, unique_by=lambda r: r["customer_number"]))
            exports.append(Put(f"traede/acme/customers/2024-03-{day:02}.ndjson", lines(*records)))
        else:
            calls = draw(st.lists(order_call, min_size=1, max_size=2))
            calls = [{**call, "at": AT.format(day=day)} for call in calls]
            exports.append(Put(f"replenit/{TENANT}/orders/2024-03-{day:02}.ndjson", lines(*calls)))
    return exports


def orders_mean_traede(site: Site) -> Site:
    site.sources({"customer_identifier": "customer_id", "customers_of": {"partner": "traede", "tenant": "acme"}})
    return site


@examples(40, at_least=6)
@given(data=st.data())
def test_undo_across_streams(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    exports = data.draw(orders_and_customers())
    wrong = data.draw(st.lists(st.sampled_from(exports), unique=True, min_size=1, max_size=3))
    check_undo_and_redo(fresh_site, exports, wrong)


def on(day: int, record: dict[str, Any]) -> Put:
    """An export of one customer, or of one call about an order."""
    if "method" in record:
        return Put(f"replenit/{TENANT}/orders/2024-03-{day:02}.ndjson", lines({**record, "at": AT.format(day=day)}))
    return Put(f"traede/acme/customers/2024-03-{day:02}.ndjson", lines({"customer_number": "1", **record}))


WHOLE: dict[str, Any] = {"name": "K", "currency": "USD"}
DELETE: dict[str, Any] = {"delete": True}


def named(order_key: str, customer_key: str) -> dict[str, Any]:
    return posted(AT, order(order_key, CustomerId=customer_key))


@pytest.mark.parametrize(
    ("records", "wrong"),
    [
        # The order that comes back referred to the customer only after the delete.
        ([WHOLE, DELETE, named("A", "1"), named("A", "2")], 3),
        # An order that blocked the delete refers to another customer since.
        ([WHOLE, named("A", "1"), named("B", "1"), DELETE, named("B", "2")], 1),
        # Without its delete, an order blocks the delete of the customer.
        ([WHOLE, named("A", "1"), deleted(AT, "A"), DELETE], 2),
        # A delete that found no row finds one, which an order refers to.
        ([WHOLE, DELETE, named("A", "1"), DELETE], 1),
        # Blocked deletes of a customer that only an order refers to.
        ([named("A", "1"), DELETE, DELETE], 1),
        # A delete becomes possible, and is blocked again by an order that refers to another customer since.
        ([named("A", "1"), DELETE, named("A", "2")], 0),
        # A placeholder whose blocked delete is decided again, though no order refers to it any more.
        ([deleted(AT, "A"), named("A", "1"), DELETE, named("A", "2")], 0),
        # An order that was moved away refers again to a customer that no record defines.
        ([named("A", "1"), named("A", "2"), DELETE], 1),
    ],
)
def test_deletes_are_decided_by_what_was_loaded_before_them(
    fresh_site: Callable[[], Site], records: list[dict[str, Any]], wrong: int
) -> None:
    exports = [on(day, record) for day, record in enumerate(records, 1)]
    check_undo_and_redo(fresh_site, exports, [exports[wrong]])


def check_undo_and_redo(fresh_site: Callable[[], Site], exports: Sequence[Put], wrong: Sequence[Put]) -> None:
    site = orders_mean_traede(fresh_site())
    for export in exports:
        load(site, [export])
    before = contents(site, exports)
    withdraw(site, *(export.path for export in wrong))
    assert not disowned(site, wrong)
    found = contents(site, exports)
    put_back(site, *(export.path for export in wrong))
    assert contents(site, exports) == before
    clean = orders_mean_traede(fresh_site())
    for export in exports:
        if export not in wrong:
            load(clean, [export])
    assert found == contents(clean, exports)
