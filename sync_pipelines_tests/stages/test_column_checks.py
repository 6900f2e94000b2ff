"""Columns that are gone since the tenant's last flat export."""

from __future__ import annotations

import pytest

from sync_pipelines.stages.export_stages import discover
from sync_pipelines.stages.preview import preview
from sync_pipelines_tests.loading import Site

FOLDER = "pocketflows/t/customers"
ALL = "id,external_id,full_name,phone_number,business_id\n1,c1,Ana,+569111,7\n"
LESS = "id,external_id,full_name,telefono,business_id\n1,c1,Ana,+569111,7\n"


def phones(site: Site) -> list[str | None]:
    return [row["phone"] for row in site.query("select phone from sync.customers")]


def test_P3_a_flat_export_that_lacks_a_column_clears_nothing(site: Site) -> None:
    site.load_at(f"{FOLDER}/2024-01-01.csv", ALL)
    site.load_at(f"{FOLDER}/2024-01-02.json", [{"id": 1, "full_name": "B", "business_id": 7, "phone_number": "2"}])
    entry = site.load_at(f"{FOLDER}/2024-01-03.csv", LESS)
    assert entry.status == "failed"
    assert entry.error is not None
    assert entry.error.startswith("column_missing: the column 'phone_number', present in '2024-01-01.csv', is missing")
    assert "`optional`" in entry.error
    assert phones(site) == ["2"]
    # Until somebody says so, it stays failed.
    assert [e.status for e in site.sync()] == ["failed"]
    site.source_of(FOLDER, optional=["phone-number"])
    assert [e.status for e in site.sync()] == ["loaded"]
    assert phones(site) == [None]
    # What is compared with is the last one.
    assert site.load_at(f"{FOLDER}/2024-01-04.csv", LESS).status == "loaded"


def test_P3_a_late_flat_export_is_compared_with_the_one_before_it(site: Site) -> None:
    site.load_at(f"{FOLDER}/2024-01-01.csv", LESS)
    site.load_at(
        f"{FOLDER}/2024-01-03.csv", ALL.replace("phone_number", "phone_number,telefono").replace("569111", "569111,")
    )
    assert site.load_at(f"{FOLDER}/2024-01-02.csv", LESS).status == "loaded"
    # The same path again is a later version of it.
    entry = site.load_at(f"{FOLDER}/2024-01-01.csv", "id,external_id,full_name,business_id\n1,c1,Ana,7\n")
    assert entry.error is not None
    assert "'telefono', present in '2024-01-01.csv'" in entry.error


def test_P3_spelling_and_order_of_columns_are_free(site: Site) -> None:
    site.load_at(f"{FOLDER}/2024-01-01.csv", ALL)
    text = "Phone Number;BUSINESS_ID;ID;External-Id;full_name\n+569112;7;1;c1;Ana\n"
    assert site.load_at(f"{FOLDER}/2024-01-02.csv", text).status == "loaded"
    assert phones(site) == ["+569112"]


def test_a_preview_refuses_what_the_load_would(site: Site) -> None:
    site.put_at(f"{FOLDER}/2024-01-01.csv", ALL)
    site.put_at(f"{FOLDER}/2024-01-02.csv", LESS)
    workspace = site.workspace()
    with preview(workspace, discover(workspace).pending) as previewed:
        assert [entry.status for entry in previewed.entries] == ["loaded", "failed"]
    # It was normalized before the first was loaded.
    assert [entry.status for entry in site.sync()] == ["loaded", "failed"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("customer_number,name,currency,discount", {"column_renamed": 1}),
        ("customer_number,name,currency", {}),
        ("customer_number,name,currency,discount_percentage,discount", {}),
        ("customer_number,name,currency,Discount Percentage", {}),
    ],
)
def test_a_column_that_looks_renamed_is_counted_where_records_patch(
    header: str, expected: dict[str, int], site: Site
) -> None:
    site.load_at("traede/t/customers/2024-01-01.csv", "customer_number,name,currency,discount_percentage\n1,A,USD,5\n")
    cells = ",".join(["1,A,USD", *["9"] * (header.count(",") - 2)])
    entry = site.load_at("traede/t/customers/2024-01-02.csv", f"{header}\n{cells}\n")
    assert (entry.status, entry.leniencies) == ("loaded", expected)


def test_a_strict_source_refuses_it(site: Site) -> None:
    site.source_of("traede/t/customers", strict=True)
    site.load_at("traede/t/customers/2024-01-01.csv", "customer_number,name,currency,discount_percentage\n1,A,USD,5\n")
    entry = site.load_at("traede/t/customers/2024-01-02.csv", "customer_number,name,currency,discount\n1,A,USD,5\n")
    assert entry.error is not None
    assert entry.error.startswith("column_missing: the previous export had the column 'discount_percentage'")
