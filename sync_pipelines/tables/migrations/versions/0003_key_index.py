"""An index of the keys in loaded exports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Creates its tables and a column in the ledger; the next load of a stream adds the keys of its loaded exports."""
    op.create_table(
        "key_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("pairs", sa.BigInteger(), nullable=False),
        sa.Column("pages", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="key_runs_pkey"),
        schema="sync",
    )
    op.create_index(
        "key_runs_partner_tenant_stream_idx", "key_runs", ["partner", "tenant", "stream"], unique=False, schema="sync"
    )
    op.create_table(
        "key_pages",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("first_hash", sa.BigInteger(), nullable=False),
        sa.Column("last_hash", sa.BigInteger(), nullable=False),
        sa.Column("first_export", sa.BigInteger(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.Column("exports", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "first_hash", name="key_pages_pkey"),
        schema="sync",
    )
    op.add_column(
        "export_files",
        sa.Column("has_indexed_keys", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        schema="sync",
    )
    op.create_index(
        "export_files_newest_idx",
        "export_files",
        ["partner", "tenant", "stream", "effective_at"],
        unique=False,
        schema="sync",
        postgresql_where=sa.text("status = 'loaded' and effective_to is not null"),
    )
    op.create_index(
        "export_files_keys_to_index_idx",
        "export_files",
        ["partner", "tenant", "stream"],
        unique=False,
        schema="sync",
        postgresql_where=sa.text("status = 'loaded' and not has_indexed_keys"),
    )
