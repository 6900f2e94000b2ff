"""Ids that are remembered from chunk to chunk are those that are asked for anew each time (X7)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sync_pipelines.upsert import new_rows, references
from sync_pipelines.upsert.copying import Ids
from sync_pipelines.upsert.references import ReferenceIds
from sync_pipelines_tests.loading import OTHER_TENANT, TENANT, Site, lines, order, outcomes

EMAILS = [f"c{n}@x.cl" for n in range(24)]
LINKED = {"customer_identifier": "customer_id", "customers_of": {"partner": "traede", "tenant": "acme"}}
Load = Callable[[Site], None]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_rows, "CHUNK", 8)
    monkeypatch.setattr("sync_pipelines.kept.kept_records.BLOCK", 8)
    monkeypatch.setattr("sync_pipelines.kept.record_groups.BLOCK", 8)
    monkeypatch.setattr("sync_pipelines.kept.object_writer.PACKED", 0)
    monkeypatch.setattr("sync_pipelines.kept.kept_writer.BLOCK", 8)


def orders(seed: int, **fields: Any) -> list[dict[str, Any]]:
    """Orders of customers that come again and again, or are named by none."""
    rng = random.Random(seed)
    named = [*EMAILS, None]
    return [
        order(f"{seed}-{n}", Email=rng.choice(named), CustomerId=f"{rng.randint(1, 9)}", **fields) for n in range(90)
    ]


def by_email(site: Site) -> None:
    site.load("2024-05-01.json", [order("known", Email=EMAILS[3]), order("also", Email=EMAILS[4])])
    assert outcomes(site.load("2024-05-02.json", orders(1)))["created"] == 90
    site.load("2024-05-03.ndjson", lines(*orders(2), *orders(1)[:30]))


def of_another_partner(site: Site) -> None:
    site.sources(LINKED, TENANT, {OTHER_TENANT: {"customer_identifier": "customer_id"}})
    customers = [{"customer_number": f"{n}", "name": "K", "currency": "DKK"} for n in (2, 3, 5)]
    site.load_at("traede/acme/customers/2024-05-01.json", {"customers": customers})
    for tenant in (TENANT, OTHER_TENANT):
        site.load("2024-05-02.json", orders(3), tenant=tenant)


@pytest.mark.parametrize("load", [by_email, of_another_partner])
def test_ids_are_the_same_however_many_are_remembered(
    fresh_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch, load: Load
) -> None:
    clean = fresh_site()
    load(clean)
    expected = clean.tables()
    assert sum(row["customer_id"] is not None for row in expected["orders"].values()) > 80
    for remembered in (0, 1, 5):
        monkeypatch.setattr(references, "_CACHED", remembered)
        site = fresh_site()
        load(site)
        assert site.tables() == expected


@pytest.mark.parametrize(("remembered", "is_once"), [(200_000, True), (0, False)])
def test_a_row_is_asked_for_once_while_it_is_remembered(
    site: Site, monkeypatch: pytest.MonkeyPatch, remembered: int, is_once: bool
) -> None:
    asked: Counter[str] = Counter()
    ask = ReferenceIds._looked_up

    def noted(self: ReferenceIds, reference: Any, column: str, named: Any, records: Any) -> Ids:
        asked.update(named["key"].to_pylist())
        return ask(self, reference, column, named, records)

    monkeypatch.setattr(references, "_CACHED", remembered)
    monkeypatch.setattr(ReferenceIds, "_looked_up", noted)
    site.load("2024-05-02.json", orders(1))
    assert {key[2] for key, _ in site.customers()} == set(asked)
    assert (set(asked.values()) == {1}) == is_once
