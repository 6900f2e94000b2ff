"""What those who build on the tables find: comments on everything, views of live rows and of placeholders, indexes."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from alembic import command
from alembic.config import Config

from sync_pipelines.database.comments import described_relations
from sync_pipelines.database.postgres import MIGRATIONS, Database, migrate
from sync_pipelines.tables.schema import MAIN_TABLES, metadata
from sync_pipelines_tests.loading import TENANT, Site, call, lines, order

COMMENTS = """
select c.relname::text, a.attname::text,
  case when a.attnum is null then obj_description(c.oid, 'pg_class') else col_description(c.oid, a.attnum) end
from pg_class c left join (
  select attrelid, attnum, attname from pg_attribute where attnum > 0 and not attisdropped
  union all select oid, null, null from pg_class
) a on a.attrelid = c.oid
where c.relnamespace = 'sync'::regnamespace and c.relkind in ('r', 'v')
"""


def comments_of(database: Database) -> dict[tuple[str, str | None], str | None]:
    """(table or view, column or None) -> its comment."""
    with database.connect() as connection:
        return {(name, column): text for name, column, text in connection.execute(COMMENTS)}


def migrate_to(database: Database, revision: str) -> None:
    """As a version that knew no later revision did."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.engine().begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_every_table_view_and_column_has_a_comment(database: Database, bare_database: Database) -> None:
    fresh = comments_of(database)
    assert [place for place, text in fresh.items() if not text] == []
    assert {name for name, _ in fresh} == {*described_relations(), "alembic_version"}
    declared = {(table.name, column.name) for table in metadata.tables.values() for column in table.columns}
    assert declared <= fresh.keys()
    assert "Filled from reten/commerces `tax_id`." in str(fresh["live_commerces", "tax_id"])
    migrate_to(bare_database, "0008")
    with bare_database.connect() as connection:
        # What a user made of the tables stays and keeps nothing from being upgraded.
        connection.execute("create view sync.mine as select id from sync.live_orders")
        connection.execute("alter table sync.orders add column theirs int")
        connection.execute(
            "insert into sync.customers (tenant, partner, external_id, is_placeholder) values"
            " ('t', 'replenit', 'ana@x.cl', true), ('t', 'replenit', '17', true), ('t', 'traede', 'b@x.cl', true)"
        )
    migrate(bare_database)
    migrated = {place: text for place, text in comments_of(bare_database).items() if text}
    assert migrated == fresh
    with bare_database.connect() as connection:
        emails = connection.execute("select external_id, email from sync.referred_customers order by id").fetchall()
    assert emails == [("ana@x.cl", "ana@x.cl"), ("17", None), ("b@x.cl", None)]


def test_what_is_asked_by_time_has_an_index(database: Database) -> None:
    with database.connect() as connection:
        found = connection.execute("select indexdef from pg_indexes where schemaname = 'sync'").fetchall()
    indexes = " ".join(definition for (definition,) in found)
    assert "ON sync.orders USING btree (ordered_at)" in indexes
    assert all(f"ON sync.{table.name} USING " in indexes for table in MAIN_TABLES)
    assert indexes.count("(updated_at)") == len(MAIN_TABLES)


def test_live_views_show_what_is_defined_and_referred_views_the_rest(site: Site) -> None:
    site.sources({"customer_identifier": "email"})
    items = [{"ProductId": "P", "Sku": "S", "Quantity": 2, "Price": "1.50"}] * 2
    ordered = {"OrderDate": "2024-01-01T10:00:00Z", "Email": "Ana@X.cl", "OrderItems": items}
    site.load(
        "2024-01-01.json",
        [
            order("A", **ordered, TotalRevenue="7.00"),
            order("B", **ordered, TotalRevenue="6.00", IsOrderCancelled=True),
            {"OrderId": "C", "Currency": "CLP", "OrderItems": items},
            order("D", **ordered, TotalRevenue="6.00"),
        ],
    )
    site.load("2024-01-02.ndjson", lines(call("2024-01-02T00:00:00Z", "DELETE", f"/orders/{TENANT}/D")))
    assert site.query("select external_id from sync.live_customers") == []
    assert site.query("select external_id, email, name from sync.referred_customers") == [
        {"external_id": "ana@x.cl", "email": "ana@x.cl", "name": None}
    ]
    items_found = site.query(
        "select order_external_id, line_no, price, currency, ordered_at, partner from sync.live_order_items"
        " where order_external_id = 'A' order by line_no"
    )
    at = datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert [tuple(line.values()) for line in items_found] == [
        ("A", n, Decimal("1.50"), "USD", at, "replenit") for n in (1, 2)
    ]
    assert {row["order_external_id"] for row in site.query("select * from sync.live_order_items")} == {"A", "B", "C"}
    revenue = site.query("select external_id, total_revenue, items_total from sync.order_revenue")
    assert revenue == [{"external_id": "A", "total_revenue": Decimal("7.00"), "items_total": Decimal("6.00")}]


def test_children_have_their_parents_keys(site: Site) -> None:
    contact = {"contact_type": "EMAIL", "value": "a@x.cl"}
    user = {"external_id": "u1", "contacts": [contact]}
    address = {"address_alias": "Casa", "city": "Lima"}
    site.load_at(
        "reten/acme/commerces/2024-01-01.json",
        {"items": [{"external_id": "c1", "name": "C", "addresses": [address], "users": [user]}]},
    )
    store = {"internalCode": "s1", "users": ["u"], "addresses": [{"address": "A", "zipCode": "1"}]}
    store |= {"name": "S", "legalName": "L", "legalId": "1"}
    waiting = call("2024-01-02T00:00:00Z", "PUT", "/store/s2/add/user", {"users": ["u"]})
    site.load_at("nilo/acme/stores/2024-01-01.json", [store])
    site.load_at("nilo/acme/stores/2024-01-02.ndjson", lines(waiting))
    place = {"title": "T", "name": "N", "address": "A", "zip": "1", "city": "C", "country": "CL"}
    mode = {"addresses_sync_mode": "replace", "addresses_sync_key": "address_title"}
    site.load_at(
        "traede/acme/customers/2024-01-01.json",
        {"customers": [{"customer_number": "7", "name": "N", "currency": "CLP", "addresses": [place], **mode}]},
    )
    expected = {
        "live_commerce_addresses": ("commerce_external_id", "c1"),
        "live_commerce_users": ("commerce_external_id", "c1"),
        "live_commerce_user_contacts": ("commerce_external_id", "c1"),
        "live_store_addresses": ("store_external_id", "s1"),
        "live_store_users": ("store_external_id", "s1"),
        "live_customer_addresses": ("customer_external_id", "7"),
    }
    for view, (column, key) in expected.items():
        assert [row[column] for row in site.query(f"select * from sync.{view}")] == [key], view
    (found,) = site.query("select commerce_user_external_id, tenant, partner from sync.live_commerce_user_contacts")
    assert tuple(found.values()) == ("u1", "acme", "reten")
    assert [row["external_id"] for row in site.query("select external_id from sync.referred_stores")] == ["s2"]
