"""The schema of Dagster's tables: `public`, or `dagster` if the project may not create tables in `public`.

Dagster names its tables without a schema, so each of its connections sets the search path. It does so with a statement:
poolers reject the search path as a connection parameter, and the user's own search path may lead to other tables.

Belongs here: which schema, and setting it on connections. Does not belong here: the tables (`storage`).
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
"""A table of revisions in `public` without Dagster's tables belongs to another program. Dagster would overwrite it."""
SET_SCHEMA: Final = f"select set_config('search_path', ({_CHOICE}), false)"


class DagsterSchema(CreateEnginePlugin):
    """Sets the schema of Dagster's tables on every connection of an engine, and keeps values out of its errors.

    It is a plugin in the address, because Dagster creates engines from the address.
    """

    def update_url(self, url: sa.URL) -> sa.URL:
        """Returns the address unchanged: the plugin has no options."""
        return url

    def engine_created(self, engine: sa.Engine) -> None:
        """Handles new connections, and errors, which would show the parameters of their statement."""
        engine.hide_parameters = True
        without_statements(engine)
        sa.event.listen(engine, "connect", _set_search_path)


plugins.register(_PLUGIN, __name__, DagsterSchema.__name__)


def _set_search_path(connection: Any, record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(SET_SCHEMA)
    connection.commit()


def with_dagster_schema(url: str) -> str:
    """Returns the address with this plugin, whose connections use the schema of Dagster's tables."""
    return sa.make_url(url).update_query_dict({"plugin": _PLUGIN}).render_as_string(hide_password=False)


def make_dagster_schema(engine: sa.Engine) -> None:
    """Creates schema `dagster` if the tables belong there and it is missing.

    Raises:
        ConfigurationError: the user may not create it.
    """
    try:
        with engine.connect() as connection:
            if connection.execute(sa.text("select current_schema()")).scalar() is None:
                connection.execute(sa.text(f"create schema if not exists {OWN_SCHEMA}"))
    except sa.exc.IntegrityError:
        # Another process created it at the same moment.
        return
    except sa.exc.ProgrammingError as error:
        raise unprivileged(error.orig or error) from None
