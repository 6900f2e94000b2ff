"""JSON documents and lines: what is read is what `json.loads` reads, wherever the chunks are cut."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.contracts.raw import AmbiguousObject, NotFinite, RawRecord, Scientific
from sync_pipelines.errors import ExportError
from sync_pipelines.exports import json_stream, json_window, lines
from sync_pipelines.exports.json_lines import read_lines
from sync_pipelines.exports.json_stream import read_document
from sync_pipelines.exports.lines import line_blocks, numbered_lines
from sync_pipelines_tests.exports.conftest import Read

NAMES = st.text('ab_"\\é😀', max_size=4)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.text('{}[],:"\\\n\t', max_size=8)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=12)
SIZES = st.integers(1, 40)


def text_of(value: Any) -> str:
    """JSON in which a Decimal is a number."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}:{text_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + " ,\n".join(map(text_of, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def cut(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


def lines_of(text: str, size: int) -> Iterator[RawRecord]:
    data = text.encode()
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    return (record for block in line_blocks(chunks) for record in read_lines(block.lines))


def expected(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


@given(st.lists(VALUES, max_size=6), SIZES)
def test_an_array_in_any_chunks_is_what_json_loads_reads(values: list[Any], size: int) -> None:
    text = text_of(values)
    records = list(read_document(cut(text, size)))
    assert [record.value for record in records] == expected(text)
    assert [record.position for record in records] == [str(n) for n in range(1, len(values) + 1)]


@given(st.dictionaries(NAMES | st.just("I_tems"), VALUES, max_size=5), SIZES)
def test_the_members_of_an_object_are_all_there(members: dict[str, Any], size: int) -> None:
    text = text_of(members)
    found: dict[str, Any] = {}
    for record in read_document(cut(text, size), {"items"}):
        if record.within in ("", "rest"):
            found |= record.value
        else:
            found.setdefault(str(record.within), []).append(record.value)
    if members.get("I_tems") == []:
        found["I_tems"] = []
    assert found == expected(text)


@given(st.lists(VALUES, max_size=6), SIZES, st.sampled_from(["\n", "\r\n", "\n\n", " \n"]))
def test_lines_in_any_chunks_are_what_json_loads_reads(values: list[Any], size: int, newline: str) -> None:
    texts = [text_of(value).replace("\n", " ") for value in values]
    records = list(lines_of(newline.join(texts), size))
    assert [record.value for record in records] == [expected(text) for text in texts]
    assert [int(record.position) for record in records] == [1 + n * newline.count("\n") for n in range(len(values))]


@given(st.lists(VALUES, min_size=1, max_size=4), st.data())
def test_x13_a_truncated_array_never_ends_well(values: list[Any], data: st.DataObject) -> None:
    text = text_of(values)
    end = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(ExportError) as caught:
        list(read_document(cut(text[:end], data.draw(SIZES))))
    assert caught.value.code == "not_json"
    assert caught.value.position


@given(st.text('[]{}",:1eN\\ua\n \t\0', max_size=30), SIZES)
def test_no_text_ends_in_another_error(text: str, size: int) -> None:
    list(lines_of(text, size))
    try:
        list(read_document(cut(text, size), {"a"}))
    except ExportError as fault:
        assert fault.code in ("not_json", "wrong_envelope")


def test_numbers_keep_what_the_text_said(read: Read) -> None:
    text = b"[1, 1.50, 1e5, -2.5E-3, NaN, -Infinity, 1e99999999999999999999, -0.0]"
    values = [record.value for record in read("x.json", text)]
    assert values[:2] == [1, Decimal("1.50")]
    assert str(values[1]) == "1.50"
    assert [type(value) for value in values[2:4]] == [Scientific, Scientific]
    assert [value.text for value in values[2:7]] == ["1e5", "-2.5E-3", "NaN", "-Infinity", "1e99999999999999999999"]
    assert values[4:6] == [NotFinite("NaN"), NotFinite("-Infinity")]
    assert values[6].is_nan()
    assert str(values[7]) == "-0.0"


@pytest.mark.parametrize("name", ["x.json", "x.ndjson"])
def test_an_integer_of_five_thousand_digits_is_read(name: str, read: Read) -> None:
    digits = "7" * 5000
    data = f'{{"a":{digits}, "b": 12}}\n{{"a":1.5}}\n'.encode()
    first, second = read(name, data)
    assert first.value["a"].text == digits
    assert (first.value["b"], second.value) == (12, {"a": Decimal("1.5")})


def test_scientific_survives_copies() -> None:
    number = Scientific("1e5")
    assert pickle.loads(pickle.dumps(number)).text == copy.deepcopy(number).text == "1e5"


def test_x3_a_name_that_stands_twice(read: Read) -> None:
    first, second, third = (record.value for record in read("name_twice.json"))
    assert isinstance(first, AmbiguousObject)
    assert (first.names, first["Price"]) == (("Price",), 2)
    assert type(second) is dict
    assert isinstance(third, AmbiguousObject)


def test_lone_surrogates_pass(read: Read) -> None:
    assert read("x.json", b'["\\ud800"]')[0].value == "\ud800"


def test_two_hundred_levels_are_read_and_one_more_is_not(read: Read) -> None:
    deep = b"[" * 200 + b"]" * 200
    flat = b'{"a":"[[","b":[' + b",".join([b"{}"] * 500) + b"]}"
    records = read("x.json", b"[" + deep + b",[" + deep + b"]," + flat + b"]")
    assert [record.damage.code if record.damage else None for record in records] == [None, "nesting_too_deep", None]


@pytest.mark.parametrize("levels", [2_000, 300_000])
def test_any_depth_in_any_shape_is_damage_and_no_crash(levels: int, read: Read) -> None:
    deep = b'{"a":' * levels + b"1" + b"}" * levels
    assert [bool(r.damage) for r in read("x.json", b"[" + deep + b",1]")] == [True, False]
    assert [bool(r.damage) for r in read("x.ndjson", b"1\n" + deep + b"\n1")] == [False, True, False]
    (record,) = read("x.json", b'{"a":1,"b":' + deep + b"}")
    assert record.within == ""
    assert record.damage


def test_envelopes_are_streamed_and_the_rest_follows(read: Read) -> None:
    data = b'{"code":200,"Cre_ate":[{"a":1}],"upsert":[{"b":2}],"other":[3],"create":null}'
    records = read("x.json", data, envelopes=frozenset({"create", "upsert"}))
    assert [(r.position, r.within, r.value) for r in records] == [
        ("1", "Cre_ate", {"a": 1}),
        ("2", "upsert", {"b": 2}),
        ("0", "rest", {"code": 200, "other": [3], "create": None}),
    ]


def test_an_object_without_a_known_list_is_one_record(read: Read) -> None:
    (record,) = read("x.json", b'{"code":200,"data":{"a":1}}\n', envelopes=frozenset({"data"}))
    assert record[:4] == ("1", {"code": 200, "data": {"a": 1}}, "", None)


def test_an_empty_list_in_an_envelope_is_nothing_read(read: Read) -> None:
    assert read("x.json", b'{"items":[]}', envelopes=frozenset({"items"})) == []


@pytest.mark.parametrize(
    ("name", "data", "positions"),
    [
        ("x.json", b'{"a":1}\n{"a":2}', ["1", "2"]),
        ("x.json", b'\n{"a":1}\n\n{"a":2}', ["2", "4"]),
        ("x.json", b'{"a":1}\n\n', ["1"]),
        ("x.json", b'{"a":\n1}\n', ["1"]),
        ("x.ndjson", b'{"a":1}', ["1"]),
        ("x.ndjson", b' [{"a":1},{"a":2}]\n', ["1", "2"]),
        ("x.ndjson", b"[1]\n[2]\n", ["1", "2"]),
    ],
)
def test_the_content_tells_lines_from_documents(name: str, data: bytes, positions: list[str], read: Read) -> None:
    assert [record.position for record in read(name, data)] == positions


def test_line_separators_of_unicode_do_not_end_a_line() -> None:
    (line,) = numbered_lines(["a\u2028b\x0bc\x85d"])
    assert (line.text, line.is_ended) == ("a\u2028b\x0bc\x85d", False)


@pytest.mark.parametrize("size", [7, 40, 90])
def test_a_line_that_is_too_long_is_passed_over(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_LIMIT", 100)
    monkeypatch.setattr(lines, "DAMAGE_TEXT", 10)
    text = f'{{"a":1}}\n{{"b":"{"x" * 500}"}}\n{{"c":3}}'
    first, long, last = lines_of(text, size)
    assert (first.value, last.value, last.position) == ({"a": 1}, {"c": 3}, "3")
    assert long.damage
    assert (long.damage.code, long.damage.text) == ("line_too_long", '{"b":"xxxx')


@pytest.mark.parametrize("size", [7, 40, 1000])
def test_an_element_that_is_too_long_is_passed_over(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_window.Window.value, "__defaults__", (100,))
    monkeypatch.setattr(json_stream, "ELEMENT_LIMIT", 100)
    monkeypatch.setattr(json_stream._element, "__defaults__", (100,))
    text = f'[{{"a":1}}, {{"b":"{"x" * 3000}\\"]}}"}}, {{"c":3}}]'
    records = list(read_document(cut(text, size)))
    assert [record.value for record in records][::2] == [{"a": 1}, {"c": 3}]
    assert records[1].damage
    assert records[1].damage.code == "line_too_long"


def test_a_huge_object_without_a_known_list_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_REST_LIMIT", 1000)
    endless = (piece for part in (['{"orders":['], ['{"a":1},'] * 10_000) for piece in part)
    with pytest.raises(ExportError, match="'orders' is not a known list of this stream"):
        list(read_document(endless))
    assert sum(1 for _ in endless) > 9_000
