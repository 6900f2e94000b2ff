"""A reject keeps every error of its record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds the column; existing rejects have their first error only, which stays where it is."""
    op.add_column(
        "rejected_records",
        sa.Column("faults", JSONB, server_default=sa.text("'[]'::jsonb"), nullable=False),
        schema="sync",
    )
