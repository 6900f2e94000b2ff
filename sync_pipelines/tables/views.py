"""The views of schema `sync`: which tables they show, and what their further columns hold.

    live_<table>      rows that are defined and not deleted
    referred_<table>  placeholders: rows that other records refer to and no record has defined yet
    live_<child>      rows of live parents, with the parent's key
    order_revenue     what orders were worth

Belongs here: names, tables and descriptions. Does not belong here: their SQL (`tables.migrations`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sync_pipelines.tables.schema import MAIN_TABLES, SCHEMA, metadata

_ITEMS_TOTAL: Final = "Sum of price x quantity of the order's items; null if it has no items."


@dataclass(frozen=True)
class View:
    """A view of one table.

    Attributes:
        name: without the schema.
        table: the table whose rows it shows.
        description: which rows.
        columns: columns that are not the table's own: name -> what they hold.
        chosen: the table's columns it shows; None is all of them.
    """

    name: str
    table: str
    description: str
    columns: Mapping[str, str] = field(default_factory=dict)
    chosen: tuple[str, ...] | None = None

    @property
    def table_columns(self) -> tuple[str, ...]:
        """The table's columns that the view shows."""
        return tuple(metadata.tables[f"{SCHEMA}.{self.table}"].columns.keys()) if self.chosen is None else self.chosen


def _child(table: str, parents: str, **columns: str) -> View:
    owner = {"tenant": f"Tenant of the {parents}.", "partner": f"Partner of the {parents}."}
    return View(
        f"live_{table}", table, f"{metadata.tables[f'{SCHEMA}.{table}'].comment} Live ones only.", owner | columns
    )


_LIVE: Final = {
    "orders": View(
        "live_orders",
        "orders",
        "Orders that are not deleted. Cancelled ones are included; see is_cancelled.",
        {"customer_is_deleted": "Whether the customer has been deleted."},
    ),
}
_CHILDREN: Final = (
    _child(
        "order_items",
        "order",
        order_external_id="The partner's order id.",
        ordered_at="When the order was placed.",
        currency="Currency of the order, an ISO 4217 code.",
        is_cancelled="Whether the order is cancelled.",
    ),
    _child("commerce_addresses", "commerce", commerce_external_id="The partner's key of the commerce."),
    _child("commerce_users", "commerce", commerce_external_id="The partner's key of the commerce."),
    _child(
        "commerce_user_contacts",
        "commerce",
        commerce_id="Commerce the user belongs to.",
        commerce_external_id="The partner's key of the commerce.",
        commerce_user_external_id="The partner's key of the user.",
    ),
    _child("store_addresses", "store", store_external_id="The store's code."),
    _child("store_users", "store", store_external_id="The store's code."),
    _child("customer_addresses", "customer", customer_external_id="The partner's key of the customer."),
)
_REVENUE: Final = View(
    "order_revenue",
    "orders",
    "Revenue of live orders. Cancelled orders, and orders whose total no record has sent, are left out.",
    {"order_id": "Order, as in orders.id.", "items_total": _ITEMS_TOTAL},
    chosen=(
        *("tenant", "partner", "external_id", "customer_id", "ordered_at", "currency"),
        *("total_revenue", "total_quantity", "updated_at"),
    ),
)

VIEWS: Final = (
    *(
        _LIVE.get(t.name) or View(f"live_{t.name}", t.name, f"{t.comment} Defined and not deleted ones only.")
        for t in MAIN_TABLES
    ),
    *(
        View(
            f"referred_{t.name}", t.name, f"Placeholders in {t.name}: records refer to them, none has defined them yet."
        )
        for t in MAIN_TABLES
    ),
    *_CHILDREN,
    _REVENUE,
)
"""Every view."""


def live_view(table: str) -> View | None:
    """Returns the view of a table's live rows, if there is one."""
    return next((view for view in VIEWS if view.name == f"live_{table}"), None)
