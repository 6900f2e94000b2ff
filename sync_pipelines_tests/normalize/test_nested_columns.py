"""Fields within lists and objects, from the columns of a flat file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.contracts.paths import Way, way_to
from sync_pipelines.errors import ConfigurationError, ExportError
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines_tests.normalize.keeping_in import Keeping, everything


def kept(folder: Path, stream: str, text: str, **settings: Any) -> list[dict[str, Any]]:
    """The records of a CSV; every one must be good."""
    found = everything(Keeping(folder / "x", stream).keep(text, name="x.csv", **settings))
    assert found["rejects"] == []
    records: list[dict[str, Any]] = found["blocks"]
    return records


def rejects(folder: Path, stream: str, text: str, **settings: Any) -> list[tuple[str, str, str | None]]:
    found = everything(Keeping(folder / "x", stream).keep(text, name="x.csv", **settings))["rejects"]
    return [(reject["position"], reject["code"], reject["field_path"]) for reject in found]


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner not in (None, [])}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


COMMERCE = (
    "external_id,name,metadata.zone,metadata.size.m2,addresses[0].city,addresses[1].city,addresses[1].is_primary,"
    "users[0].external_id,users[0].roles[0],users[0].roles[1],users[0].contacts[0].contact_type,"
    "users[0].contacts[0].value,addresses[0].shade\n"
    "a,A,north,12.50,Lima,Cusco,true,u,admin,buyer,email,a@x.pe,red\n"
    "b,B,,,,Ica,,,,,,,\n"
)


def test_fields_of_lists_and_objects_have_their_path_as_header(tmp_path: Path) -> None:
    first, second = map(without_nulls, kept(tmp_path, "reten/commerces", COMMERCE))
    assert json.loads(first["metadata"]) == {"zone": "north", "size": {"m2": "12.50"}}
    assert [row["city"] for row in first["commerce_addresses"]] == ["Lima", "Cusco"]
    (user,) = first["commerce_users"]
    assert (user["external_id"], user["roles"]) == ("u", ["admin", "buyer"])
    (contact,) = user["commerce_user_contacts"]
    assert (contact["contact_type"], contact["value"]) == ("EMAIL", "a@x.pe")
    assert json.loads(first["extra"]) == {"addresses[0].shade": "red"}
    assert [row["city"] for row in second["commerce_addresses"]] == ["Ica"]
    assert not {"metadata", "commerce_users", "extra"} & second.keys()


def test_paths_are_read_from_other_columns_too(tmp_path: Path) -> None:
    columns = {
        "metadata.zone": "Zona",
        "users[0].external_id": "Id usuario",
        "users[0].contacts[0].contact_type": "Tipo",
        "users[0].contacts[0].value": "Dato",
        "users[0].roles[0]": "Rol",
        "addresses": "Direcciones",
    }
    text = 'external_id,name,ZONA,Id usuario,Tipo,Dato,Rol,Direcciones\na,A,n,u,PHONE,1,admin,"[{""city"":""Ica""}]"\n'
    (record,) = kept(tmp_path, "reten/commerces", text, columns=columns)
    assert json.loads(record["metadata"]) == {"zone": "n"}
    assert record["commerce_addresses"][0]["city"] == "Ica"
    (user,) = record["commerce_users"]
    assert (user["external_id"], user["roles"], user["commerce_user_contacts"][0]["value"]) == ("u", ["admin"], "1")


def test_an_order_may_have_its_items_side_by_side(tmp_path: Path) -> None:
    items = [f"OrderItems[{n}].{name}" for n in (0, 1) for name in ("ProductId", "Sku", "Quantity", "Price")]
    text = f"OrderId,Currency,{','.join(items)}\nA,USD,p,p,1,10,q,q,2,5\nB,USD,r,r,1,1,,,,\n"
    first, second = kept(tmp_path, "replenit/orders", text)
    assert [(row["sku"], row["quantity"]) for row in first["order_items"]] == [("p", 1), ("q", 2)]
    assert (first["total_revenue"], first["total_quantity"], first["unique_quantity"]) == (20, 3, 2)
    assert [row["sku"] for row in second["order_items"]] == ["r"]


def test_a_cell_may_hold_the_json_of_a_list_or_an_object(tmp_path: Path) -> None:
    items = '"[{""ProductId"":""P"",""Sku"":""S"",""Quantity"":1,""Price"":10.5}]"'
    (order,) = kept(tmp_path, "replenit/orders", f"OrderId,Currency,order items\nA,USD,{items}\n")
    assert [(row["sku"], str(row["price"])) for row in order["order_items"]] == [("S", "10.5000")]
    assert str(order["total_revenue"]) == "10.5000"


def test_cells_of_stores_may_hold_json(tmp_path: Path) -> None:
    text = 'internalCode;settings;promotionGrouperCode\nS;{"a":[1.50]};["x","y"]\n'
    (store,) = kept(tmp_path, "nilo/stores", text)
    assert "1.50" in store["settings"]
    assert store["promotion_grouper_codes"] == ["x", "y"]


@pytest.mark.parametrize(
    ("cells", "code", "path"),
    [
        ('"[{""city"":""x""",', "not_a_list", "addresses"),
        ('"[] []",', "not_a_list", "addresses"),
        ("red,", "not_a_list", "addresses"),
        (",{'zone': 1}", "not_an_object", "metadata"),
        (",north", "not_an_object", "metadata"),
        (",[1]", "not_an_object", "metadata"),
        (f',"{"[" * 300}"', "not_an_object", "metadata"),
    ],
)
def test_what_is_no_json_refuses_its_record(cells: str, code: str, path: str, tmp_path: Path) -> None:
    text = f"external_id,name,addresses,metadata\na,A,{cells}\nb,B,,\n"
    assert rejects(tmp_path, "reten/commerces", text) == [("2", code, path)]


def test_one_place_named_twice_with_different_values_is_refused(tmp_path: Path) -> None:
    text = 'external_id,name,metadata,metadata.zone,Metadata.zone\na,A,"{""zone"":1}",n,\nb,B,,n,s\nc,C,,n,n\n'
    found = rejects(tmp_path, "reten/commerces", text)
    assert found == [("2", "field_conflict", "metadata"), ("3", "field_conflict", "metadata.zone")]


def test_elements_of_nothing_but_nulls_are_left_out(tmp_path: Path) -> None:
    text = "external_id,name,users[0].external_id,users[1].external_id,metadata.zone\na,A,u,,\nb,B,,,\n"
    first, second = kept(tmp_path, "reten/commerces", text, empty_is="null")
    assert [row["external_id"] for row in first["commerce_users"]] == ["u"]
    assert second["commerce_users"] == []
    assert json.loads(first["metadata"]) == {"zone": None}


@pytest.mark.parametrize(
    ("stream", "text", "path"),
    [
        ("reten/commerces", "users[0].contacts[12].value", ("users", 0, "contacts", 12, "value")),
        ("reten/commerces", "Users.0.Contacts.1.Value", ("users", 0, "contacts", 1, "value")),
        ("reten/commerces", "users[0].roles[1]", ("users", 0, "roles", 1)),
        ("reten/commerces", "users[0]", ("users", 0)),
        ("reten/commerces", "metadata.a b.C[0]", ("metadata", "a b", "C", 0)),
        ("traede/customers", "addresses[0].Address 2", ("addresses", 0, "address_2")),
        ("nilo/stores", "promotion_grouper_code[0]", ("promotionGrouperCode", 0)),
        ("reten/commerces", "users", None),
        ("reten/commerces", "users.name", None),
        ("reten/commerces", "users[x].name", None),
        ("reten/commerces", "users[0].shade", None),
        ("reten/commerces", "users[0]name.", None),
        ("reten/commerces", "name[0]", None),
        ("reten/commerces", "[0].users", None),
        ("reten/commerces", "users[0].roles[1].x", None),
        ("reten/commerces", "", None),
    ],
)
def test_a_path_means_one_place(stream: str, text: str, path: tuple[str | int, ...] | None) -> None:
    declared = find_stream(*stream.split("/"))
    assert declared is not None
    way = way_to(declared.shape, text)
    assert (way and way.path) == path


def test_every_streams_lists_and_objects_can_be_reached() -> None:
    for stream in STREAMS:
        for field in stream.shape.nested:
            assert field.children is not None
            inner = field.children.fields[0].alias
            assert way_to(stream.shape, f"{field.alias}[0].{inner}") == Way((field.alias, 0, inner), "value")


@pytest.mark.parametrize("key", ["users[0].shade", "users[].name", "shade", "metadata"])
def test_columns_names_no_place_that_is_not_there(key: str, tmp_path: Path) -> None:
    source = {"partner": "reten", "tenant": "t", "streams": {"commerces": {"columns": {key: "x"}}}}
    (tmp_path / "sources.yaml").write_text(json.dumps({"sources": [source]}))
    if key == "metadata":
        load_sources(tmp_path / "sources.yaml")
    else:
        with pytest.raises(ConfigurationError, match="unknown key"):
            load_sources(tmp_path / "sources.yaml")


def test_a_record_time_under_a_spaced_header_is_its_own(tmp_path: Path) -> None:
    text = "external_id,name,Updated At\na,A,2024-03-01\n"
    (record,) = kept(tmp_path, "reten/commerces", text, effective_at="updated_at")
    assert record["effective_at"].month == 3


def test_a_strict_source_refuses_rows_that_would_be_passed_over(tmp_path: Path) -> None:
    text = "Report\nexternal_id,name\na,A\nexternal_id,name\nb,B\n"
    found = rejects(tmp_path, "reten/commerces", text, strict=True)
    assert found == [("1", "row_above_header", None), ("4", "header_again", None)]


def test_a_constant_may_be_the_key(tmp_path: Path) -> None:
    text = "title\nname,tax_id\nA,1\n"
    (record,) = kept(tmp_path, "reten/commerces", text, constants={"external_id": "a"})
    assert (record["external_id"], record["name"]) == ("a", "A")


def test_a_header_of_another_stream_fails_the_file(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"^bad_header: no column has the key of pocketflows/customers"):
        kept(tmp_path, "pocketflows/customers", "full_name,phone_number\nA,1\n")


def test_either_id_is_a_key(tmp_path: Path) -> None:
    text = "id,full_name,business_id\n1,A,7\n"
    assert len(kept(tmp_path, "pocketflows/customers", text)) == 1
