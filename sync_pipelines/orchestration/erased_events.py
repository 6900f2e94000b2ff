"""A person in Dagster's storage: finds what names the person in events, runs, ticks and tags, and replaces it.

Belongs here: Dagster's tables. Does not belong here: what names a person (`privacy.person_terms`), all other places
(`stages.erase`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa

from sync_pipelines.orchestration.private_dagster import (
    STORED_DOCUMENTS,
    STORED_TEXTS,
    has_sql_storage,
    storage_connection,
)
from sync_pipelines.privacy.person_terms import Person

_MORE: Final = {"bulk_actions": "body", "jobs": "job_body"}
_AT_ONCE: Final = 500


def find_in_dagster(instance: dg.DagsterInstance, person: Person) -> Counter[str]:
    """Returns how often a person is named in Dagster's storage, by place."""
    found: Counter[str] = Counter()
    if has_sql_storage(instance):
        with storage_connection(instance) as connection:
            for table, _, _ in _naming(connection, person):
                found[f"Dagster's {table.name}"] += 1
    return found


def erase_in_dagster(instance: dg.DagsterInstance, person: Person) -> int:
    """Replaces a person in Dagster's storage by `[erased]`. Returns how many rows changed."""
    changed = 0
    if has_sql_storage(instance):
        with storage_connection(instance) as connection:
            for table, row_id, text in list(_naming(connection, person)):
                connection.execute(sa.update(table).where(table.c.id == row_id).values({_column_of(table): text}))
                changed += 1
    return changed


def _naming(connection: sa.Connection, person: Person) -> Iterator[tuple[sa.TableClause, int, str]]:
    """Yields table, id and text without the person, of each row that names the person."""
    there = set(sa.inspect(connection).get_table_names())
    for name, column in {**STORED_DOCUMENTS, **STORED_TEXTS, **_MORE}.items():
        if name not in there:
            continue
        table = sa.table(name, sa.column("id"), sa.column(column))
        text, last = table.c[column], -1
        wanted = sa.or_(*(sa.func.lower(text).contains(needle, autoescape=True) for needle in person.needles))
        while rows := connection.execute(
            sa.select(table.c.id, text).where(table.c.id > last, wanted).order_by(table.c.id).limit(_AT_ONCE)
        ).fetchall():
            last = rows[-1][0]
            for row_id, before in rows:
                if (after := _without(before, person)) != before:
                    yield table, row_id, after


def _without(text: str, person: Person) -> str:
    try:
        document: Any = json.loads(text)
    except ValueError:
        return str(person.without(text))
    cleaned = person.without(document)
    return text if cleaned == document else json.dumps(cleaned)


def _column_of(table: sa.TableClause) -> str:
    return next(name for name in table.c.keys() if name != "id")  # noqa: SIM118
