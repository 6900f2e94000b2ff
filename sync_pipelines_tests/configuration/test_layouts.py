"""Known layouts: their keys hold where a block says nothing, and each is one that `sources.yaml` takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipelines.configuration.layouts import layouts, recognized_layout
from sync_pipelines.configuration.sources import Sources, load_sources
from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.errors import ConfigurationError
from sync_pipelines_tests.loading import TENANT

NAMES = {
    "shopify_orders", "woocommerce_orders", "odoo_sale_order", "magento_orders", "prestashop_orders",
    "mercadolibre_orders", "shopify_customers",
}  # fmt: skip


def sources(path: Path, partner: str, stream: str, block: str) -> Sources:
    tenant = TENANT if partner == "replenit" else "acme"
    path.write_text(f"sources: [{{partner: {partner}, tenant: {tenant}, streams: {{{stream}: {{{block}}}}}}}]")
    return load_sources(path)


def settings(tmp_path: Path, block: str, stream: str = "replenit/orders") -> StreamSettings:
    partner, _, name = stream.partition("/")
    tenant = TENANT if partner == "replenit" else "acme"
    return sources(tmp_path / "s.yaml", partner, name, block).for_stream(partner, tenant, name)


def test_the_layouts_are_those_that_are_promised() -> None:
    assert layouts().keys() == NAMES


@pytest.mark.parametrize("key", layouts())
def test_a_layout_is_read_where_it_is_named(tmp_path: Path, key: str) -> None:
    layout = layouts()[key]
    for stream, keys in layout.streams.items():
        constants = ", constants: {Currency: CLP}" if stream == "replenit/orders" else ""
        found = settings(tmp_path, f"layout: {key}{constants}", stream)
        assert found.columns.keys() == keys["columns"].keys()
        assert "{" not in "".join(found.columns.values())
        assert recognized_layout({*found.columns.values(), *layout.recognized_by}) == layout


def test_the_block_itself_has_the_last_word(tmp_path: Path) -> None:
    found = settings(tmp_path, "layout: odoo_sale_order, columns: {sku: Code}, fill_down: [], optional: [Email]")
    assert (found.columns["sku"], found.columns["OrderId"]) == ("Code", "Order Reference")
    assert "Sku" not in found.columns
    assert (found.fill_down, found.optional) == ((), ("Email",))


def test_a_currency_in_the_names_of_columns_is_that_of_the_block(tmp_path: Path) -> None:
    found = settings(tmp_path, "layout: mercadolibre_orders, constants: {currency: ARS}")
    assert found.columns["Price"] == "Precio unitario de venta de la publicación (ARS)"


@pytest.mark.parametrize(
    ("block", "stream", "why"),
    [
        ("layout: shopify_order", "replenit/orders", "unknown layout 'shopify_order'; did you mean shopify_orders?"),
        ("layout: shopify_orders", "nilo/stores", "is a layout for replenit/orders, not for nilo/stores"),
        ("layout: mercadolibre_orders", "replenit/orders", "set `constants: {Currency: ...}`"),
        ("layout: shopify_orders, columns: 7", "replenit/orders", "expected keys and values"),
    ],
)  # fmt: skip
def test_a_wrong_layout_is_told(tmp_path: Path, block: str, stream: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(tmp_path, block, stream)
    assert why in str(caught.value)


def test_a_header_that_is_of_none_tells_no_layout() -> None:
    assert recognized_layout(["OrderId", "Sku"]) is None
