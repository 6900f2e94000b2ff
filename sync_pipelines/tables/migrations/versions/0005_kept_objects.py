"""The kept records of an export are one object."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sync_pipelines.errors import ConfigurationError

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Creates the table of objects that no ledger entry names.

    Raises:
        ConfigurationError: the ledger names kept records in a format of an earlier version.
    """
    old = sa.text("select from sync.export_files where kept is not null limit 1")
    if op.get_bind().execute(old).rowcount:
        message = "an earlier version wrote the archive in SYNC_HOME, in a format that this version cannot read"
        hint = (
            "set SYNC_HOME and SYNC_DATABASE_URL to a new state folder and a new database, then sync: that loads the"
            " exports in the landing again. Or go back to the earlier version; nothing was changed"
        )
        raise ConfigurationError("archive_format_old", message, hint)
    op.create_table(
        "unnamed_objects",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="unnamed_objects_pkey"),
        schema="sync",
    )
