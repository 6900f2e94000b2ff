"""`sync-pipelines explain`: what it prints, masked by default, and errors in one sentence."""

from __future__ import annotations

import pytest

from sync_pipelines.configuration.settings import Settings
from sync_pipelines_tests.commands.calling import Call
from sync_pipelines_tests.loading import TENANT, Site, order


@pytest.fixture
def filled(site: Site) -> Site:
    site.load("2024-03-01.json", [order("A", Email="maria@x.cl", TotalQuantity=1)])
    site.load("2024-03-02.json", [order("A", TotalQuantity=2)])
    return site


def test_it_prints_records_and_the_row(filled: Site, call: Call) -> None:
    done = call("explain", "orders", TENANT, "A")
    assert done.status == 0 and "2 records of replenit/orders" in done.out
    assert "total_quantity: 2" in done.out and "The row now:" in done.out
    column = call("explain", "orders", TENANT, "A", "total_quantity", "--at", "2024-03-01").out
    assert "The row at 2024-03-01 23:59:59" in column and "2024-03-02" not in column


def test_personal_values_are_masked_unless_asked_for(filled: Site, call: Call, settings: Settings) -> None:
    for arguments in (["A"], ["A", "email"], ["A", "--json"]):
        done = call("explain", "orders", TENANT, *arguments)
        assert "m***@x.cl" in done.out and "maria" not in done.out
    assert not (settings.logs / "unmasked.log").exists()
    assert "maria@x.cl" in call("explain", "orders", TENANT, "A", "email", "--unmasked").out
    assert '"explain"' in (settings.logs / "unmasked.log").read_text()


def test_why_a_record_was_rejected_names_the_field_once_and_is_masked_unless_asked_for(
    filled: Site, call: Call
) -> None:
    filled.load("2024-03-03.json", [order("B"), order("A", Email="maria", TotalQuantity="maria@x.cl")])
    masked = call("explain", "orders", TENANT, "A").out
    assert "rejected" in masked and masked.count("TotalQuantity") == 1 and "maria@x.cl" not in masked
    assert "maria@x.cl" in call("explain", "orders", TENANT, "A", "--unmasked").out.split("rejected")[1]


def test_a_row_that_no_record_defines_is_said_to_be_one(filled: Site, call: Call) -> None:
    shown = call("explain", "customers", TENANT, "maria@x.cl").out
    assert shown.startswith("No record has this key.\norders A refers to it") and "is_placeholder" in shown


def test_a_row_that_was_written_by_hand_is_not_unknown(filled: Site, call: Call) -> None:
    with filled.database.connect() as connection:
        connection.execute("update sync.orders set external_id = 'HAND'")
    done = call("explain", "orders", TENANT, "HAND")
    assert done.status == 2 and "orders has a row with the key 'HAND', but no record in the archive has it" in done.err


def test_json_has_every_record(filled: Site, call: Call) -> None:
    found = call("explain", "orders", TENANT, "A", "total_quantity", "--json").json
    assert [(r["said"], r["value"], r["row"]) for r in found["records"]] == [("value", 1, 1), ("value", 2, 2)]
    assert found["records"][0]["overridden_by"].endswith("2024-03-02.json at 1")
    assert found["rows"] == [{"external_id": "A", "total_quantity": 2}]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ordrs", TENANT, "A"], "did you mean orders?"),
        (["orders", "nobody", "A"], "no tenant 'nobody'"),
        (["orders", TENANT, "B"], "no record and no row of orders has the key 'B'"),
        (["orders", TENANT, "A", "quantity"], "unknown column 'quantity'"),
        (["orders", TENANT, "A", "--partner", "nilo"], "'nilo' is no partner with orders"),
        (["orders", TENANT, "A", "--at", "2024-02-01"], "there is no record of 'A' until"),
        (["orders", TENANT, "A", "--at", "soon"], "is not a date"),
        (["orders", TENANT, ""], "has the key ''"),
        (["orders", TENANT, "A\x00"], "has the key"),
    ],
)
def test_wrong_names_are_one_sentence(filled: Site, call: Call, arguments: list[str], says: str) -> None:
    done = call("explain", *arguments)
    assert (done.status, done.out) == (2, "")
    assert says in done.err and "Traceback" not in done.err
