"""Runs of the index of keys list their exports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Adds the column, empty for existing runs, which are read in full."""
    op.add_column("key_runs", sa.Column("exports", ARRAY(sa.BigInteger())), schema="sync")
