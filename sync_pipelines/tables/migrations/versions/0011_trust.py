"""Exports can be held and withdrawn; decisions, erasures and verified slices are recorded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Widens the statuses, and makes the columns and tables."""
    _set_statuses("export_files", "'pending', 'loaded', 'failed', 'held', 'withdrawn'")
    _set_statuses("rejected_records", "'open', 'resolved', 'superseded', 'withdrawn'")
    op.add_column("export_files", sa.Column("raw_sha256", sa.Text()), schema="sync")
    op.add_column("export_files", sa.Column("held", JSONB()), schema="sync")
    _create(
        "export_decisions",
        _id(),
        sa.Column("export_file_id", sa.BigInteger(), sa.ForeignKey("sync.export_files.id"), nullable=False),
        *[sa.Column(name, sa.Text(), nullable=False) for name in ("action", "reason", "decided_by")],
        _instant("decided_at", now=True),
        sa.CheckConstraint("action in ('release', 'undo', 'redo')", name="export_decisions_action_check"),
        sa.PrimaryKeyConstraint("id", name="export_decisions_pkey"),
    )
    op.create_index("export_decisions_export_file_id_idx", "export_decisions", ["export_file_id"], schema="sync")
    _create(
        "erasures",
        _id(),
        *[sa.Column(name, sa.Text(), nullable=False) for name in ("partner", "tenant", "kind", "subject")],
        sa.Column("keeps_orders", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        *[sa.Column(name, sa.Text(), nullable=False) for name in ("reason", "erased_by")],
        _instant("erased_at", now=True),
        sa.Column("lifted_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("kind in ('customer', 'email')", name="erasures_kind_check"),
        sa.PrimaryKeyConstraint("id", name="erasures_pkey"),
    )
    op.create_index(
        "erasures_subject_key",
        "erasures",
        ["partner", "tenant", "kind", "subject"],
        unique=True,
        schema="sync",
        postgresql_where=sa.text("lifted_at is null"),
    )
    _create(
        "verified_slices",
        *[sa.Column(name, sa.Text(), nullable=False) for name in ("partner", "tenant", "stream")],
        sa.Column("slice", sa.Integer(), nullable=False),
        _instant("verified_at"),
        *[sa.Column(name, sa.BigInteger(), nullable=False) for name in ("keys", "differences")],
        sa.PrimaryKeyConstraint("partner", "tenant", "stream", "slice", name="verified_slices_pkey"),
    )


def _set_statuses(table: str, allowed: str) -> None:
    op.execute(f"alter table sync.{table} drop constraint {table}_status_check")
    op.execute(f"alter table sync.{table} add constraint {table}_status_check check (status in ({allowed}))")


def _create(table: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(table, *parts, schema="sync")


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)


def _instant(name: str, *, now: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now() if now else None)
