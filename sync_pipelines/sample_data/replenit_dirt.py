"""Errors in exports of orders.

Belongs here: the kinds of dirt of an order. Does not belong here: which kind is next (`dirt`).
"""

from __future__ import annotations

from sync_pipelines.sample_data.dirt import Dirt, setting, setting_in, without
from sync_pipelines.sample_data.sample_files import Record


def _without_price(order: Record) -> None:
    del order["OrderItems"][0]["Price"]


def _in_lower_case(order: Record) -> None:
    order["Currency"] = order["Currency"].lower()


def _with_endless_id(order: Record) -> None:
    order["OrderId"] = order["OrderId"].ljust(101, "0")


def _with_number_as_id(order: Record) -> None:
    if order["OrderId"].isdigit():
        order["OrderId"] = int(order["OrderId"])


def _with_numbers_as_text(order: Record) -> None:
    order["TotalRevenue"] = str(order["TotalRevenue"])
    for item in order["OrderItems"]:
        item["Quantity"] = str(item["Quantity"])


def _with_other_spelling(order: Record) -> None:
    order["order_id"] = order.pop("OrderId")


def _with_item_of_another(order: Record) -> None:
    order["OrderItems"][-1]["OrderId"] = order["OrderId"] + "-B"


def _with_nul(order: Record) -> None:
    order["Email"] = "ventas\0@correo.example"


KINDS = (
    Dirt(setting("Currency", "PESOS"), True, "typed"),
    Dirt(_without_price, True, "typed"),
    Dirt(_in_lower_case, False, "typed"),
    Dirt(_with_endless_id, True, "typed"),
    Dirt(_with_numbers_as_text, False, "json"),
    Dirt(setting_in("OrderItems", "Price", float("nan")), True, "float"),
    Dirt(setting("IsOrderCancelled", "no"), False, "text"),
    Dirt(setting("Currency", "XQZ"), True, "typed"),
    Dirt(without("Currency"), True, "typed"),
    Dirt(setting_in("OrderItems", "IsGift", "sí"), False, "text"),
    Dirt(_with_number_as_id, False, "json"),
    Dirt(setting_in("OrderItems", "Quantity", 1.5), True, "text"),
    Dirt(_with_item_of_another, True, "json"),
    Dirt(setting("OrderDate", "31/12/2025 10:15"), True, "json"),
    Dirt(_with_other_spelling, False, "json"),
    Dirt(setting("OrderId", ""), True, "json"),
    Dirt(_with_nul, True, "json"),
    Dirt(setting_in("OrderItems", "Price", "consultar"), True, "text"),
)
