"""Columns by their names in English, Spanish and Portuguese."""

from __future__ import annotations

from importlib.resources import files

import pytest
import yaml

from sync_pipelines.inspection.column_names import assigned, words_of
from sync_pipelines.partners import STREAMS
from sync_pipelines.partners.replenit import ORDERS

ENGLISH = "Order Number,Order Date,Customer Email,SKU,Qty,Unit Price,Currency,Order Total"
SPANISH = "N° Pedido,Fecha de venta,Correo electrónico,Código artículo,Cantidad,Precio unitario,Moneda,Monto total"
PORTUGUESE = (
    "Número do pedido,Data do pedido,E-mail do cliente,Código do produto,Quantidade,Preço unitário,Moeda,Valor total"
)
FIELDS = ["OrderId", "OrderDate", "Email", "Sku", "Quantity", "Price", "Currency", "TotalRevenue"]


@pytest.mark.parametrize("header", [ENGLISH, SPANISH, PORTUGUESE])
def test_the_columns_of_orders_in_three_languages(header: str) -> None:
    columns = header.split(",")
    found = {name: column for name, (column, _) in assigned(ORDERS, columns).items()}
    products = {found.pop(name) for name in ("ProductId", "Sku") if name in found}
    assert products == {columns[3]}
    assert found == {name: column for name, column in zip(FIELDS, columns, strict=True) if name != "Sku"}


def test_names_run_together_and_in_any_case_are_split() -> None:
    found = assigned(ORDERS, ["InvoiceNo", "CUSTOMER_ID", "unitPrice", "nonsense"])
    assert {name: column for name, (column, _) in found.items()} == {
        "OrderId": "InvoiceNo",
        "CustomerId": "CUSTOMER_ID",
        "Price": "unitPrice",
    }


def test_every_word_is_for_a_field_that_there_is() -> None:
    told = yaml.safe_load((files("sync_pipelines.inspection") / "words.yaml").read_text("utf-8"))
    by_name = {stream.full_name: stream for stream in STREAMS}
    assert told.keys() == by_name.keys()
    for name, words in told.items():
        assert set(words) <= set(by_name[name].flat_fields), name
        assert words_of(name).keys() == words.keys()
