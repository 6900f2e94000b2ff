"""Kept records are one object an export."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sync_pipelines.errors import ConfigurationError

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Makes the table of objects that no ledger entry names.

    Raises:
        ConfigurationError: the ledger names kept records of an earlier version, which this one cannot read.
    """
    old = sa.text("select from sync.export_files where kept is not null limit 1")
    if op.get_bind().execute(old).rowcount:
        message = "the archive in SYNC_HOME was written by an earlier version, in a format that this one cannot read"
        hint = (
            "set SYNC_HOME and SYNC_DATABASE_URL to a new state folder and a new database, then sync: the exports in"
            " the landing are loaded again. Or go back to the version that wrote it; nothing was changed"
        )
        raise ConfigurationError("archive_format_old", message, hint)
    op.create_table(
        "unnamed_objects",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="unnamed_objects_pkey"),
        schema="sync",
    )
