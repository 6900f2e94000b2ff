"""Rows copied into the tables, and columns as tables of queries."""

from __future__ import annotations

import pyarrow as pa
import pytest
from psycopg.sql import SQL

from sync_pipelines.upsert.copying import values
from sync_pipelines_tests.loading import TENANT, Site, item, lines, order, outcomes


@pytest.mark.parametrize("made", ["increment by 3", "increment by -1", "cache 7"])
def test_numbers_that_do_not_follow_one_another(site: Site, made: str) -> None:
    """Others who draw numbers at the same time leave gaps, as a sequence of another step does."""
    with site.database.connect(autocommit=True) as connection:
        for table in ("orders", "customers"):
            connection.execute(f"alter sequence sync.{table}_id_seq {made} minvalue -9999999 restart with 100")
    orders = [order(f"K{n}", Email=f"c{n % 7}@x.cl", OrderItems=[item("p"), item("q")]) for n in range(60)]
    assert outcomes(site.load("2024-05-02.json", orders)) == {"created": 60}
    found = site.query(
        "select o.external_id, o.email, c.external_id as customer, count(i.id) as items from sync.orders o"
        " join sync.customers c on c.id = o.customer_id join sync.order_items i on i.order_id = o.id group by 1, 2, 3"
    )
    assert {row["external_id"] for row in found} == {f"K{n}" for n in range(60)}
    assert all(row["email"] == row["customer"] and row["items"] == 2 for row in found)
    assert len(site.query("select from sync.customers")) == 7


def test_a_row_that_is_refused_by_the_database_ends_the_load(site: Site) -> None:
    with site.database.connect(autocommit=True) as connection:
        connection.execute("alter table sync.order_items add constraint few check (quantity < 1000)")
    orders = [order(f"K{n}", OrderItems=[item("p")]) for n in range(50)]
    failed = site.load_at(
        f"replenit/{TENANT}/orders/2024-05-02.ndjson",
        lines(*orders, order("Z", OrderItems=[item("p") | {"Quantity": 1000}])),
    )
    assert failed.status == "failed" and "few" in (failed.error or "")
    assert site.tables()["orders"] == {} and site.customers() == []


def test_a_query_sees_texts_and_integers_as_they_are(site: Site) -> None:
    texts = ["a", None, "", "NULL", 'say "x"', "back\\slash", "{a,b}", "o'neil", "ñ 漢 🎈", " ", "%s"]
    numbers = [1, None, -3, *range(3, len(texts))]
    columns = {"number": pa.array(numbers, pa.int64()), "key": pa.chunked_array([texts[:4], texts[4:]], pa.string())}
    with site.database.connect() as connection:
        found = connection.execute(SQL("select * from {}").format(values("v", columns))).fetchall()
    assert found == [*zip(numbers, texts, strict=True)]


def test_no_values_are_no_rows(site: Site) -> None:
    with site.database.connect() as connection:
        query = SQL("select * from {}").format(values("v", {"key": pa.array([], pa.string())}))
        assert connection.execute(query).fetchall() == []
