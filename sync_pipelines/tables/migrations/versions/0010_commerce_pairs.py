"""Both names that a customer gives its business, and which exports name which business."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Makes the table; what customers call their businesses joins the key index at their stream's next load."""
    op.create_table(
        "commerce_pairs",
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("path_order", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("record_number", sa.BigInteger(), nullable=False),
        sa.Column("commerce_id", sa.BigInteger(), nullable=True),
        sa.Column("lends", sa.Text(), nullable=True),
        sa.CheckConstraint("lends in ('record_id', 'external_id', 'both')", name="commerce_pairs_lends_check"),
        sa.PrimaryKeyConstraint("partner", "tenant", "record_id", "external_id", name="commerce_pairs_pkey"),
        schema="sync",
    )
    op.create_index(
        "commerce_pairs_partner_tenant_external_id_idx",
        "commerce_pairs",
        ["partner", "tenant", "external_id"],
        unique=False,
        schema="sync",
    )
    op.create_index(
        "commerce_pairs_commerce_id_idx",
        "commerce_pairs",
        ["commerce_id"],
        unique=False,
        schema="sync",
        postgresql_where=sa.text("commerce_id is not null"),
    )
    customers = "partner = 'pocketflows' and stream = 'customers'"
    op.execute(
        f"with runs as (delete from sync.key_runs where {customers} returning id)"
        " delete from sync.key_pages p using runs where p.run_id = runs.id"
    )
    op.execute(f"update sync.export_files set has_indexed_keys = false where {customers} and has_indexed_keys")
