"""Which main table the rows of a table belong to.

Belongs here: the way from a table of lists up to its main table. Does not belong here: tables (`schema`), views
(`views`).
"""

from __future__ import annotations

from sqlalchemy import Table

from sync_pipelines.tables.schema import MAIN_TABLES, SCHEMA, metadata


def lineage_of(name: str) -> list[Table]:
    """Returns a table, its parent, and so on up to a main table; nothing if it belongs to none, or does not exist."""
    found: list[Table] = []
    table = metadata.tables.get(f"{SCHEMA}.{name}")
    while table is not None:
        found.append(table)
        parent = table.info.get("parent")
        table = None if parent is None else metadata.tables[f"{SCHEMA}.{parent}"]
    return found if found and found[-1] in MAIN_TABLES else []
