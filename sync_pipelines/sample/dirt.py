"""What goes wrong in exports: each kind of dirt as a function of one good order.

Some of it is refused, some is let through and counted (X8, O2, X10); what becomes of it is said by the contract, not
here. Kinds take turns, so that a sample of some size shows all of them.

Belongs here: spoiling one record. Does not belong here: damage to a whole file or a line (`encode`).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass

from sync_pipelines.sample.encode import Layout
from sync_pipelines.sample.exports import Record

SHARE = 0.01


@dataclass(frozen=True)
class Dirt:
    """A kind of dirt.

    Attributes:
        spoil: changes a copy of a good order in place.
        is_refused: whether the order cannot be accepted like this.
        needs: what a file must be able to say: "json" names, types and order fields as one likes; "text" any text in
            any cell; "float" binary floats; "typed" no more than the right type in every cell.
    """

    spoil: Callable[[Record], None]
    is_refused: bool
    needs: str


def _setting(field: str, value: object) -> Callable[[Record], None]:
    def spoil(order: Record) -> None:
        order[field] = value

    return spoil


def _setting_in_item(field: str, value: object) -> Callable[[Record], None]:
    def spoil(order: Record) -> None:
        order["OrderItems"][-1][field] = value

    return spoil


def _without_currency(order: Record) -> None:
    del order["Currency"]


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
    Dirt(_setting("Currency", "PESOS"), True, "typed"),
    Dirt(_without_price, True, "typed"),
    Dirt(_in_lower_case, False, "typed"),
    Dirt(_with_endless_id, True, "typed"),
    Dirt(_with_numbers_as_text, False, "json"),
    Dirt(_setting_in_item("Price", float("nan")), True, "float"),
    Dirt(_setting("IsOrderCancelled", "no"), False, "text"),
    Dirt(_setting("Currency", "XQZ"), True, "typed"),
    Dirt(_without_currency, True, "typed"),
    Dirt(_setting_in_item("IsGift", "sí"), False, "text"),
    Dirt(_with_number_as_id, False, "json"),
    Dirt(_setting_in_item("Quantity", 1.5), True, "text"),
    Dirt(_with_item_of_another, True, "json"),
    Dirt(_setting("OrderDate", "31/12/2025 10:15"), True, "json"),
    Dirt(_with_other_spelling, False, "json"),
    Dirt(_setting("OrderId", ""), True, "json"),
    Dirt(_with_nul, True, "json"),
    Dirt(_setting_in_item("Price", "consultar"), True, "text"),
)


def _can_say(layout: Layout, dirt: Dirt) -> bool:
    if layout.form == "parquet":
        return dirt.needs == "typed" or (dirt.needs == "float" and not layout.nested)
    return not layout.is_flat or dirt.needs != "json"


@dataclass(frozen=True)
class Soiled:
    """An order as it is written, and whether it will be refused like this."""

    record: Record
    is_refused: bool


class Soiler:
    """Spoils about one order in a hundred; the kind whose turn is longest past comes first."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._waiting = list(KINDS)
        rng.shuffle(self._waiting)

    def take(self, order: Record, layout: Layout) -> Soiled:
        """The order as written in a file of this layout: nearly always as it is."""
        if self._rng.random() >= SHARE or not order.get("OrderItems"):
            return Soiled(order, False)
        dirt = next(dirt for dirt in self._waiting if _can_say(layout, dirt))
        self._waiting.remove(dirt)
        self._waiting.append(dirt)
        spoiled = copy.deepcopy(order)
        dirt.spoil(spoiled)
        return Soiled(spoiled, dirt.is_refused)
