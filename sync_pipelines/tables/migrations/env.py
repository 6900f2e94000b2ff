"""Alembic's entry point: runs the revisions on the connection of `sync_pipelines.database.postgres.migrate`.

Belongs here: how migrations run. Does not belong here: what they do (`versions`).
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from sync_pipelines.tables.schema import SCHEMA, metadata

connection = context.config.attributes["connection"]
if not connection.execute(text(f"select from pg_namespace where nspname = '{SCHEMA}'")).all():
    # "If not exists" would require the right to create it even if it exists.
    connection.execute(text(f"create schema {SCHEMA}"))
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
