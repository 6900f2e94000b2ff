"""Rows revised a column at a time end as the fold leaves them (laws 1, 3, 5).

Exports of many keys are loaded twice, once with every record folded; later ones say something else of most keys, in
lists that often keep their elements. Tables, last writes, counts and rejects must be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT, Site
from sync_pipelines_tests.upsert.test_fast_ways import everything_folded, loaded

Record = dict[str, Any]
Shape = Mapping[str, Any]
"""Field -> the values it may have (`...`: absent), or the shape of the elements of its list."""

UNKNOWN: Shape = {"unknown": [..., ..., ..., 1, 2, {"x": None}]}
OBJECT = [..., None, {}, {"a": 1}, {"a": 1.5, "b": [True]}, {"a": True, "b": [1]}, {"b": None}]
COMMERCE: Shape = {
    "name": ["One", "Two"],
    "tax_id": [..., None, "01", ""],
    "metadata": OBJECT,
    "addresses": {
        "source_ref": ["1", "2", "3", ...],
        "address_alias": ["Casa", " casa", "Local", ..., None],
        "is_primary": [..., False, False, True, None],
        "city": ["Lima", 'a "b"\n,\\', "", None, ...],
        **UNKNOWN,
    },
    "users": {
        "external_id": ["u", "v", "w"],
        "name": ["Ana", "Leo", None, ...],
        "roles": [..., [], ["A"], ['"', "b,", "NULL", ""]],
        "contacts": {"contact_type": ["PHONE", "EMAIL"], "value": ["1", "2"], "is_primary": [..., False, True]},
    },
    **UNKNOWN,
}
STORE: Shape = {
    "name": ["K", "", ..., None],
    "ownerName": ["Ana", None, ...],
    "legalName": ["L"],
    "legalId": ["1"],
    "creditLimit": [..., 1, 2.5, "3", None],
    "debtor": [..., True, False],
    "promotionGrouperCode": [..., "a", ["a", "b"], None],
    "latitude": [..., ..., 5, None],
    "longitude": [..., ..., 6, None],
    "settings": [*OBJECT, {"isDebtor": True}],
    "addresses": {
        "address": ["Uno", "Dos"],
        "zipCode": ["1", "2"],
        "latitude": [1, 1.0, "2°", ...],
        "longitude": [1, 2, ...],
        **UNKNOWN,
    },
    "users": {"user_ref": ["u", "v", "w"]},
    **UNKNOWN,
}
CUSTOMER: Shape = {
    "name": ["x", "y"],
    "currency": ["DKK", "USD"],
    "discount_percentage": [..., 5, 5.5, None],
    "active": [..., True, False],
    "payment_term": [..., {"id": "1"}, {"code": "net"}, None],
    "delete": [..., ..., ..., ..., ..., ..., ..., True],
    "addresses_sync_mode": ["replace", "append"],
    "addresses_sync_key": ["address_title", "remote_erp_id"],
    "addresses": {
        "title": ["Home", " home", "Shop", "Store"],
        "remote_erp_id": ["1", "2", "3"],
        "name": ["n", "m"],
        "address": ["a"],
        "zip": ["z"],
        "city": ["c", "d"],
        "country": ["DK"],
        "region": [..., "r", None],
        **UNKNOWN,
    },
    **UNKNOWN,
}
BUSINESS: Shape = {"id": ["1"] * 6 + ["2", ...], "name": ["K", "L"], "metadata": OBJECT, **UNKNOWN}
MEMBER: Shape = {
    "id": ["1"] * 6 + ["2", ...],
    "business_id": ["7"] * 6 + ["8"],
    "full_name": ["Ana", "Leo", None, ...],
    "metadata": OBJECT,
    **UNKNOWN,
}
ORDER: Shape = {
    "Currency": ["USD", "CLP"],
    "Email": [..., "ana@x.cl", " Ana@X.cl ", "leo@x.cl", None],
    "TotalQuantity": [..., 1, 2, None],
    "TotalRevenue": [..., 1, "9.75"],
    "OrderDate": [..., ..., "2024-02-01T00:00:00+00:00"],
    "IsOrderCancelled": [..., True, False],
    "OrderItems": {
        "ProductId": ["p", "q", "r"],
        "Sku": ["s"],
        "Quantity": [1, 2],
        "Price": [1, 2.5],
        "Size": [..., "1 l", None],
        **UNKNOWN,
    },
    **UNKNOWN,
}
STREAMS: dict[str, tuple[str, Shape]] = {
    f"replenit/{TENANT}/orders": ("OrderId", ORDER),
    "reten/acme/commerces": ("external_id", COMMERCE),
    "nilo/acme/stores": ("internalCode", STORE),
    "traede/acme/customers": ("customer_number", CUSTOMER),
    "pocketflows/acme/businesses": ("external_id", BUSINESS),
    "pocketflows/acme/customers": ("external_id", MEMBER),
}


def made(rng: Random, shape: Any) -> Any:
    """A value of a shape."""
    if isinstance(shape, list):
        return rng.choice(shape)
    # The first field tells the elements: mostly each has another value of it, or none has one.
    first, choices = next(iter(shape.items()))
    told = rng.sample(choices, min(rng.randrange(4), len(choices))) if rng.random() < 0.8 else rng.choices(choices, k=2)
    is_told = rng.random() < 0.8 or ... not in choices
    return [record_of(rng, {**shape, first: [value if is_told else ...]}) for value in told]


def record_of(rng: Random, shape: Shape) -> Record:
    found = {name: made(rng, values) for name, values in shape.items()}
    return {name: value for name, value in found.items() if value is not ...}


def otherwise(rng: Random, shape: Shape, before: Record) -> Record:
    """The record with some of its values made anew; lists mostly keep their elements."""
    after: Record = {}
    for name, values in shape.items():
        if isinstance(values, list):
            after[name] = made(rng, values) if rng.random() < 0.25 else before.get(name, ...)
        elif name in before:
            kept = before[name] if rng.random() < 0.8 else made(rng, values)
            after[name] = [otherwise(rng, values, element) if rng.random() < 0.3 else element for element in kept]
    return {name: value for name, value in after.items() if value is not ...}


def exports_of(rng: Random, folder: str, keys: int) -> list[tuple[str, list[Record]]]:
    """Four exports of the same keys, one record a key in each."""
    key, shape = STREAMS[folder]
    said = [record_of(rng, shape) for _ in range(keys)]
    files = []
    for day in (1, 2, 3, 4):
        records = [keyed(r, key, n) for n, r in enumerate(said)]
        if key == "OrderId":
            records = [r if rng.random() < 0.9 else deleted(r[key], day) for r in records]
        files.append((f"{folder}/2024-03-{day:02}.ndjson", records))
        said = [otherwise(rng, shape, before) for before in said]
    return files


def deleted(key: str, day: int) -> Record:
    """The call that deletes an order."""
    return {"at": f"2024-03-{day:02}T00:00:00+00:00", "method": "DELETE", "path": f"/orders/{TENANT}/{key}"}


def keyed(record: Record, key: str, number: int) -> Record:
    """The record under a key of its own, and so its other id."""
    own = {"id": f"{number} {record['id']}"} if "id" in record else {}
    return {**record, **own, key: str(number)}


@pytest.mark.parametrize("folder", list(STREAMS))
@examples(4)
@given(seed=st.integers(0, 10**9))
def test_revised_rows_end_as_the_fold_leaves_them(fresh_site: Callable[[], Site], folder: str, seed: int) -> None:
    files = exports_of(Random(seed), folder, 150)
    plan = [[index] for index in range(len(files))]
    with everything_folded():
        expected = loaded(fresh_site(), files, plan)
    assert loaded(fresh_site(), files, plan) == expected
