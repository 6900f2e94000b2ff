"""`sync-pipelines dbt-sources`: what it prints is YAML of dbt's shape, and holds for the tables."""

from __future__ import annotations

from typing import Any

import yaml
from click.testing import CliRunner
from psycopg import sql

from sync_pipelines.cli import cli
from sync_pipelines.tables.views import VIEWS
from sync_pipelines_tests.loading import Site, item, order


def printed() -> dict[str, dict[str, Any]]:
    """Table or view -> what is printed of it."""
    done = CliRunner().invoke(cli, ["dbt-sources"], standalone_mode=False)
    assert done.exception is None
    content = yaml.safe_load(done.stdout)
    assert (content["version"], content["sources"][0]["schema"]) == (2, "sync")
    return {table["name"]: table for table in content["sources"][0]["tables"]}


def declared_tests(table: dict[str, Any], column: str) -> list[Any]:
    (found,) = (c for c in table["columns"] if c["name"] == column)
    return list(found.get("data_tests", []))


def test_tables_and_views_have_descriptions_and_the_tests_of_their_schema() -> None:
    tables = printed()
    assert {view.name for view in VIEWS} | {"orders", "order_items", "export_files", "rejected_records"} <= set(tables)
    assert all(t["description"] and c["description"] for t in tables.values() for c in t["columns"])
    customers = {"relationships": {"to": "source('sync', 'customers')", "field": "id"}}
    assert declared_tests(tables["live_orders"], "id") == ["unique", "not_null"]
    assert declared_tests(tables["live_orders"], "customer_id") == [customers]
    assert declared_tests(tables["live_orders"], "customer_is_deleted") == []
    assert declared_tests(tables["order_revenue"], "order_id") == ["unique", "not_null"]
    parent = {"relationships": {"to": "source('sync', 'orders')", "field": "id"}}
    assert declared_tests(tables["live_order_items"], "order_id") == ["not_null", parent]
    assert declared_tests(tables["live_order_items"], "tenant") == ["not_null"]
    statuses = {"accepted_values": {"values": ["open", "resolved", "superseded", "withdrawn"]}}
    assert declared_tests(tables["rejected_records"], "status") == ["not_null", statuses]
    contacts = {"accepted_values": {"values": ["PHONE", "EMAIL", "WHATSAPP", "OTHER"]}}
    assert declared_tests(tables["commerce_user_contacts"], "contact_type") == [contacts]


def test_its_tests_hold_for_what_is_loaded(site: Site) -> None:
    site.load("2024-01-01.json", [order("A", Email="ana@x.cl", OrderItems=[item()]), order("B"), {"OrderId": "C"}])
    contact = {"contact_type": "email", "value": "a@x.cl"}
    commerce = {"external_id": "c1", "name": "C", "users": [{"external_id": "u1", "contacts": [contact]}]}
    site.load_at("reten/acme/commerces/2024-01-01.json", {"items": [commerce]})
    with site.database.connect() as connection:
        for name, table in printed().items():
            for column in table["columns"]:
                names = {"t": sql.Identifier("sync", name), "c": sql.Identifier(column["name"])}
                connection.execute(sql.SQL("select {c} from {t}").format(**names))
                for test in column.get("data_tests", []):
                    found = connection.execute(failing(test).format(**names)).fetchall()
                    assert found == [], (name, column["name"], test)


def failing(test: Any) -> sql.SQL:
    """The rows that break one of dbt's tests."""
    match test:
        case "unique":
            return sql.SQL("select {c} from {t} where {c} is not null group by 1 having count(*) > 1")
        case "not_null":
            return sql.SQL("select 1 from {t} where {c} is null")
        case {"relationships": {"to": target, "field": "id"}}:
            parent = target.split("'")[3]
            return sql.SQL(
                f"select {{c}} from {{t}} where {{c}} is not null and {{c}} not in (select id from sync.{parent})"
            )
        case {"accepted_values": {"values": values}}:
            listed = ", ".join(f"'{value}'" for value in values)
            return sql.SQL(f"select {{c}} from {{t}} where {{c}} not in ({listed})")
    raise AssertionError(test)
