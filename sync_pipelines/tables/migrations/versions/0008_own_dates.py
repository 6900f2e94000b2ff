"""The ledger records whether an export's path contains a date."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds the column; an existing export has no date of its own if it has its file's time."""
    op.add_column(
        "export_files",
        sa.Column("has_own_date", sa.Boolean(), nullable=False, server_default=sa.text("true")),
        schema="sync",
    )
    op.execute("update sync.export_files set has_own_date = false where effective_at = modified_at")
