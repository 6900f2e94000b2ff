"""Objects cut out of many lines at once are those that are cut out of each line by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.contracts.reading import Reading
from sync_pipelines.normalize.field_names import Names
from sync_pipelines.normalize.objects import ObjectCutter
from sync_pipelines.normalize.plain_text import Texts
from sync_pipelines.normalize.record_source import RecordSource
from sync_pipelines.partners import STREAMS

(BUSINESSES,) = (stream for stream in STREAMS if stream.full_name == "pocketflows/businesses")
VALUES = st.sampled_from(
    ["{}", '{"a":1}', '{"a":[2,"x"]}', '{"a":{"b":1}}', '{"a":"}"}', '{"a":"{"}', ' {"a":1}', '{"metadata":{}}', "7",
     "null", '{"a":', '{"a":1}}', '"metadata"', '{"a":"\\"metadata\\":{}"}', '{ "a" : 1 }']
)  # fmt: skip
LINES = st.builds(
    lambda name, values: f'{{"name":"{name}"{"".join(f",METADATA:{value}" for value in values)}}}'.replace(
        "METADATA", '"metadata"'
    ),
    st.sampled_from(["x", '\\"metadata\\":{}', "é}{"]),
    st.lists(VALUES, max_size=2) | VALUES.map(lambda value: [value]),
)


def new_cutter() -> ObjectCutter:
    names = Names(BUSINESSES.shape, {})
    source = RecordSource(BUSINESSES, "acme", None, Reading(), names, datetime(2024, 5, 2, tzinfo=UTC))
    return ObjectCutter(source, {"metadata": "metadata"}, frozenset({"metadata"}))


def cut_out(cutter: ObjectCutter, lines: list[str]) -> list[tuple[int, bytes, dict[str, object]]]:
    texts = Texts([line.encode() for line in lines])
    places, rest, said = cutter.cut(texts)
    assert rest.joined == b"\n".join(rest.lines) and len(rest) == len(said)
    return [(place, line, dict(one)) for place, line, one in zip(places.tolist(), rest.lines, said, strict=True)]


@given(st.lists(LINES, min_size=1, max_size=5))
def test_lines_are_cut_together_as_each_by_itself(lines: list[str]) -> None:
    alone = [(place, *rest) for place, line in enumerate(lines) for _, *rest in cut_out(new_cutter(), [line])]
    cutter = new_cutter()
    assert cut_out(cutter, lines) == alone
    assert cut_out(cutter, lines) == alone, "of objects that were seen before"


@pytest.mark.parametrize("seen", [True, False])
def test_known_objects_are_told_without_reading_them(monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    cutter, lines = new_cutter(), [f'{{"name":"{n}","metadata":{{"a":{n % 2}}}}}' for n in range(6)]
    if seen:
        cut_out(cutter, lines)
    by_itself: list[bytes] = []
    read: Callable[..., object] = ObjectCutter._one

    def noted(self: ObjectCutter, line: bytes) -> object:
        by_itself.append(line)
        return read(self, line)

    monkeypatch.setattr(ObjectCutter, "_one", noted)
    assert len(cut_out(cutter, lines)) == 6
    assert len(by_itself) == (0 if seen else 2)
