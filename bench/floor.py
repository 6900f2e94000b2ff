"""The least work: rows that need no parsing into staging tables, then one conditional write each.

A program of its own, so that its start and memory are measured like the sync's: `python floor.py make URL` makes the
two target tables, `python floor.py load URL STEM` loads `STEM.orders.csv` and `STEM.items.csv` into them in one
transaction. It validates nothing, counts nothing, knows no customers, keeps no ledger.

Belongs here: the statements of the floor. Does not belong here: anything imported from the project.
"""

from __future__ import annotations

import sys
from typing import LiteralString

import psycopg

BLOCK = 1 << 18

TABLES: LiteralString = """
create table orders (
    tenant text not null, order_id text not null, email text, customer_id text, total_quantity integer not null,
    total_revenue numeric(18, 4) not null, ordered_at timestamptz not null, currency text not null,
    unique_quantity integer not null, is_cancelled boolean not null, primary key (tenant, order_id));
create table order_items (
    tenant text not null, order_id text not null, line_no integer not null, product_id text not null,
    sku text not null, quantity integer not null, price numeric(18, 4) not null, size text, color text, brand text,
    is_gift boolean, original_price numeric(18, 4), primary key (tenant, order_id, line_no));
"""

STAGES: LiteralString = """
set local client_min_messages = warning;
drop table if exists stage_orders, stage_items;
create unlogged table stage_orders (like orders);
create unlogged table stage_items (like order_items);
"""

WRITES: LiteralString = """
analyze stage_orders, stage_items;
merge into orders t using stage_orders s on t.tenant = s.tenant and t.order_id = s.order_id
when matched and (t.email, t.customer_id, t.total_quantity, t.total_revenue, t.ordered_at, t.currency,
                  t.unique_quantity, t.is_cancelled)
     is distinct from (s.email, s.customer_id, s.total_quantity, s.total_revenue, s.ordered_at, s.currency,
                       s.unique_quantity, s.is_cancelled)
then update set email = s.email, customer_id = s.customer_id, total_quantity = s.total_quantity,
     total_revenue = s.total_revenue, ordered_at = s.ordered_at, currency = s.currency,
     unique_quantity = s.unique_quantity, is_cancelled = s.is_cancelled
when not matched then insert values (s.tenant, s.order_id, s.email, s.customer_id, s.total_quantity,
     s.total_revenue, s.ordered_at, s.currency, s.unique_quantity, s.is_cancelled);
merge into order_items t using stage_items s
on t.tenant = s.tenant and t.order_id = s.order_id and t.line_no = s.line_no
when matched and (t.product_id, t.sku, t.quantity, t.price, t.size, t.color, t.brand, t.is_gift, t.original_price)
     is distinct from (s.product_id, s.sku, s.quantity, s.price, s.size, s.color, s.brand, s.is_gift,
                       s.original_price)
then update set product_id = s.product_id, sku = s.sku, quantity = s.quantity, price = s.price, size = s.size,
     color = s.color, brand = s.brand, is_gift = s.is_gift, original_price = s.original_price
when not matched then insert values (s.tenant, s.order_id, s.line_no, s.product_id, s.sku, s.quantity, s.price,
     s.size, s.color, s.brand, s.is_gift, s.original_price);
delete from order_items t using stage_orders s
where t.tenant = s.tenant and t.order_id = s.order_id and t.line_no > s.unique_quantity;
"""


def make(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(TABLES)


def load(url: str, stem: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(STAGES)
        _copy(connection, "copy stage_orders from stdin with (format csv)", f"{stem}.orders.csv")
        _copy(connection, "copy stage_items from stdin with (format csv)", f"{stem}.items.csv")
        connection.execute(WRITES)


def _copy(connection: psycopg.Connection, statement: LiteralString, path: str) -> None:
    with open(path, "rb") as rows, connection.cursor().copy(statement) as copy:
        while block := rows.read(BLOCK):
            copy.write(block)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        load(sys.argv[2], sys.argv[3])
