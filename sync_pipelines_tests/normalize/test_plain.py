"""Blocks of plain lines come out as the record-by-record way makes them, whatever stands in them."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize import plain
from sync_pipelines.normalize.envelope import DateWindow
from sync_pipelines.normalize.plain import PlainReader
from sync_pipelines.normalize.record import RecordReader
from sync_pipelines.partners import find_stream
from sync_pipelines.sample_data.bulk_streams import BULK, bulk_records
from sync_pipelines.stages.normalize_export import ExportText, normalize
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT
from sync_pipelines_tests.normalize.test_anything import almost_calls, almost_orders

ITEM = {"ProductId": "P1", "Sku": "S", "Quantity": 1, "Price": 2.5, "Size": "1.5 L", "IsGift": False}
ORDER = {
    "OrderId": "A", "Email": "Ana@x.cl", "CustomerId": "c1", "TotalQuantity": 3, "TotalRevenue": 12.34,
    "OrderDate": "2024-05-06T10:11:12Z", "Currency": "USD", "IsOrderCancelled": False, "OrderItems": [ITEM, ITEM],
}  # fmt: skip
SETTINGS: list[dict[str, Any]] = [
    {},
    {"strict": True},
    {"customer_identifier": "customer_id", "currency_default": "EUR"},
    {"timezone": "America/Santiago", "decimal": ","},
    {"date_format": "%d/%m/%Y"},
    {"date_format": ["iso", "epoch_ms"], "thousands": ",", "true_values": ["x"]},
    {"constants": {"Currency": "CLP"}},
    {"columns": {"OrderId": "Email"}},
    {"effective_at": "OrderDate"},
]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Normalizes text either way: everything the kept records tell."""
    monkeypatch.setattr(plain, "_FEWEST", 1)
    able = PlainReader.is_able.fget  # type: ignore[attr-defined]

    def read(text: str, by_block: bool, stream: str = "replenit/orders", **options: Any) -> Any:
        partner, _, name = stream.partition("/")
        declared = find_stream(partner, name)
        assert declared is not None
        tenant = TENANT if partner == "replenit" else "acme"
        source = {"partner": partner, "tenant": tenant, "streams": {name: options}}
        (tmp_path / "sources.yaml").write_text(json.dumps({"sources": [source]}))
        monkeypatch.setattr(PlainReader, "is_able", property(lambda self: by_block and able(self)))
        export = ExportText(
            stream=declared,
            settings=load_sources(tmp_path / "sources.yaml").for_stream(partner, tenant, name),
            tenant=tenant,
            name="x.ndjson",
            content=lambda: io.BytesIO(text.encode("utf-8", "surrogatepass")),
            effective_at=datetime(2024, 5, 6, tzinfo=UTC),
            window=DateWindow(date(2010, 1, 1), date(2030, 1, 1)),
        )
        archive = tmp_path / "archive"
        kept = KeptRecords(archive, normalize(export, archive))
        summary = kept.summary
        summary.seconds = 0
        found = (
            [record for block in kept.blocks() for record in block.to_pylist()],
            list(kept.rejects()),
            summary,
            kept.keys.hashes.tolist(),
            kept.keys.rows.tolist(),
        )
        shutil.rmtree(archive)
        return found

    return read


def order(**fields: Any) -> str:
    return json.dumps({**ORDER, **fields})


def with_item(**fields: Any) -> str:
    return order(OrderItems=[ITEM, {**ITEM, **fields}])


TEXTS = st.sampled_from(
    ["", " ", "x ", "\u2003x", "x" * 50, "x" * 51, "é" * 50, "x" * 100, "x" * 101, "x" * 501, 'a"b', "a\\b", "a\nb",
     "null", "\0", "\ud800", "😀", "\x1f", "USD", "usd", "Usd ", "ZZZ", "1/2 kg", "1,500", "2XL", "12", "x" * 2001,
     "x\u200b", "\u200ex@y.z", "n\u0303", "\u0303", "漢字", "\x1fx"]
)  # fmt: skip
TIMES = st.sampled_from(
    ["2024-05-06T10:11:12Z", "2024-05-06T10:11:12.5Z", "2024-05-06T10:11:12.1234567Z", "2024-02-30T00:00:00Z",
     "2024-05-06", "2024-05-06 10:11:12", "2024-05-06T24:00:00Z", "2024-05-06T10:11:60Z", "0000-01-01T00:00:00Z",
     "2024-05-06T10:11:12+02:00", "1024-05-06T10:11:12Z", "2024-13-06T10:11:12Z", "1899-12-31T00:00:00Z",
     "1900-01-01T00:00:00Z", "2200-12-31T23:59:59Z", "2201-01-01T00:00:00Z", "2024-05-06 10:11:12 -0300"]
)  # fmt: skip
NUMBERS = st.sampled_from(
    ["0", "-0", "-0.0", "1.5", "1.50000", "1.00005", "5.0", "1e2", "1E-5", "1e400", "9" * 14, "9" * 15, "-" + "9" * 19,
     "99999999999999.9999", "100000000000000", "9223372036854775807", "9223372036854775808", "NaN", '"1.5"', '"1,5"',
     "true", "null", "01", "+1", "[]", "{}"]
)  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A line like those of a sound file, with a few values of its own and now and then another layout."""
    texts = {n: draw(TEXTS) for n in draw(st.sets(st.sampled_from(["OrderId", "Email", "CustomerId", "Currency"])))}
    texts |= {"OrderDate": draw(TIMES)} if draw(st.booleans()) else {}
    record = {name: json.dumps(value, ensure_ascii=draw(st.booleans())) for name, value in {**ORDER, **texts}.items()}
    for name in draw(st.sets(st.sampled_from(["TotalQuantity", "TotalRevenue", "UniqueQuantity"]))):
        record[name] = draw(NUMBERS)
    item = {name: json.dumps(value) for name, value in ITEM.items()}
    for name in draw(st.sets(st.sampled_from(["Quantity", "Price", "OriginalPrice"]))):
        item[name] = draw(NUMBERS)
    for name in draw(st.sets(st.sampled_from(["ProductId", "Sku", "Size", "Color", "OrderId", "brand", "Extra"]))):
        item[name] = json.dumps(draw(TEXTS))
    items = [text(item, ": "), text({n: json.dumps(v) for n, v in ITEM.items()}, ":")]
    record["OrderItems"] = "[" + ",".join(items[: draw(st.integers(0, 2))]) + "]"
    for name in draw(st.sets(st.sampled_from(list(record)), max_size=2)):
        del record[name]
    renamed = draw(st.sampled_from([{}, {}, {}, {"OrderId": "order_id"}, {"Email": "EMAIL"}, {"Email": "\\u0045mail"}]))
    whole = text(
        {renamed.get(name, name): value for name, value in record.items()}, draw(st.sampled_from([":", " : "]))
    )
    return draw(
        st.sampled_from(["{}", "{}", "{}", "{}", " {}\t", "{}{}", "{},", "[{}]", "{} x", "", "\ufeff{}"])
    ).replace("{}", whole)


def text(pairs: dict[str, str], colon: str) -> str:
    return "{" + ",".join(f'"{name}"{colon}{value}' for name, value in pairs.items()) + "}"


@examples(150)
@given(
    st.lists(st.one_of(lines(), lines(), lines(), almost_orders(), almost_calls()), min_size=1, max_size=8), st.data()
)
def test_both_ways_tell_the_same(read: Callable[..., Any], found: list[str], data: st.DataObject) -> None:
    options = data.draw(st.sampled_from(SETTINGS))
    ending = data.draw(st.sampled_from(["\n", "\r\n", ""]))
    # The first line is sound, so that the file is taken for lines.
    whole = "\n".join([order(), *found]) + ending
    assert both(read, whole, **options)


def both(read: Callable[..., Any], whole: str, **options: Any) -> bool:
    """Whether both ways tell the same; a file neither can read counts as that."""
    results = []
    for by_block in (True, False):
        try:
            results.append(read(whole, by_block, **options))
        except Exception as error:
            results.append(repr(error))
    assert results[0] == results[1]
    return True


@pytest.mark.parametrize(
    "line",
    [
        with_item(Price="2.5"), with_item(Quantity=1.0), order(OrderId="A "), order(TotalRevenue=1.00005),
        order(OrderItems=[]), order(OrderItems=[{}]), order(Email=""), order(Extra=1), order(Currency="usd"),
        with_item(OrderId="A"), with_item(OrderId="B"), order(OrderDate="2024-02-30T00:00:00Z"),
    ],
)  # fmt: skip
def test_a_line_that_is_not_plain_is_read_by_itself(read: Callable[..., Any], line: str) -> None:
    whole = "\n".join([order(OrderId="before"), line, order(OrderId="after")])
    assert both(read, whole)
    records, rejects, *_ = read(whole, True)
    assert len(records) + len(rejects) == 3


COMMERCE = {"external_id": "a", "name": "A", "users": [{"external_id": "u", "name": "U"}]}
OVER_LINES = """{
 "external_id": "b", "name": "B", "users": [
  {"external_id": "u", "name": "U"}
 ]
}"""


@pytest.mark.parametrize(
    ("lines", "records", "rejects", "leniencies"),
    [
        ([json.dumps(COMMERCE) + json.dumps(COMMERCE | {"external_id": "b"})], 2, 0, {}),
        ([OVER_LINES], 1, 0, {}),
        ([OVER_LINES.removesuffix("}")], 0, 1, {}),
        ([json.dumps(COMMERCE) + ","], 1, 0, {"trailing_comma": 1}),
        ([json.dumps(COMMERCE).replace("}]", "},]")], 1, 0, {"trailing_comma": 1}),
        (['{"external_id": "b", "name": "B", "metadata": []}'], 1, 0, {"object_from_list": 1}),
        (['{"external_id": "b", "name": "B", "users": {}}'], 1, 0, {"list_from_object": 1}),
        ([json.dumps(COMMERCE | {"users": {"1": {"external_id": "u", "name": "U"}}})], 1, 0, {"list_from_object": 1}),
        (['{"external_id": "b", "name": "B", "metadata": [1]}'], 0, 1, {}),
        (['{"external_id": "b", "name": "B", "users": {"name": "u"}}'], 0, 1, {}),
        (['{"external_id": "b", "name": "B", "users": {"0": {"name": "U"}, "x": {}}}'], 0, 1, {}),
    ],
)  # fmt: skip
def test_both_ways_tell_the_same_of_json_that_programs_send(
    read: Callable[..., Any], lines: list[str], records: int, rejects: int, leniencies: dict[str, int]
) -> None:
    whole = "\n".join([json.dumps(COMMERCE), *lines, json.dumps(COMMERCE)])
    for strict in (False, True):
        assert both(read, whole, stream="reten/commerces", strict=strict)
    found, refused, summary, *_ = read(whole, True, "reten/commerces")
    assert (len(found), len(refused), summary.leniencies) == (records + 2, rejects, leniencies)
    found, refused, *_ = read(whole, True, "reten/commerces", strict=True)
    assert [reject["code"] for reject in refused][rejects:] == list(leniencies)


@pytest.mark.parametrize("stream", ["pocketflows/businesses", "pocketflows/customers", "traede/customers"])
@examples(40)
@given(data=st.data())
def test_both_ways_tell_the_same_of_other_streams(read: Callable[..., Any], stream: str, data: st.DataObject) -> None:
    names = st.sampled_from(
        ["id", "external_id", "business_id", "business_external_id", "name", "full_name", "metadata", "customer_number",
         "currency", "discount_percentage", "active", "payment_terms", "delete", "addresses", "x"]
    )  # fmt: skip
    values = st.one_of(
        TEXTS.map(json.dumps), NUMBERS, st.sampled_from(["{}", '{"a":1}', "[]", "[{}]", '"USD"', "true"])
    )
    record = st.dictionaries(names, values, max_size=5).map(
        lambda found: text(
            {"external_id": '"e"', "customer_number": '"7"', "name": '"K"', "business_id": '"b"'} | found, ":"
        )
    )
    whole = "\n".join(data.draw(st.lists(record, min_size=2, max_size=6)))
    assert both(read, whole, stream=stream)


# -- streams with objects, lists within lists, and lists that say how they are taken ----------------------------

WORDS = st.sampled_from(["x", " x ", "", "X", "null", "é\u2003", 'a"b', "Casa", " casa", "true", "settings"]).map(
    lambda word: json.dumps(word, ensure_ascii=False)
)
DEGREES = st.sampled_from(
    ["0", "-0.0", "12.5", "-33.456789", "33.4567891", "90", "90.000001", "-181", "1e1", '"-34.5°"', "true", "null"]
)
FLAGS = st.sampled_from(["true", "false", '"yes"', "1", "null"])
OBJECTS = st.sampled_from(
    ["{}", '{"a":1}', '{"a":{"b":[1.50,true]},"é":"x"}', '{"a":1,"a":2}', '{"a":null}', "[]", '"x"', "{ }",
     '{"metadata":{"x":1}}', '{"credit":5}', '{"isDebtor":true,"x":1}', '{"latePayer":"no"}', '{"x":1e400}',
     '{"id":"1"}', '{"id":7}', '{"code":"n","x":2}', '{"id":"1","code":"n"}', '{"payment_term_id":" 1"}',
     '{"a":"\\ud800"}']
)  # fmt: skip


def objects(
    needed: dict[str, st.SearchStrategy[str]], other: dict[str, st.SearchStrategy[str]]
) -> st.SearchStrategy[str]:
    """The text of an object that nearly always has some fields, and some of the others."""
    fields = {name: st.one_of(values, values, values, WORDS) for name, values in {**needed, **other}.items()}
    pairs = st.fixed_dictionaries(
        {name: fields[name] for name in needed}, optional={name: fields[name] for name in other}
    )
    return st.builds(
        lambda found, gone: text({name: value for name, value in found.items() if name != gone}, ":"),
        pairs,
        st.sampled_from([*needed, *[""] * 9]),
    )


def listed(elements: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    some = st.lists(elements, max_size=2).map(lambda found: "[" + ",".join(found) + "]")
    return st.one_of(some, some, some, st.sampled_from(["[{}]", "[]", "null", "{}"]))


def one_of(*words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words).map(json.dumps)


CONTACT = objects({"contact_type": one_of("PHONE", "EMAIL", "fax")}, {"value": WORDS, "is_primary": FLAGS})
USER = objects({"external_id": one_of("u", "v")}, {
    "name": WORDS, "roles": st.sampled_from(["[]", '["A"]', '["A","B"]', '[1]', '"A"']), "contacts": listed(CONTACT),
})  # fmt: skip
PLACE = objects({}, {
    "address_alias": WORDS, "is_primary": FLAGS, "latitude": DEGREES, "longitude": DEGREES, "source_ref": WORDS,
    "x": WORDS,
})  # fmt: skip
STORE_PLACE = objects({"address": WORDS, "zipCode": WORDS}, {
    "addressLine": WORDS, "latitude": DEGREES, "longitude": DEGREES,
})  # fmt: skip
TRAEDE_PLACE = objects(
    {"title": one_of("Home", "home ", "Shop"), "name": WORDS, "address": WORDS, "zip": WORDS, "city": WORDS,
     "country": one_of("DK", "DE", "dk", "D")},
    {"region": WORDS, "remote_erp_id": one_of("1", "2", " 2")},
)  # fmt: skip
RECORDS = {
    "reten/commerces": objects({"external_id": one_of("a", "b "), "name": WORDS}, {
        "tax_id": WORDS, "metadata": OBJECTS, "addresses": listed(PLACE), "users": listed(USER), "x": OBJECTS,
    }),
    "nilo/stores": objects({"internalCode": one_of("a", "b")}, {
        "name": WORDS, "ownerName": WORDS, "enabled": FLAGS, "creditLimit": NUMBERS, "debtor": FLAGS,
        "promotionGrouperCode": st.sampled_from(['["p"]', "[]", '"p"', "[1]"]), "latitude": DEGREES,
        "longitude": DEGREES, "settings": OBJECTS, "addresses": listed(STORE_PLACE),
        "users": st.sampled_from(["[]", '["u"]', "[7]", '[{"user_ref":"u"}]']),
    }),
    "traede/customers": objects({"customer_number": one_of("1", "2")}, {
        "name": WORDS, "currency": one_of("USD", "usd", "ZZZ"), "discount_percentage": NUMBERS, "active": FLAGS,
        "payment_terms": OBJECTS, "payment_term": OBJECTS, "payment_terms_id": WORDS, "delete": FLAGS,
        "addresses": listed(TRAEDE_PLACE), "addresses_sync_mode": one_of("replace", "append", "Append", "x"),
        "addresses_sync_key": one_of("address_title", "remote_erp_id", "x"),
    }),
    "pocketflows/businesses": objects({"name": WORDS}, {"id": WORDS, "external_id": WORDS, "metadata": OBJECTS}),
    "pocketflows/customers": objects({"external_id": one_of("a", "b"), "business_id": one_of("7", " 7")}, {
        "id": WORDS, "business_external_id": WORDS, "full_name": WORDS, "metadata": OBJECTS,
    }),
}  # fmt: skip
SOUND = {
    "reten/commerces": {"external_id": "a", "name": "x"},
    "nilo/stores": {"internalCode": "a", "name": "x"},
    "traede/customers": {"customer_number": "1", "payment_terms": {"id": "1"}},
    "pocketflows/businesses": {"id": "1", "name": "x", "metadata": {}},
    "pocketflows/customers": {"id": "1", "external_id": "a", "business_id": "7"},
}


@pytest.mark.parametrize("stream", list(RECORDS))
@examples(120)
@given(data=st.data())
def test_both_ways_tell_the_same_of_objects_and_lists(
    read: Callable[..., Any], stream: str, data: st.DataObject
) -> None:
    found = data.draw(st.lists(RECORDS[stream], min_size=1, max_size=6))
    options = data.draw(st.sampled_from([{}, {}, {"strict": True}]))
    assert both(read, "\n".join([json.dumps(SOUND[stream]), *found]), stream=stream, **options)


@pytest.mark.parametrize("stream", list(BULK))
def test_clean_records_are_plain_in_every_stream(
    read: Callable[..., Any], stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "\n".join(json.dumps(record, ensure_ascii=False) for record in bulk_records(stream, 40, changed=0.5))
    assert both(read, whole, stream=stream)

    def refuse(self: Any, raw: Any, *others: Any) -> Any:
        raise AssertionError(f"read by itself: {raw}")

    monkeypatch.setattr(RecordReader, "read", refuse)
    assert len(read(whole, True, stream=stream)[0]) == 40
