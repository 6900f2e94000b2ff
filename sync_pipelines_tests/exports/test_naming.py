"""Names that are no exports yet, and the natural order of paths (X4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.exports.naming import is_export_name, natural_order


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.json", True),
        ("2024/a.json", True),
        ("a.part.json", True),
        (".a.json", False),
        ("_SUCCESS", False),
        ("a.json.part", False),
        ("a.json.tmp", False),
        ("a.json.PARTIAL", False),
        (".sync/a.json", False),
        ("x/_temporary/a.json", False),
        ("x.tmp/a.json", True),
        ("~$2024-01-01.xlsx", False),
        ("2024/~$a.xlsx", False),
        ("a.csv.filepart", False),
        ("a.csv.crdownload", False),
        ("a.csv.swp", False),
        ("a.csv~", False),
        ("2024/Thumbs.db", False),
        ("Desktop.ini", False),
        ("2024/.DS_Store", False),
        ("__MACOSX/a.csv", False),
        ("~a.csv", True),
        ("my desktop.ini.csv", True),
    ],
)
def test_names_that_are_no_exports_yet(path: str, expected: bool) -> None:
    assert is_export_name(path) is expected


@pytest.mark.parametrize(
    "in_order",
    [
        ["orders_2024-03-01_9.csv", "orders_2024-03-01_10.csv", "orders_2024-03-01_100.csv"],
        ["a.json", "a2.json", "a10.json", "a10b.json", "ab.json"],
        ["part-0.csv", "part-1.csv", "part-00001.csv", "part-2.csv"],
        ["9/z.csv", "10/a.csv"],
        ["v1.9/a", "v1.10/a"],
        ["A", "a", "é"],
        [f"a{'9' * 60}", f"a1{'0' * 60}"],
    ],
)
def test_x4_ties_go_by_path_in_the_natural_order_of_its_digits(in_order: list[str]) -> None:
    assert sorted(reversed(in_order), key=natural_order) == in_order


@given(st.lists(st.text("0019/_a\U0001f600", max_size=8), unique=True))
def test_x4_different_paths_are_never_even(paths: list[str]) -> None:
    assert len({natural_order(path) for path in paths}) == len(paths)


@given(st.text("/_aé", max_size=4), st.integers(0, 10**30), st.integers(0, 10**30), st.text("/_aé", max_size=4))
def test_x4_a_number_in_a_path_compares_as_a_number(before: str, one: int, other: int, after: str) -> None:
    keys = [natural_order(f"{before}{number}{after}") for number in (one, other)]
    assert (keys[0] < keys[1]) == (one < other)
