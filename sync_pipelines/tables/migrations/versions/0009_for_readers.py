"""Views and indexes for those who build on the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_MAIN_TABLES: Final = ("commerces", "orders", "stores", "customers")
_CHILDREN: Final = {
    "order_items": (
        "o.tenant, o.partner, o.external_id as order_external_id, o.ordered_at, o.currency, o.is_cancelled",
        "sync.orders o on o.id = c.order_id",
    ),
    "commerce_addresses": (
        "o.tenant, o.partner, o.external_id as commerce_external_id",
        "sync.commerces o on o.id = c.commerce_id",
    ),
    "commerce_users": (
        "o.tenant, o.partner, o.external_id as commerce_external_id",
        "sync.commerces o on o.id = c.commerce_id",
    ),
    "commerce_user_contacts": (
        "o.tenant, o.partner, u.commerce_id, o.external_id as commerce_external_id,"
        " u.external_id as commerce_user_external_id",
        "sync.commerce_users u on u.id = c.commerce_user_id join sync.commerces o on o.id = u.commerce_id",
    ),
    "store_addresses": (
        "o.tenant, o.partner, o.external_id as store_external_id",
        "sync.stores o on o.id = c.store_id",
    ),
    "store_users": (
        "o.tenant, o.partner, o.external_id as store_external_id",
        "sync.stores o on o.id = c.store_id",
    ),
    "customer_addresses": (
        "o.tenant, o.partner, o.external_id as customer_external_id",
        "sync.customers o on o.id = c.customer_id",
    ),
}
_IS_LIVE: Final = "o.deleted_at is null and not o.is_placeholder"
_REVENUE: Final = f"""\
create or replace view sync.order_revenue as
select o.id as order_id, o.tenant, o.partner, o.external_id, o.customer_id, o.ordered_at, o.currency, o.total_revenue,
  (select sum(i.price * i.quantity) from sync.order_items i where i.order_id = o.id) as items_total,
  o.total_quantity, o.updated_at
from sync.orders o
where {_IS_LIVE} and o.is_cancelled is not true and ('TotalRevenue' = any(o.defaulted_fields)) is not true
"""


def upgrade() -> None:
    """Creates indexes and views; removes placeholders from `live_*`; fills the email of customers known by it."""
    op.create_index("orders_ordered_at_idx", "orders", ["ordered_at"], schema="sync", if_not_exists=True)
    for table in _MAIN_TABLES:
        op.create_index(f"{table}_updated_at_idx", table, ["updated_at"], schema="sync", if_not_exists=True)
        _live_view(table)
        op.execute(
            f"create or replace view sync.referred_{table} as"
            f" select * from sync.{table} where is_placeholder and deleted_at is null"
        )
    for table, (columns, parents) in _CHILDREN.items():
        op.execute(
            f"create or replace view sync.live_{table} as"
            f" select c.*, {columns} from sync.{table} c join {parents} where {_IS_LIVE}"
        )
    op.execute(_REVENUE)
    op.execute(
        "update sync.customers set email = external_id, updated_at = now() where partner = 'replenit'"
        " and is_placeholder and deleted_at is null and email is null"
        r" and external_id ~ '^[^@\t\n\f\r ]+@[^@\t\n\f\r ]+$'"
    )


def _live_view(table: str) -> None:
    """Adds a condition to a view. Its columns stay: users may have added some to the table."""
    columns = ", ".join(f'o."{name}"' for name in _columns_of(table)) or "o.*"
    joined = ""
    if table == "orders":
        columns += ", d.deleted_at is not null as customer_is_deleted"
        joined = " left join sync.customers d on d.id = o.customer_id"
    op.execute(
        f"create or replace view sync.live_{table} as select {columns} from sync.{table} o{joined} where {_IS_LIVE}"
    )


def _columns_of(table: str) -> Sequence[str]:
    found = op.get_bind().execute(
        sa.text(
            "select v.column_name from information_schema.columns v where v.table_schema = 'sync'"
            " and v.table_name = :view and v.column_name <> 'customer_is_deleted' order by v.ordinal_position"
        ),
        {"view": f"live_{table}"},
    )
    return list(found.scalars())
