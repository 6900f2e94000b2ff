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

from sync_pipelines.tables.descriptions import TABLES
from sync_pipelines.tables.schema import MAIN_TABLES, SCHEMA, metadata


@dataclass(frozen=True)
class Added:
    """A column of a view that is not its table's own.

    Attributes:
        description: what it holds.
        source: table and column it shows; None if it is computed.
    """

    description: str
    source: tuple[str, str] | None = None


@dataclass(frozen=True)
class View:
    """A view of one table.

    Attributes:
        name: without the schema.
        table: the table whose rows it shows, each at most once.
        description: which rows.
        added: its columns that are not the table's own.
        chosen: the table's columns it shows; None is all of them.
    """

    name: str
    table: str
    description: str
    added: Mapping[str, Added] = field(default_factory=dict)
    chosen: tuple[str, ...] | None = None

    @property
    def table_columns(self) -> tuple[str, ...]:
        """The table's columns that the view shows."""
        return tuple(metadata.tables[f"{SCHEMA}.{self.table}"].columns.keys()) if self.chosen is None else self.chosen


def _child(table: str, parent: str, **added: Added) -> View:
    """Returns the view of a child table, with tenant, partner and key of the main row it belongs to."""
    main = f"{parent.removesuffix('s')}"
    owner = {
        "tenant": Added(f"Tenant of the {main}.", (parent, "tenant")),
        "partner": Added(f"Partner of the {main}.", (parent, "partner")),
        f"{main}_external_id": Added(f"The partner's key of the {main}.", (parent, "external_id")),
    }
    return View(f"live_{table}", table, f"{TABLES[table]} Only those of live {parent}.", owner | added)


def _live(table: str) -> View:
    return View(f"live_{table}", table, f"{TABLES[table]} Only those that are defined and not deleted.")


def _referred(table: str) -> View:
    return View(
        f"referred_{table}", table, f"Placeholders in {table}: records refer to them, none has defined them yet."
    )


VIEWS: Final = (
    _live("commerces"),
    View(
        "live_orders",
        "orders",
        "Orders that are not deleted. Cancelled ones are included: see is_cancelled.",
        {"customer_is_deleted": Added("Whether the customer has been deleted.")},
    ),
    _live("stores"),
    _live("customers"),
    *(_referred(table.name) for table in MAIN_TABLES),
    _child(
        "order_items",
        "orders",
        ordered_at=Added("When the order was placed.", ("orders", "ordered_at")),
        currency=Added("Currency of the order, an ISO 4217 code.", ("orders", "currency")),
        is_cancelled=Added("Whether the order is cancelled.", ("orders", "is_cancelled")),
    ),
    _child("commerce_addresses", "commerces"),
    _child("commerce_users", "commerces"),
    _child(
        "commerce_user_contacts",
        "commerces",
        commerce_id=Added("Commerce the user belongs to.", ("commerce_users", "commerce_id")),
        commerce_user_external_id=Added("The partner's key of the user.", ("commerce_users", "external_id")),
    ),
    _child("store_addresses", "stores"),
    _child("store_users", "stores"),
    _child("customer_addresses", "customers"),
    View(
        "order_revenue",
        "orders",
        "Revenue of live orders. Cancelled orders, and orders whose total no record has sent, are left out.",
        {
            "order_id": Added("Order, as in orders.id.", ("orders", "id")),
            "items_total": Added("Sum of price x quantity of the order's items; null if it has no items."),
        },
        chosen=(
            *("tenant", "partner", "external_id", "customer_id", "ordered_at", "currency"),
            *("total_revenue", "total_quantity", "updated_at"),
        ),
    ),
)
"""Every view."""


def live_view(table: str) -> View | None:
    """Returns the view of a table's live rows, if there is one."""
    return find_view(f"live_{table}")


def find_view(name: str) -> View | None:
    """Returns a view by its name, if there is one."""
    return next((view for view in VIEWS if view.name == name), None)
