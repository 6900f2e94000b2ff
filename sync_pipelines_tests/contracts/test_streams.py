"""Every declaration of the registry fits the tables, and says what the engine can carry out; others are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sync_pipelines.contracts.streams import Children, Match, Reference, Route, Stream
from sync_pipelines.partners import STREAMS
from sync_pipelines.partners.declarations import declaration_errors
from sync_pipelines.partners.replenit import ORDERS


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.full_name)
def test_every_declaration_fits_the_tables(stream: Stream) -> None:
    assert declaration_errors(stream) == []


WRONG: dict[str, dict[str, Any]] = {
    "there is no table 'invoices'": {"table": "invoices"},
    "no column of stores": {"table": "stores"},
    "the key 'number' is not an attribute": {"key": "number"},
    "'remarks': no column of orders": {"merges": ("remarks",)},
    "refers to the unknown table 'buyers'": {"references": (Reference("customer_id", "buyers"),)},
    "one function for each": {"links": {}},
    "the scope 'store_id' must be one of": {"scope": "store_id"},
    "'weight': no column of OrderItem": {"children": (replace(ORDERS.children[0], match=(Match(("weight",)),)),)},
    "there is no table 'lines'": {"children": (replace(ORDERS.children[0], table="lines"),)},
    "'items' is not a list": {"children": (Children("items", "order_items", "order_id"),)},
    "is not a reject code": {"unknown_code": "who_knows"},
    "`routes` is empty": {"routes": ()},
    "names an unknown field, 'Weight'": {"routes": (Route("POST", "/x", needs=("Weight",)),)},
    "the partner 'Mercadía' must be": {"partner": "Mercadía"},
    "the partner name 'tables' is reserved": {"partner": "tables"},
    "must not end in _exports or _records": {"name": "order_exports"},
}


@pytest.mark.parametrize("message", list(WRONG))
def test_a_wrong_declaration_is_named(message: str) -> None:
    assert message in "; ".join(declaration_errors(replace(ORDERS, **WRONG[message])))


def test_no_delete_where_the_key_alone_does_not_identify_the_row() -> None:
    (scoped,) = (stream for stream in STREAMS if stream.scope is not None)
    found = declaration_errors(replace(scoped, delete_flag="delete"))
    assert found == ["a stream with a `scope` cannot delete: the key alone does not identify a row"]


def test_a_reference_to_the_own_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="replenit/orders: a reference to its own table, orders, is not supported"):
        replace(ORDERS, references=(Reference(column="parent_id", table="orders"),))
