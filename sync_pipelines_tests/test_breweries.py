"""Real exports with known answers: three snapshots of Open Brewery DB (MIT) as Nilo's stores, through a mapping.

The data lies beside the project, `../shared/data`; without it these tests are skipped.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines_tests.loading import Site, outcomes

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "open_brewery_db"
SNAPSHOTS = sorted(DATA.glob("*.csv"))
COLUMNS = {
    "internalCode": "id",
    "legalId": "id",
    "name": "name",
    "legalName": "name",
    "addresses[0].address": "address_1",
    "addresses[0].zipCode": "postal_code",
    "latitude": "latitude",
    "longitude": "longitude",
}
needs_data = pytest.mark.skipif(len(SNAPSHOTS) != 3, reason=f"no data in {DATA.name}")


def use(site: Site, columns: dict[str, str], **settings: Any) -> None:
    """Lists one tenant of nilo with this mapping of its stores (JSON is YAML)."""
    source = {"partner": "nilo", "tenant": "obdb", "streams": {"stores": {"columns": columns, **settings}}}
    (site.folder / "sources.yaml").write_text(json.dumps({"sources": [source]}))


def load(site: Site, name: str, content: bytes | str) -> LedgerFile:
    entry = site.load_at(f"nilo/obdb/stores/{name}", content)
    assert entry.status == "loaded", entry.error
    return entry


@needs_data
def test_three_snapshots_come_out_as_known(site: Site) -> None:
    use(site, COLUMNS)
    found = [outcomes(load(site, path.name, path.read_bytes())) for path in SNAPSHOTS]
    assert found == [
        {"created": 11_015, "rejected": 753},
        {"created": 58, "updated": 26, "unchanged": 10_985, "rejected": 753},
        {"updated": 1_397, "unchanged": 9_672, "rejected": 753},
    ]
    reasons = {(r["code"], r["field_path"]) for r in site.rejects()}
    assert reasons == {("required", "addresses"), ("required", "addresses[0].address")}
    (antla,) = site.query("select * from sync.stores where external_id = 'ae7b3174-8be8-4d53-a3a5-9b8240970eea'")
    assert (antla["name"], antla["legal_name"], antla["legal_id"]) == ("'s", "'s", antla["external_id"])
    assert (antla["latitude"], antla["longitude"]) == (Decimal("50.241246"), Decimal("11.327765"))
    assert (antla["extra"]["city"], antla["extra"]["brewery_type"]) == ("Kronach", "brewpub")
    addresses = site.query(
        "select line_no, address, zip_code from sync.store_addresses where store_id = %s", [antla["id"]]
    )
    assert addresses == [{"line_no": 1, "address": "Friesener Straße 1", "zip_code": "96317"}]


def test_a_mapping_reaches_into_a_list(site: Site) -> None:
    columns = {"internal_code": "id", "legalId": "id", "addresses[0].address": "a", "Addresses[1].addressLine": "b"}
    use(site, columns | {"addresses[0].zip_code": "zip", "addresses[1].zipCode": "zip_b"})
    load(site, "2024-05-01.csv", "id,name,legalName,a,b,zip,zip_b\nA,n,l,Uno,Dos,01,1\nB,n,l,Uno,,02,\n")
    lines = "select external_id, line_no, address, zip_code from sync.store_addresses a join sync.stores s"
    found = site.query(f"{lines} on s.id = a.store_id order by 1, 2")
    assert [tuple(row.values()) for row in found] == [
        ("A", 1, "Uno", "01"),
        ("A", 2, "Dos", "1"),
        ("B", 1, "Uno", "02"),
    ]
    assert [(r["code"], r["field_path"]) for r in site.rejects()] == []


def test_an_element_without_its_required_field_is_refused_with_its_path(site: Site) -> None:
    use(site, COLUMNS)
    header = "id,name,address_1,postal_code,latitude,longitude\n"
    load(site, "2024-05-01.csv", header + "A,n,Uno,,1,2\nB,n,,01,1,2\nC,n,,,1,2\nD,n,Uno,01,,\n")
    assert [(r["external_id"], r["code"], r["field_path"]) for r in site.rejects()] == [
        ("A", "required", "addresses[0].zipCode"),
        ("B", "required", "addresses[0].address"),
        ("C", "required", "addresses"),
    ]


def test_a_row_without_any_mapped_cell_keeps_the_list(site: Site) -> None:
    use(site, COLUMNS, optional=["latitude", "longitude"])
    load(site, "2024-05-01.csv", "id,name,address_1,postal_code\nA,n,Uno,01\n")
    load(site, "2024-05-02.csv", "id,name,address_1,postal_code\nA,m,,\n")
    assert site.query("select name, address from sync.stores s join sync.store_addresses a on a.store_id = s.id") == [
        {"name": "m", "address": "Uno"}
    ]


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("addresses[0].adress", "addresses[0].address"),
        ("addreses[1].zipCode", "addresses[0].zipCode"),
        ("addresses.zipCode", "addresses[0].zipCode"),
        ("addresses[x].zipCode", "addresses[0].zipCode"),
    ],
)
def test_a_wrong_key_is_told_the_nearest(site: Site, key: str, nearest: str) -> None:
    from sync_pipelines.configuration.sources import load_sources
    from sync_pipelines.errors import ConfigurationError

    use(site, {key: "x"})
    with pytest.raises(ConfigurationError, match="did you mean") as caught:
        load_sources(site.folder / "sources.yaml")
    assert f"did you mean {nearest}?" in str(caught.value)


def test_the_mapping_on_nilos_page_is_read(tmp_path: Path) -> None:
    from sync_pipelines.configuration.sources import load_sources

    page = (Path(__file__).parents[1] / "docs/partners/nilo.md").read_text()
    (block,) = (part for part in page.split("```yaml\n")[1:] if "breweries" in part.split("```")[0])
    (tmp_path / "sources.yaml").write_text(block.split("```")[0])
    columns = load_sources(tmp_path / "sources.yaml").for_stream("nilo", "breweries", "stores").columns
    assert columns == {name: column for name, column in COLUMNS.items() if name not in ("latitude", "longitude")}
