"""The outcome of each record of a loaded export."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Creates its table; exports that are already loaded have no outcomes."""
    op.create_table(
        "export_outcomes",
        sa.Column("export_file_id", sa.BigInteger(), nullable=False),
        sa.Column("outcomes", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["export_file_id"],
            ["sync.export_files.id"],
            name="export_outcomes_export_file_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("export_file_id", name="export_outcomes_pkey"),
        schema="sync",
    )
