"""The sample's commerces, stores, businesses and customers: every documented shape, one world, dirt on purpose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.partners import STREAMS, nilo, pocketflows, reten, traede
from sync_pipelines.sample_data import SampleSummary, write_sample
from sync_pipelines_tests.sample_data.test_sample import Record, read_back, read_kind

MASTERS = [stream for stream in STREAMS if stream.partner != "replenit"]
of_masters = pytest.mark.parametrize("stream", MASTERS, ids=lambda stream: stream.full_name)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_sample(tmp_path_factory.mktemp("sample"), days=12, orders=300)


def of_stream(sample: SampleSummary, stream: Stream, *kinds: str) -> dict[str, Any]:
    files = read_kind(sample, *kinds, partner=stream.partner)
    return {path: content for path, content in files.items() if path.split("/")[2] == stream.name}


def calls(sample: SampleSummary, stream: Stream) -> list[Record]:
    return [call for log in of_stream(sample, stream, "log").values() for call in log]


def records(sample: SampleSummary, stream: Stream) -> Iterator[Record]:
    """Plain records and those in bodies of the regular files."""
    for content in of_stream(sample, stream, "daily", "late").values():
        yield from body_of(content) if isinstance(content, dict) else content


def body_of(document: Record) -> list[Record]:
    (body,) = (value for name, value in document.items() if name != "code")
    assert isinstance(body, list)
    return body


# Shapes


@of_masters
def test_each_documented_shape_occurs(sample: SampleSummary, stream: Stream) -> None:
    daily = of_stream(sample, stream, "daily")
    suffixes = {path.rpartition("/")[2].partition(".")[2].split(".")[0] for path in daily}
    assert {"json", "csv", "parquet"} <= suffixes
    assert suffixes & {"ndjson", "jsonl"}
    documents = [content for path, content in daily.items() if ".json" in path]
    assert {type(document) for document in documents} >= {dict, list}
    for document in documents:
        assert not isinstance(document, dict) or set(document) - {"code"} <= stream.envelopes


@of_masters
def test_files_are_late_re_sent_and_logged(sample: SampleSummary, stream: Stream) -> None:
    for kind in ("late", "resent", "log"):
        assert of_stream(sample, stream, kind), kind


@of_masters
def test_logs_call_every_route(sample: SampleSummary, stream: Stream) -> None:
    made = {(call["method"], call["path"]) for call in calls(sample, stream)}
    for route in stream.routes:
        pattern = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route.path)))
        assert any(method == route.method and pattern.fullmatch(path) for method, path in made), route.path


@of_masters
def test_logs_hold_calls_that_nothing_can_be_made_of(sample: SampleSummary, stream: Stream) -> None:
    patterns = [re.compile(re.sub(r"\\{\w+\\}", "[^/]*", re.escape(route.path))) for route in stream.routes]
    strange = [
        call
        for call in calls(sample, stream)
        if not re.match(r"2\d{3}-", call.get("at", "")) or not any(p.fullmatch(call["path"]) for p in patterns)
    ]
    assert strange


@of_masters
def test_logs_reach_back_behind_newer_files(sample: SampleSummary, stream: Stream) -> None:
    logged = {path: [call["at"][:10] for call in log if "at" in call]
              for path, log in of_stream(sample, stream, "log").items()}  # fmt: skip
    assert any(min(days) < path.split("_")[1][:10] for path, days in logged.items())


def test_nilo_sends_batches_of_all_four_lists(sample: SampleSummary) -> None:
    batches = of_stream(sample, nilo.STORES, "batch").values()
    assert batches
    assert all(list(batch) == ["create", "update", "upsert", "remove"] for batch in batches)


def test_nilo_uses_both_spellings_and_writes_coordinates_as_people_do(sample: SampleSummary) -> None:
    stores = [record for record in records(sample, nilo.STORES) if isinstance(record, dict)]
    assert any("ownerName" in store for store in stores) and any("name" in store for store in stores)
    latitudes = [str(store["latitude"]) for store in stores if store.get("latitude")]
    assert {sign for sign in "°º,SN" if any(sign in latitude for latitude in latitudes)} >= {"°", "º", ",", "S"}


def test_traede_replaces_and_appends_by_both_keys(sample: SampleSummary) -> None:
    modes = {
        (record["addresses_sync_mode"], record["addresses_sync_key"])
        for record in records(sample, traede.CUSTOMERS)
        if "addresses" in record and "addresses_sync_mode" in record
    }
    assert modes == {("replace", "address_title"), ("append", "address_title"), ("replace", "remote_erp_id")}


def test_tax_numbers_keep_their_leading_zeros(sample: SampleSummary) -> None:
    numbers = [str(record.get("tax_id")) for record in records(sample, reten.COMMERCES)]
    assert any(number.startswith("0") and number[-2] == "-" for number in numbers)


# One world


def test_orders_are_of_customers_that_traede_defines(sample: SampleSummary) -> None:
    defined = {record["customer_number"] for record in records(sample, traede.CUSTOMERS) if record.get("name")}
    orders = [row for rows in read_kind(sample, "daily").values() for row in rows]
    numbers = {row["CustomerId"] for row in orders if str(row.get("CustomerId")).startswith("CT")}
    assert len(numbers & defined) > 0.6 * len(numbers)
    assert numbers - defined, "some stay placeholders"


def test_customers_are_of_defined_businesses_and_of_a_few_that_never_are(sample: SampleSummary) -> None:
    businesses = list(records(sample, pocketflows.BUSINESSES))
    ids = {business.get("id") for business in businesses} | {business.get("external_id") for business in businesses}
    customers = list(records(sample, pocketflows.CUSTOMERS))
    named = [str(c.get("business_id") or c.get("business_external_id") or "") for c in customers]
    known = [name in ids for name in named if name]
    assert 0.85 * len(known) < sum(known) < len(known)


def test_a_business_is_named_in_one_way(sample: SampleSummary) -> None:
    customers = list(records(sample, pocketflows.CUSTOMERS))
    by_id = {c["business_id"][-4:] for c in customers if c.get("business_id")}
    by_code = {c["business_external_id"][-4:] for c in customers if c.get("business_external_id")}
    assert by_id and by_code and not by_id & by_code


def test_stores_belong_to_the_commerces(sample: SampleSummary) -> None:
    tax_numbers = {record.get("tax_id") for record in records(sample, reten.COMMERCES)}
    stores = [record["legalId"] for record in records(sample, nilo.STORES) if record.get("legalId")]
    assert sum(number in tax_numbers for number in stores) > 0.8 * len(stores)


# Deletes and dirt


def test_traede_deletes_prospects_strangers_and_buyers(sample: SampleSummary) -> None:
    deleted = {r["customer_number"] for r in records(sample, traede.CUSTOMERS) if r.get("delete") is True}
    buyers = {row.get("CustomerId") for rows in read_kind(sample, "daily").values() for row in rows}
    assert {number[:2] for number in deleted} == {"PR", "CT"}
    assert deleted & buyers and deleted - buyers


def test_numbers_of_a_sample_are_moderate(sample: SampleSummary) -> None:
    counts = {stream.full_name: sum(1 for _ in records(sample, stream)) for stream in MASTERS}
    assert counts["reten/commerces"] >= 60
    assert counts["nilo/stores"] >= 200
    assert sum(counts.values()) < 6000


def test_coordinates_of_commerces_are_those_of_their_city(sample: SampleSummary) -> None:
    for record in records(sample, reten.COMMERCES):
        for address in record.get("addresses") or ():
            if "latitude" in address and abs(address["latitude"]) < 90:
                assert -56 < Decimal(str(address["latitude"])) < 33


def test_every_file_has_something_to_say(sample: SampleSummary) -> None:
    assert all(read_back(sample.dest / file.path) for file in sample.files)
