"""The schema of Dagster's tables: `public`, or `dagster` where `public` is not ours to write to.

Dagster names its tables without a schema, so every connection of it says where they are. It is said by a statement:
poolers refuse it among the parameters of a connection, and the user's own search path may lead to tables of ours.

Belongs here: which schema, and telling connections. Does not belong here: the tables (`storage`).
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import CreateEnginePlugin

from sync_pipelines.database.postgres import unprivileged
from sync_pipelines.privacy.redaction import without_statements

OWN_SCHEMA: Final = "dagster"
_PLUGIN: Final = "sync_dagster_schema"
_IN: Final = "exists (select from pg_class c where c.relnamespace = n.oid and c.relname in ({}))"
_CHOICE: Final = f"""
select coalesce(
  (select n.nspname from pg_namespace n
   where n.nspname in ('public', '{OWN_SCHEMA}') and has_schema_privilege(n.oid, 'usage')
   and {_IN.format("'event_logs', 'daemon_heartbeats'")} order by n.nspname = 'public' desc limit 1),
  (select n.nspname from pg_namespace n
   where n.nspname = 'public' and has_schema_privilege(n.oid, 'create') and not {_IN.format("'alembic_version'")}),
  '{OWN_SCHEMA}')"""
"""Revisions in `public` without Dagster's tables are those of another program, which Dagster would overwrite."""
SET_SCHEMA: Final = f"select set_config('search_path', ({_CHOICE}), false)"


class DagsterSchema(CreateEnginePlugin):
    """Has every connection of an engine look into the schema of Dagster's tables, and its errors name no values.

    A plugin of the address, because Dagster makes engines of its own from it.
    """

    def update_url(self, url: sa.URL) -> sa.URL:
        """Nothing in the address is meant for this plugin."""
        return url

    def engine_created(self, engine: sa.Engine) -> None:
        """Listens for new connections and for errors, which would name the parameters of their statement."""
        engine.hide_parameters = True
        without_statements(engine)
        sa.event.listen(engine, "connect", _tell)


plugins.register(_PLUGIN, __name__, DagsterSchema.__name__)


def _tell(connection: Any, record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(SET_SCHEMA)
    connection.commit()


def with_dagster_schema(url: str) -> str:
    """The address for engines whose connections look into the schema of Dagster's tables."""
    return sa.make_url(url).update_query_dict({"plugin": _PLUGIN}).render_as_string(hide_password=False)


def make_dagster_schema(engine: sa.Engine) -> None:
    """Makes schema `dagster` where the tables belong there and it is missing.

    Raises:
        ConfigurationError: the user may not.
    """
    try:
        with engine.connect() as connection:
            if connection.execute(sa.text("select current_schema()")).scalar() is None:
                connection.execute(sa.text(f"create schema if not exists {OWN_SCHEMA}"))
    except sa.exc.IntegrityError:
        # Another process made it at the same moment.
        return
    except sa.exc.ProgrammingError as error:
        raise unprivileged(error.orig or error) from None
