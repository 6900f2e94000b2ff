"""JSON as programs send it: values one after another, objects over lines, broken elements, commas, envelopes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sync_pipelines.contracts.raw import RawRecord
from sync_pipelines.errors import ExportError
from sync_pipelines.exports import formats, lines
from sync_pipelines.exports.json_stream import read_document
from sync_pipelines_tests.exports.conftest import Read

A, B, C = ({"id": name, "items": [{"q": 1}, {"q": 2}]} for name in "abc")


def told(records: list[RawRecord]) -> list[Any]:
    """Ids and codes, with positions and leniencies."""
    return [
        (
            r.position,
            r.damage.code if r.damage else r.value["id"] if isinstance(r.value, dict) else r.value,
            *r.forgiven,
        )
        for r in records
    ]


def joined(*values: Any, by: str = "", indent: int | None = None) -> bytes:
    return by.join(json.dumps(value, indent=indent) for value in values).encode()


@pytest.mark.parametrize("by", ["", " ", "\n", "\r\n\r\n"])
@pytest.mark.parametrize("name", ["x.json", "x.ndjson", "x.jsonl"])
@pytest.mark.parametrize("indent", [None, 1, 4])
def test_values_follow_one_another_on_a_line_or_over_lines(name: str, by: str, indent: int | None, read: Read) -> None:
    records = read(name, joined(A, B, C, by=by, indent=indent))
    assert [record.value for record in records] == [A, B, C]
    assert not any(record.forgiven for record in records)
    assert len({record.position for record in records}) == 3


def test_a_file_without_an_extension_is_read_by_its_format(read: Read) -> None:
    assert len(read("stream-1-2024", joined(A, B), format="ndjson")) == 2


def test_positions_are_lines_and_places_on_them(read: Read) -> None:
    data = joined(A) + b"\n" + joined(B, C) + b"\n" + joined(A, indent=2) + b"\n" + joined(B)
    assert [r.position for r in read("x.jsonl", data)] == ["1", "2/1", "2/2", "3", "14"]


def test_values_without_any_line_break_are_read_whatever_their_length(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_FIRST_LINE", 100)
    monkeypatch.setattr(lines, "LINE_LIMIT", 200)
    assert [r.value for r in read("x.ndjson", joined(*[A] * 50))] == [A] * 50


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_an_object_over_lines_is_read_wherever_blocks_end(
    size: int, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK_LINES", size)
    monkeypatch.setattr("sync_pipelines.exports.text.CHUNK", 16)
    data = b"\n".join([joined(A), joined(B, indent=1), joined(C), joined(A, indent=2)])
    assert [r.value for r in read("x.jsonl", data)] == [A, B, C, A]


def test_a_damaged_line_takes_no_neighbour_with_it(read: Read) -> None:
    data = b'{"id": "a",\n{"id": "b"}\n{"id": \n{"id": "c"}\n{"id": "d", "x": [\n nope,\n{"id": "e"}\n'
    assert told(read("x.jsonl", data)) == [
        ("1", "not_json"), ("2", "b"), ("3", "not_json"), ("4", "c"), ("5", "not_json"), ("7", "e"),
    ]  # fmt: skip


def test_an_object_within_a_broken_one_is_no_record(read: Read) -> None:
    data = b'{"id": "a", "items": [\n  {"id": "x"}\n\n{"id": "b"}\n{"id": "c", "items": [\n  {"id": "y"}\n'
    assert told(read("x.jsonl", data)) == [("1", "not_json"), ("4", "b"), ("5", "not_json")]


def test_a_broken_object_over_lines_is_one_reject(read: Read) -> None:
    broken = joined(A, indent=1).replace(b'"q": 1', b'"q": 12,50')
    assert told(read("x.jsonl", broken + b"\n" + joined(B))) == [("1", "not_json"), ("12", "b")]


BROKEN = {
    "decimal comma": '{"id":"x","n":12,50}',
    "no value": '{"id":"x","n":}',
    "bare word": '{"id":"x","n":undefined}',
    "single quotes": "{'id':'x'}",
    "quote within": '{"id":"x","name":"5" pipe"}',
    "unclosed list": '{"id":"x","n":[1,2}',
    "no colon": '{"id" "x","n":{"id":"y"}}',
    "nested": '{"id":"x","n":[{"id":"y","q":1,5},{"id":"z"}]}',
    "a word": "nope",
    "line break in text": '{"id":"x","name":"one\ntwo"}',
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("by", [",", ",\n", " ,\n  "])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_broken_element_is_one_reject_and_its_neighbours_are_read(broken: str, by: str, size: int) -> None:
    text = "[" + by.join([json.dumps(A), BROKEN[broken], json.dumps(B), BROKEN[broken], json.dumps(C)]) + "]"
    records = list(read_document(text[at : at + size] for at in range(0, len(text), size)))
    assert told(records) == [("1", "a"), ("2", "not_json"), ("3", "b"), ("4", "not_json"), ("5", "c")]
    assert records[1].damage
    assert records[1].damage.text == BROKEN[broken]


def test_an_element_without_its_end_is_told_by_the_next_that_begins_a_line_as_it_does(read: Read) -> None:
    data = b'[\n  {"id":"a","n":{"q":1},\n  {"id":"b"},\n  {"id":"c"}\n]'
    assert told(read("x.json", data)) == [("1", "not_json"), ("2", "b"), ("3", "c")]


def test_broken_elements_of_a_list_in_a_body_are_rejects_too(read: Read) -> None:
    data = b'{"count": 2, "items": [{"id":"a"},{"id":"x","n":1,5},{"id":"b"}], "next": null}'
    *records, rest = read("x.json", data, envelopes=frozenset({"items"}))
    assert told(records) == [("1", "a"), ("2", "not_json"), ("3", "b")]
    assert (rest.within, rest.value) == ("rest", {"count": 2, "next": None})


@pytest.mark.parametrize("text", ['[{"id":"a"},{"id":"b"', '[{"id":"a","n":1,5},{"id":"b"}', '[{"id":"a"}'])
def test_a_list_that_ends_too_early_fails_as_a_whole(text: str, read: Read) -> None:
    with pytest.raises(ExportError, match=r"^not_json: .*the file ends in the middle"):
        read("x.json", text.encode())


@pytest.mark.parametrize("text", ['{"id":"a","n":12,50}', '{"items":[{"id":"a"}],"n":}'])
def test_a_broken_body_fails_as_a_whole(text: str, read: Read) -> None:
    with pytest.raises(ExportError, match=r"^not_json: "):
        read("x.json", text.encode(), envelopes=frozenset({"items"}))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.json", '[{"id":"a"},{"id":"b"},]', [("1", "a"), ("2", "b", "trailing_comma")]),
        (
            "x.json",
            '[{"id":"a",},{"id":"b","n":[1,2,],}]',
            [("1", "a", "trailing_comma"), ("2", "b", "trailing_comma")],
        ),
        ("x.json", '[{"id":"a"} {"id":"b"}]', [("1", "a"), ("2", "b", "missing_comma")]),
        ("x.json", '{"id":"a",}', [("1", "a", "trailing_comma")]),
        ("x.ndjson", '{"id":"a",}\n{"id":"b"}', [("1", "a", "trailing_comma"), ("2", "b")]),
        ("x.ndjson", '{"id":"a"},\n{"id":"b"}', [("1", "a", "trailing_comma"), ("2", "b")]),
        ("x.ndjson", '{"id":"a", "x": ",}"}', [("1", "a")]),
    ],
)
def test_commas_are_forgiven_and_counted(name: str, text: str, expected: list[Any], read: Read) -> None:
    assert told(read(name, text.encode())) == expected


SINGER = b"""{"type": "SCHEMA", "stream": "orders", "schema": {}}
{"type": "RECORD", "stream": "orders", "record": {"id": "a"}}
{"type": "RECORD", "stream": "users", "record": {"id": "u"}}
{"type": "STATE", "value": {}}
"""
AIRBYTE = b"""{"type": "LOG", "log": {"message": "x"}}
{"type": "RECORD", "record": {"stream": "orders", "data": {"id": "a"}, "emitted_at": 1}}
"""
TABLE = b'[{"_airbyte_ab_id": "1", "_airbyte_data": {"id": "a"}}, {"_airbyte_data": "{\\"id\\": \\"b\\"}"}]'


@pytest.mark.parametrize(
    ("name", "data", "tool", "record"),
    [
        ("x.ndjson", SINGER, "Singer", "record"),
        ("x.ndjson", SINGER.split(b"\n", 1)[1], "Singer", "record"),
        ("x.ndjson", AIRBYTE, "Airbyte", "record.data"),
        ("x.json", TABLE, "Airbyte", "_airbyte_data"),
    ],
)
def test_messages_of_a_tool_are_named_and_read_by_a_setting(
    name: str, data: bytes, tool: str, record: str, read: Read
) -> None:
    with pytest.raises(ExportError) as caught:
        read(name, data)
    assert caught.value.code == "wrong_envelope"
    assert str(caught.value).startswith(f"wrong_envelope: the file holds {tool} messages, not records")
    assert f"set `record: {record}`" in str(caught.value)
    assert read(name, data, record=record)[0].value == {"id": "a"}


def test_what_is_no_record_is_passed_over_and_another_stream_is_refused(read: Read) -> None:
    assert told(read("x.ndjson", SINGER, record="record")) == [("2", "a"), ("3", "not_an_object")]
    assert told(read("x.json", TABLE, record="_airbyte_data")) == [("1", "a"), ("2", "b")]
    (missing,) = read("x.ndjson", b'{"data": [1]}', record="data")
    assert missing.damage
    assert missing.damage[:2] == ("not_an_object", "there is no object at `record: data`")


def test_a_record_with_a_type_of_its_own_is_no_message(read: Read) -> None:
    assert len(read("x.ndjson", b'{"id": "a", "type": "RECORD"}\n{"id": "b", "type": "STATE", "record": 5}')) == 2
