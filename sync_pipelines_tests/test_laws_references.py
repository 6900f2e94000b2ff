"""Law 1 across streams: businesses and customers, a business named now by id, now by external id (X7, P1, P2, P5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import Site
from sync_pipelines_tests.test_laws import loading_plan
from sync_pipelines_tests.test_laws_identity import DAYS, Export, comparable, load, maybe, merged

BUSINESSES = [{"id": "7", "external_id": "x"}, {"id": "8", "external_id": "y"}]
"""Each has one id and one external id for ever; a record may name either or both."""

business = st.builds(
    merged,
    st.sampled_from(BUSINESSES).flatmap(
        lambda b: st.sampled_from([b, {"id": b["id"]}, {"external_id": b["external_id"]}])
    ),
    st.sampled_from([{"name": "K"}, {"name": "L", "metadata": {"a": 1}}]),
)
customer = st.builds(
    merged,
    st.sampled_from(
        [
            {"business_id": "7"},
            {"business_external_id": "x"},
            {"business_id": "7", "business_external_id": "x"},
            {"business_id": "8"},
            {"business_id": "8", "business_external_id": "y"},
            # One that contradicts the others (F11).
            {"business_id": "7", "business_external_id": "y"},
        ]
    ),
    st.sampled_from(
        [
            {"id": "1"},
            {"external_id": "a"},
            {"id": "1", "external_id": "a"},
            {"id": "2", "external_id": "a"},
            {"external_id": "b"},
        ]
    ),
    maybe("full_name", "Ana", "Leo"),
)


@st.composite
def history(draw: st.DrawFn) -> list[Export]:
    exports = []
    for number in range(draw(st.integers(2, 6))):
        day = draw(st.sampled_from(DAYS))
        stream, record = draw(st.sampled_from([("businesses", business), ("customers", customer)]))
        entries = tuple(draw(st.lists(record, min_size=1, max_size=3)))
        exports.append(Export(f"pocketflows/acme/{stream}/{day.date()}_{number}.ndjson", day, entries))
    if draw(st.booleans()):
        whole = tuple({**b, "name": "whole"} for b in BUSINESSES)
        day = draw(st.sampled_from(DAYS))
        exports.append(Export(f"pocketflows/acme/businesses/{day.date()}_9.ndjson", day, whole))
    return exports


@examples(15)
@given(data=st.data())
def test_law_1_of_businesses_named_by_id_and_by_external_id(
    fresh_site: Callable[[], Site], data: st.DataObject
) -> None:
    exports = data.draw(history())
    found: list[Any] = []
    for _ in range(2):
        site = fresh_site()
        load(site, exports, data.draw(loading_plan(len(exports))))
        found.append(comparable(site, "commerces", "customers"))
    assert found[0] == found[1]
