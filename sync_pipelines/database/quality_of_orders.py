"""Queries of asset checks that only orders have.

Belongs here: queries on orders. Does not belong here: queries for every stream, totals (`quality`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.quality import EVERYTHING, EXAMPLES, Extent, Row


def of_deleted_customers(
    connection: psycopg.Connection[Any], stream: Stream, about: Extent = EVERYTHING
) -> tuple[int, Sequence[Row]]:
    """Returns how many live orders belong to deleted customers, and the latest of them (F12)."""
    found = sql.SQL(
        "from sync.orders o join sync.customers c on c.id = o.customer_id and c.deleted_at is not null"
        " where o.partner = %(partner)s and o.deleted_at is null and {}"
    ).format(about.condition("o"))
    examples = sql.SQL(
        "select o.tenant, o.external_id, c.deleted_at as customer_deleted_at, o.source_file, count(*) over () as n {}"
        " order by o.effective_at desc, o.id limit {}"
    ).format(found, sql.Literal(EXAMPLES))
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(examples, {"partner": stream.partner, **about.values}).fetchall()
    number = rows[0]["n"] if rows else 0
    return number, [{name: value for name, value in row.items() if name != "n"} for row in rows]
