"""Live orders show whether their customer is deleted."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Adds the column to the view; existing queries on the view keep working."""
    op.execute(
        "create or replace view sync.live_orders as"
        " select o.*, c.deleted_at is not null as customer_is_deleted"
        " from sync.orders o left join sync.customers c on c.id = o.customer_id where o.deleted_at is null"
    )
