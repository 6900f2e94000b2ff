"""First loads of many rows: tables end with the constraints and indexes they had, whatever comes between."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg import errors

from sync_pipelines.database import ledger
from sync_pipelines.sample_data.bulk_streams import bulk_records
from sync_pipelines.stages.export_stages import discover, load_export
from sync_pipelines.upsert import new_rows
from sync_pipelines_tests.loading import OTHER_TENANT, TENANT, Site, item, lines, order, outcomes

MANY = 20
ORDERS = [order(f"K{n}", Email=f"c{n % 7}@x.cl", OrderItems=[item("p"), item("q")]) for n in range(60)]
TRAEDE = {"customer_number": "1", "name": "K", "currency": "DKK"}
FILLED = ("orders", "order_items")
STREAMS = {
    "nilo/stores": ("stores", "store_addresses", "store_users"),
    "reten/commerces": ("commerces", "commerce_addresses", "commerce_users", "commerce_user_contacts"),
    "traede/customers": ("customers", "customer_addresses"),
    "pocketflows/businesses": ("commerces",),
    "pocketflows/customers": ("customers", "commerces"),
}
"""Which tables of a stream are filled without indexes."""


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_rows, "MANY", MANY)
    monkeypatch.setattr(new_rows, "CHUNK", 16)


def execute(site: Site, *statements: str) -> None:
    with site.database.connect(autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def catalog(site: Site) -> list[Any]:
    """Every constraint, index and default by name, and what it is."""
    constraints = site.query(
        "select conrelid::regclass::text as of, conname as name, pg_get_constraintdef(oid) as is, convalidated as good"
        " from pg_constraint where connamespace = 'sync'::regnamespace order by 1, 2"
    )
    indexes = site.query(
        "select tablename as of, indexname as name, indexdef as is, indisvalid and indisready as good from pg_indexes"
        " join pg_index on indexrelid = (quote_ident(schemaname) || '.' || quote_ident(indexname))::regclass"
        " where schemaname = 'sync' order by 1, 2"
    )
    defaults = site.query(
        "select adrelid::regclass::text as of, attname as name, pg_get_expr(adbin, adrelid) as is, true as good"
        " from pg_attrdef join pg_attribute on attrelid = adrelid and attnum = adnum"
        " join pg_class c on c.oid = adrelid where relnamespace = 'sync'::regnamespace order by 1, 2"
    )
    return constraints + indexes + defaults


def numbers(site: Site, tables: tuple[str, ...] = FILLED) -> dict[str, int]:
    """The number of each index, another one once it was made anew."""
    found = site.query(
        "select i.relname, i.oid from pg_index x join pg_class i on i.oid = x.indexrelid"
        " join pg_class t on t.oid = x.indrelid"
        " where t.relnamespace = 'sync'::regnamespace and t.relname = any(%s)",
        [list(tables)],
    )
    return {row["relname"]: row["oid"] for row in found}


@contextmanager
def indexes_stay(site: Site) -> Iterator[None]:
    """The load within the block works with the indexes in place."""
    before, was = numbers(site), catalog(site)
    yield
    assert numbers(site) == before and catalog(site) == was


def assert_loaded(site: Site, fresh_site: Callable[[], Site], *others: str) -> None:
    """The tables hold what a load that took nothing off leaves there."""
    found = site.tables()
    assert len(found["orders"]) == len(ORDERS) + len(others)
    assert {key for _, _, key in found["orders"]} == {*others, *(o["OrderId"] for o in ORDERS)}
    clean = fresh_site()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_rows, "MANY", 10**9)
        clean.load("2024-05-02.json", ORDERS)
    expected = clean.tables()
    mine = {key: row for key, row in found["orders"].items() if key[2] not in others}
    assert mine == expected["orders"] and expected["customers"].items() <= found["customers"].items()


def test_the_catalog_is_the_same_after_a_first_load(site: Site, fresh_site: Callable[[], Site]) -> None:
    before, was = catalog(site), numbers(site)
    entry = site.load("2024-05-02.json", ORDERS)
    assert outcomes(entry) == {"created": 60}
    assert catalog(site) == before
    now = numbers(site)
    assert now.keys() == was.keys() and all(now[name] != was[name] for name in was), "each was made anew"
    assert numbers(site, ("customers",)), "customers keep theirs"
    with indexes_stay(site):
        assert outcomes(site.load("2024-05-03.json", [order(f"N{n}") for n in range(60)])) == {"created": 60}
    assert_loaded(site, fresh_site, *(f"N{n}" for n in range(60)))


@pytest.mark.parametrize("stream", list(STREAMS))
def test_the_catalog_is_the_same_after_a_first_load_of_other_streams(site: Site, stream: str) -> None:
    before, filled = catalog(site), STREAMS[stream]
    everywhere = ("stores", "store_addresses", "store_users", "commerces", "commerce_addresses", "commerce_users",
                  "commerce_user_contacts", "customers", "customer_addresses")  # fmt: skip
    was = numbers(site, everywhere)
    partner, _, name = stream.partition("/")
    entry = site.load_at(f"{partner}/acme/{name}/2024-05-01.ndjson", lines(*bulk_records(stream, 40)))
    assert outcomes(entry) == {"created": 40}
    assert catalog(site) == before
    now = numbers(site, everywhere)
    anew = {name for name in was if now[name] != was[name]}
    assert anew == numbers(site, filled).keys()


@pytest.mark.parametrize("default", [None, "orders", "customers"])
@pytest.mark.parametrize("are_there", [False, True])
def test_rows_name_their_tenant_file_and_run(site: Site, default: str | None, are_there: bool) -> None:
    if are_there:
        site.load_at("traede/acme/customers/2024-05-01.json", {"customers": [TRAEDE]})
    if default:
        execute(site, f"alter table sync.{default} alter column run_id set default 'by hand'")
    site.put("2024-05-02.json", ORDERS)
    workspace = site.workspace()
    (entry,) = discover(workspace).pending
    assert load_export(workspace, entry.id, "run-1").status == "loaded"
    for table, count in (("orders", 60), ("customers", 7)):
        rows = site.query(
            f"select tenant, partner, source_file, run_id, count(*) as rows from sync.{table}"
            " where partner = 'replenit' group by 1, 2, 3, 4"
        )
        told = {"tenant": TENANT, "partner": "replenit", "source_file": entry.path, "run_id": "run-1", "rows": count}
        assert rows == [told]


COMMERCES = ("commerces", "commerce_addresses", "commerce_users", "commerce_user_contacts")


@pytest.mark.parametrize("what", ["rows", "a reader", "nothing"])
def test_what_is_in_a_table_that_refers_to_them(site: Site, what: str) -> None:
    """Customers refer to commerces: with any there, their foreign key would have to be held against all of them."""
    if what == "rows":
        site.load_at("traede/acme/customers/2024-05-01.json", {"customers": [TRAEDE]})
    before, was = catalog(site), numbers(site, COMMERCES)
    with site.database.connect() as reader:
        if what == "a reader":
            reader.execute("select count(*) from sync.customers")
        entry = site.load_at("reten/acme/commerces/2024-05-01.ndjson", lines(*bulk_records("reten/commerces", 40)))
    assert outcomes(entry) == {"created": 40}
    assert catalog(site) == before
    assert (numbers(site, COMMERCES) == was) == (what != "nothing")
    with site.database.connect(autocommit=True) as connection, pytest.raises(errors.ForeignKeyViolation):
        connection.execute("insert into sync.customers (tenant, partner, commerce_id) values ('acme', 'traede', -1)")


def test_fewer_records_keep_the_indexes(site: Site) -> None:
    with indexes_stay(site):
        site.load("2024-05-02.json", ORDERS[: MANY - 1])


def test_keys_and_references_hold_afterwards(site: Site) -> None:
    site.load("2024-05-02.json", ORDERS)
    with site.database.connect(autocommit=True) as connection:
        with pytest.raises(errors.ForeignKeyViolation):
            connection.execute("update sync.orders set customer_id = -1")
        with pytest.raises(errors.UniqueViolation):
            connection.execute("update sync.orders set external_id = 'K0' where external_id = 'K1'")
        with pytest.raises(errors.UniqueViolation):
            connection.execute("update sync.order_items set line_no = 1")
        with pytest.raises(errors.ForeignKeyViolation):
            connection.execute("delete from sync.customers")


@pytest.mark.parametrize("table", ["sync.orders", "sync.order_items", "sync.customers"])
def test_a_reader_is_not_waited_for(site: Site, fresh_site: Callable[[], Site], table: str) -> None:
    with site.database.connect() as reader, indexes_stay(site):
        reader.execute(f"select count(*) from {table}")
        assert outcomes(site.load("2024-05-02.json", ORDERS)) == {"created": 60}
        reader.rollback()
    assert_loaded(site, fresh_site)


DEPENDENTS = {
    "a view": ("create view public.mine as select id, email from sync.orders group by id", "drop view public.mine"),
    "a foreign key": (
        "create table public.notes (order_id bigint references sync.orders, note text)",
        "drop table public.notes",
    ),
}


@pytest.mark.parametrize("what", list(DEPENDENTS))
def test_what_a_user_built_on_a_key_stays(site: Site, fresh_site: Callable[[], Site], what: str) -> None:
    made, dropped = DEPENDENTS[what]
    execute(site, made)
    with indexes_stay(site):
        site.load("2024-05-02.json", ORDERS)
    execute(site, dropped)
    assert_loaded(site, fresh_site)


def test_another_tenants_rows_are_not_locked(site: Site, fresh_site: Callable[[], Site]) -> None:
    site.sources(others={OTHER_TENANT: {}})
    site.load("2024-05-01.json", [order("other")], tenant=OTHER_TENANT)
    with indexes_stay(site):
        assert outcomes(site.load("2024-05-02.json", ORDERS)) == {"created": 60}
    assert_loaded(site, fresh_site, "other")


def test_customers_that_are_there_keep_the_reference_to_them(site: Site, fresh_site: Callable[[], Site]) -> None:
    customers = [{"customer_number": f"{n}", "name": "K", "currency": "DKK"} for n in range(3)]
    site.load_at("traede/acme/customers/2024-05-01.json", {"customers": customers})
    before = catalog(site)
    reference = "select oid from pg_constraint where conname = 'orders_customer_id_fkey'"
    was = site.query(reference), numbers(site)["orders_pkey"]
    site.load("2024-05-02.json", ORDERS)
    assert catalog(site) == before
    assert site.query(reference) == was[0] and numbers(site)["orders_pkey"] != was[1]
    assert_loaded(site, fresh_site)


def test_a_load_that_fails_midway_leaves_everything_as_it_was(site: Site, fresh_site: Callable[[], Site]) -> None:
    execute(
        site,
        "create function public.refuse() returns trigger language plpgsql as $$begin raise exception 'no more'; end$$",
        "create trigger refused before insert on sync.order_items for each row when (new.product_id = 'bad')"
        " execute function public.refuse()",
    )
    with indexes_stay(site):
        failed = site.load("2024-05-02.json", [*ORDERS, order("Z", OrderItems=[item("bad")])])
        assert failed.status == "failed"
        assert site.tables()["orders"] == {} and site.customers() == []
    execute(site, "drop trigger refused on sync.order_items", "drop function public.refuse")
    assert [entry.status for entry in site.sync()] == ["loaded"]
    assert len(site.tables()["orders"]) == 61


@pytest.mark.parametrize(
    "index",
    [
        """create index "Mine, ""50%"" {0}" on sync.orders (lower(email)) where extra is distinct from '{}'::jsonb""",
        "create unique index mine on sync.orders (tenant, external_id) include (email) with (fillfactor = 70)",
        "create index mine on sync.orders using gin (extra jsonb_path_ops) where email like '%x%'",
        "alter table sync.orders add constraint mine unique (tenant, partner, external_id) deferrable",
        "alter table sync.orders add constraint mine foreign key (customer_id) references sync.customers not valid",
        "alter table sync.orders alter column run_id set default 'by hand'",
        "alter table sync.customers alter column source_file set default 'by hand'",
    ],
)
def test_what_a_user_added_is_put_back_as_it_was(site: Site, fresh_site: Callable[[], Site], index: str) -> None:
    execute(site, index)
    before = catalog(site)
    assert site.load("2024-05-02.json", ORDERS).error is None
    assert catalog(site) == before
    execute(site, "alter table sync.orders drop constraint if exists mine")
    assert_loaded(site, fresh_site)


def test_checks_that_a_user_defers_are_made(site: Site, fresh_site: Callable[[], Site]) -> None:
    execute(
        site,
        "create table public.currencies (code text primary key)",
        "insert into public.currencies values ('USD')",
        "alter table sync.orders add constraint known foreign key (currency) references public.currencies"
        " deferrable initially deferred",
    )
    before = catalog(site)
    assert site.load("2024-05-02.json", ORDERS).error is None
    assert catalog(site) == before
    assert site.load("2024-05-03.json", [order("Z", Currency="EUR")]).status == "failed"
    execute(site, "alter table sync.orders drop constraint known", "drop table public.currencies")


MORE_THAN_A_DEFINITION = {
    "what replication tells rows by": "alter table sync.orders replica identity using index orders_pkey",
    "the order of rows": "alter table sync.order_items cluster on order_items_pkey",
    "what is said of an index": "comment on index sync.orders_record_id_idx is 'ours'",
    "what is said of a key": "comment on constraint orders_customer_id_fkey on sync.orders is 'ours'",
}


@pytest.mark.parametrize("what", list(MORE_THAN_A_DEFINITION))
def test_what_a_definition_does_not_tell_stays(site: Site, fresh_site: Callable[[], Site], what: str) -> None:
    execute(site, MORE_THAN_A_DEFINITION[what])
    with indexes_stay(site):
        site.load("2024-05-02.json", ORDERS)
    assert_loaded(site, fresh_site)


@pytest.mark.parametrize("seed", range(4))
def test_first_loads_of_two_tenants_at_once(site: Site, seed: int) -> None:
    rng = random.Random(seed)
    site.sources(others={OTHER_TENANT: {}})
    for tenant in (TENANT, OTHER_TENANT):
        site.put("2024-05-02.json", rng.sample(ORDERS, 50), tenant=tenant)
    workspace, before = site.workspace(), catalog(site)
    entries = discover(workspace).pending
    together, done = threading.Barrier(2), list[ledger.LedgerFile]()

    def load(entry: ledger.LedgerFile) -> None:
        together.wait()
        done.append(load_export(workspace, entry.id))

    threads = [threading.Thread(target=load, args=[entry], daemon=True) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [(entry.status, entry.error) for entry in done] == [("loaded", None)] * 2
    assert [outcomes(entry) for entry in done] == [{"created": 50}] * 2
    assert catalog(site) == before
    (met,) = site.query("select deadlocks from pg_stat_database where datname = current_database()")
    assert met["deadlocks"] == 0
    assert len(site.tables()["orders"]) == 100


@pytest.mark.parametrize("without_keys", [False, True])
def test_what_was_filled_is_known_to_the_planner(site: Site, without_keys: bool) -> None:
    if without_keys:
        execute(site, "alter table sync.order_items drop constraint order_items_pkey")
    assert outcomes(site.load("2024-05-01.json", lines(*ORDERS))) == {"created": len(ORDERS)}
    counted = site.query("select relname, reltuples from pg_class where oid = any(%s::regclass[])", [
        [f"sync.{table}" for table in FILLED]
    ])  # fmt: skip
    assert {row["relname"]: row["reltuples"] for row in counted} == {"orders": 60, "order_items": 120}
    found = site.query("select tablename, attname from pg_stats where schemaname = 'sync'")
    looked_at = {(row["tablename"], row["attname"]) for row in found}
    assert {("orders", "tenant"), ("orders", "external_id"), ("order_items", "order_id")} <= looked_at
    assert ("orders", "currency") not in looked_at
