"""A person erased from tables, archive, rejects and logs, and erased staying erased."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from sync_pipelines.privacy.person_terms import Person
from sync_pipelines.stages.erase import Done, erase, look, plan_erasure
from sync_pipelines.stages.replay import read_again
from sync_pipelines_tests.loading import TENANT, Site, item, lines, order

BY_ID = {"customer_identifier": "customer_id"}
ANA, EMAIL = "CUST-0001", "Ana.Rojas@Example.cl"


def erased(site: Site, person: Person) -> Done:
    workspace = site.workspace()
    plan = plan_erasure(workspace, person, "asked", "me")
    done = erase(workspace, plan, look(workspace, plan))
    assert done.errors == []
    after = look(workspace, plan)
    assert dict(after.places) == {}
    return done


def of_replenit(**more: Any) -> Person:
    return Person("replenit", TENANT, **{"customer": ANA, "also_email": EMAIL, **more})


def orders() -> list[dict[str, Any]]:
    return [
        order("A", CustomerId=ANA, Email=EMAIL, OrderItems=[item()]),
        order("B", CustomerId="CUST-00011", Email="other@example.cl", OrderItems=[item(), item("P2")]),
        order("C", CustomerId="CUST-0002", Email=EMAIL.upper(), note="x"),
    ]


FORMS: dict[str, Callable[[], bytes]] = {
    "2024-01-01.jsonl": lambda: lines(*orders()).encode(),
    "2024-01-01.json": lambda: json.dumps(orders(), indent=1).encode(),
    "2024-01-01.jsonl.gz": lambda: gzip.compress(lines(*orders()).encode()),
    "2024-01-01.csv": lambda: (
        "OrderId,Currency,CustomerId,Email,ProductId,Sku,Quantity,Price\n"
        f"A,USD,{ANA},{EMAIL},P,S,1,1\nB,USD,CUST-00011,other@example.cl,P,S,1,1\n"
        f"B,USD,CUST-00011,other@example.cl,P2,S,1,1\nC,USD,,,P,S,1,1\nC,USD,CUST-0002,{EMAIL.upper()},P2,S,1,1\n"
    ).encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_an_erased_customer_is_nowhere_and_stays_away(site: Site, fresh_site: Callable[[], Site], name: str) -> None:
    site.sources(BY_ID)
    site.load(name, FORMS[name]())
    assert set(site.tables()["orders"]) == {(TENANT, "replenit", k) for k in "ABC"}

    done = erased(site, of_replenit())

    assert done.raw_rewritten and not done.raw_dropped
    assert [key for *_, key in site.tables()["orders"]] == ["B"]
    again(site)
    assert [key for *_, key in site.tables()["orders"]] == ["B"]
    assert [c[0][2] for c in site.customers()] == ["CUST-00011"]


def again(site: Site) -> None:
    workspace = site.workspace()
    for entry in site.ledger():
        result = read_again(workspace, entry, whole=True)
        assert result.error is None


def test_a_new_export_with_the_person_is_loaded_without(site: Site) -> None:
    site.sources(BY_ID)
    site.load("2024-01-01.jsonl", lines(*orders()))
    erased(site, of_replenit())

    entry = site.load("2024-01-02.jsonl", lines(*orders(), order("D")))

    assert (entry.status, entry.leniencies["subject_erased"], entry.read) == ("loaded", 2, 2)
    assert [key for *_, key in site.tables()["orders"]] == ["B", "D"]
    workspace = site.workspace()
    found = look(workspace, plan_erasure(workspace, of_replenit(), "", ""))
    assert dict(found.places) == {}
    assert found.landing
