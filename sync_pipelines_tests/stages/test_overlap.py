"""Two syncs of overlapping streams at once: no deadlock, nothing twice, the serial result (law 1, law 2).

Two processes sync one landing into one database at the same moment, with random pauses. Orders name customers that
Traede's exports define (O5, X7), Pocketflows' customers name businesses (P5), files come late, keys are shared.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from sync_pipelines.tables.schema import OUTCOMES
from sync_pipelines_tests.examples import rounds
from sync_pipelines_tests.loading import OTHER_TENANT, TENANT, Site, call, deleted, item, lines, order, posted
from sync_pipelines_tests.workers import Worker, worker

ROUNDS = rounds(20, at_least=4)
NUMBERS = [f"{1000 + n}" for n in range(24)]
"""Traede's customer numbers, which the orders name too."""

Story = dict[str, Any]


class Outcome(NamedTuple):
    """What a sync leaves behind, whatever the order of its files."""

    tables: Any
    refused: list[tuple[Any, ...]]
    read: dict[str, int]


def in_time() -> Story:
    """Exports of every stream: path -> content."""
    rng = random.Random(7)
    return {
        **_orders(rng),
        **_customers(rng),
        **_businesses(rng),
        "nilo/acme/stores/2024-05-01.json": {"upsert": [_store(f"s{n}", rng) for n in range(8)]},
        "nilo/acme/stores/2024-05-02.ndjson": lines(
            call("2024-05-02T10:00:00Z", "PUT", "/store/s1/add/user", {"users": ["u1", "u2"]}),
            call("2024-05-02T11:00:00Z", "POST", "/store/s90/credit", {"amount": 5}),
            call("2024-05-02T12:00:00Z", "POST", "/batch/store", {"upsert": [_store("s91", rng)], "remove": ["s2"]}),
        ),
        "reten/acme/commerces/2024-05-01.json": {"items": [_commerce(f"m{n}", rng) for n in range(8)]},
        "reten/acme/commerces/2024-05-02.json": {"items": [_commerce(f"m{n}", rng) for n in range(4, 12)]},
    }


def late() -> Story:
    """Exports that come when the others are loaded: older ones, newer ones, and other content of a known path."""
    rng = random.Random(8)
    return {
        f"replenit/{TENANT}/orders/2024-04-30.json": [_order(f"k{n}", rng) for n in range(0, 30, 2)],
        f"replenit/{TENANT}/orders/2024-05-02b.json": [_order(f"k{n}", rng) for n in range(25, 45)],
        f"replenit/{TENANT}/orders/2024-05-03.json": [_order(f"k{n}", rng) for n in range(0, 40, 3)],
        "traede/acme/customers/2024-04-30.json": {"customers": [_customer(n, rng) for n in NUMBERS[::3]]},
        "traede/acme/customers/2024-05-02.json": {"customers": [_customer(n, rng) for n in NUMBERS[::2]]},
        "pocketflows/acme/businesses/2024-05-01T12.json": [_business(n, rng) for n in range(0, 6, 2)],
        "pocketflows/acme/customers/2024-04-30.json": [_member(n, rng) for n in range(0, 12, 3)],
        "nilo/acme/stores/2024-05-01T06.json": {"upsert": [_store(f"s{n}", rng) for n in range(0, 8, 3)]},
        "reten/acme/commerces/2024-04-30.json": {"items": [_commerce(f"m{n}", rng) for n in range(0, 12, 2)]},
    }


def _orders(rng: random.Random) -> Story:
    log = [
        posted("2024-05-02T09:00:00Z", *(_order(f"k{n}", rng) for n in range(20, 28))),
        deleted("2024-05-02T10:00:00Z", "k3"),
        deleted("2024-05-02T11:00:00Z", "k21"),
        posted("2024-05-02T12:00:00Z", order("k3", CustomerId=NUMBERS[3])),
    ]
    return {
        f"replenit/{TENANT}/orders/2024-05-01.json": [_order(f"k{n}", rng) for n in range(30)] + [order("", Email="x")],
        f"replenit/{TENANT}/orders/2024-05-02.ndjson": lines(*log),
        f"replenit/{TENANT}/orders/2024-05-02b.json": [_order(f"k{n}", rng) for n in range(15, 40)],
        f"replenit/{OTHER_TENANT}/orders/2024-05-01.json": [
            order(f"k{n}", Email=f"c{n % 3}@x.y", OrderItems=[item()]) for n in range(8)
        ],
    }


def _customers(rng: random.Random) -> Story:
    known = {"customers": [_customer(number, rng) for number in (*NUMBERS[::2], "gone")]}
    patches = [{"customer_number": number, "discount_percentage": 5} for number in (*NUMBERS[::4], "nobody")]
    whole = [_customer(number, rng) for number in NUMBERS[1::2]]
    return {
        "traede/acme/customers/2024-05-01.json": known,
        "traede/acme/customers/2024-05-02.json": {"customers": [*patches, *whole]},
        "traede/acme/customers/2024-05-03.json": {"customers": [{"customer_number": "gone", "delete": True}]},
    }


def _businesses(rng: random.Random) -> Story:
    return {
        "pocketflows/acme/businesses/2024-05-01.json": [_business(n, rng) for n in range(4)],
        "pocketflows/acme/businesses/2024-05-02.json": [_business(n, rng) for n in range(2, 6)],
        "pocketflows/acme/customers/2024-05-01.json": [_member(n, rng) for n in range(12)],
        "pocketflows/acme/customers/2024-05-02.json": [_member(n, rng) for n in range(6, 18)],
    }


def _order(key: str, rng: random.Random) -> dict[str, Any]:
    items = [item(f"p{n}", Price=n) for n in range(rng.randint(0, 3))]
    return order(key, CustomerId=rng.choice(NUMBERS), TotalQuantity=rng.randint(1, 3), OrderItems=items)


def _customer(number: str, rng: random.Random) -> dict[str, Any]:
    places = [
        {"title": title, "name": "n", "address": f"a {rng.randint(1, 9)}", "zip": "1", "city": "c", "country": "DK"}
        for title in ("Primary", "Shipping")[: rng.randint(1, 2)]
    ]
    return {
        "customer_number": number, "name": f"n{rng.randint(1, 9)}", "currency": "DKK", "addresses": places,
        "addresses_sync_mode": rng.choice(["replace", "append"]), "addresses_sync_key": "address_title",
    }  # fmt: skip


def _business(n: int, rng: random.Random) -> dict[str, Any]:
    return {"id": f"i{n}", "external_id": f"b{n}", "name": f"n{rng.randint(1, 9)}"}


def _member(n: int, rng: random.Random) -> dict[str, Any]:
    return {"external_id": f"c{n}", "business_external_id": f"b{n % 8}", "full_name": f"n{rng.randint(1, 9)}"}


def _store(code: str, rng: random.Random) -> dict[str, Any]:
    return {
        "internalCode": code, "name": f"n{rng.randint(1, 9)}", "legalName": "l", "legalId": "1",
        "addresses": [{"address": f"a {rng.randint(1, 9)}", "zipCode": "1"}],
    }  # fmt: skip


def _commerce(key: str, rng: random.Random) -> dict[str, Any]:
    people = [{"external_id": f"u{n}", "name": "n", "contacts": []} for n in range(rng.randint(0, 2))]
    return {"external_id": key, "name": f"n{rng.randint(1, 9)}", "metadata": {key[-1]: 1}, "users": people}


def put(site: Site, story: Mapping[str, Any]) -> None:
    """Puts a story's exports down, with sources that link orders to Traede's customers (O5)."""
    linked = {"customer_identifier": "customer_id", "customers_of": {"partner": "traede", "tenant": "acme"}}
    site.sources(linked, TENANT, {OTHER_TENANT: {}})
    for path, content in story.items():
        site.put_at(path, content)


def outcome_of(site: Site) -> Outcome:
    """Tables without what names the last write, the refusals that stand, and what was read of each stream."""
    refused = [(r["path"], r["revision"], r["position"], r["code"]) for r in site.rejects() if r["status"] == "open"]
    read: dict[str, int] = {}
    for entry in site.ledger():
        assert entry.status == "loaded", f"{entry.path}: {entry.error}"
        assert entry.read == sum(entry.counts[name] for name in OUTCOMES)
        name = f"{entry.partner}/{entry.stream}"
        read[name] = read.get(name, 0) + entry.read
    return Outcome(site.tables(), refused, read)


def assert_no_deadlock(site: Site) -> None:
    """None was met: a load that was one's victim would have come out right on the next try."""
    (row,) = site.query("select deadlocks from pg_stat_database where datname = current_database()")
    assert row["deadlocks"] == 0


def at_once(site: Site, workers: tuple[Worker, Worker], number: int, streams: tuple[str | None, str | None]) -> None:
    """One sync in each worker, begun together."""
    for place, (hand, stream) in enumerate(zip(workers, streams, strict=True)):
        hand.begin(site, seed=2 * number + place, stream=stream, shuffles=number % 2 == 1)
    assert [hand.end() for hand in workers] == ["", ""]


@pytest.fixture(scope="module")
def workers() -> Iterator[tuple[Worker, Worker]]:
    with worker() as one, worker() as other:
        yield one, other


def test_two_syncs_of_overlapping_streams_at_once(
    fresh_site: Callable[[], Site], workers: tuple[Worker, Worker]
) -> None:
    serial = fresh_site()
    expected = []
    for story in (in_time(), late()):
        put(serial, story)
        serial.sync()
        expected.append(outcome_of(serial))
    for number in range(ROUNDS):
        site = fresh_site()
        stories = [in_time(), late()] if number % 4 < 2 else [in_time()]
        for story in stories:
            put(site, story)
            at_once(site, workers, number, (None, None))
        assert outcome_of(site) == expected[len(stories) - 1], f"round {number}"
    assert_no_deadlock(site)


def test_two_syncs_of_streams_that_write_one_table(
    fresh_site: Callable[[], Site], workers: tuple[Worker, Worker]
) -> None:
    pairs = [
        ("replenit/orders", "traede/customers"),
        ("pocketflows/customers", "pocketflows/businesses"),
    ]
    for streams in pairs:
        story = {path: content for path, content in in_time().items() if _stream_of(path) in streams}
        serial = fresh_site()
        put(serial, story)
        serial.sync()
        expected = outcome_of(serial)
        for number in range(max(2, ROUNDS // 2)):
            site = fresh_site()
            put(site, story)
            at_once(site, workers, number, streams)
            assert outcome_of(site) == expected, f"{streams}, round {number}"
    assert_no_deadlock(site)


def test_the_story_has_what_can_meet(fresh_site: Callable[[], Site]) -> None:
    site = fresh_site()
    put(site, in_time())
    site.sync()
    tables, refused, _ = outcome_of(site)
    totals = {name: sum(entry.counts[name] for entry in site.ledger()) for name in OUTCOMES}
    assert all(totals[name] for name in ("created", "updated", "deleted", "rejected"))
    assert any(row["is_placeholder"] for row in tables["commerces"].values())
    linked = {row["customer_id"] for row in tables["orders"].values()}
    assert {("acme", "traede", number) for number in NUMBERS[:4]} & linked
    assert ("acme", "traede", "nobody") not in tables["customers"]
    assert any(code == "required" for *_, code in refused)


def _stream_of(path: str) -> str:
    partner, _, stream, _ = path.split("/", 3)
    return f"{partner}/{stream}"
