"""Single columns as records leave them (X1, R4): which values differ, and what they become."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sync_pipelines.upsert.column_changes import changed_json, changed_value, remaining_names

OBJECTS: list[tuple[str, str | None, str | None, bool, str | None, bool]] = [
    # What is sent, what is stored, whether they merge, what comes of it, and whether that differs.
    ("the same in other words", '{"a":1,"b":2}', '{"b": 2, "a": 1.0}', False, '{"b": 2, "a": 1.0}', False),
    ("one is not true", '{"a":1}', '{"a": true}', False, '{"a":1}', True),
    (
        "more digits than a float has",
        '{"a":1.00000000000000001}',
        '{"a": 1}',
        False,
        '{"a":1.00000000000000001}',
        True,
    ),
    ("given keys replace", '{"a":{"y":1}}', '{"a": {"x": 1}, "b": 2}', True, '{"a":{"y":1},"b":2}', True),
    ("nothing is added", "{}", '{"a": 1}', True, '{"a": 1}', False),
    ("null clears", None, '{"a": 1}', True, None, True),
    ("there was none", '{"a":null}', None, True, '{"a":null}', True),
]


@pytest.mark.parametrize("case", OBJECTS, ids=lambda case: case[0])
def test_objects_are_compared_as_jsonb_compares_them(case: tuple[Any, ...]) -> None:
    _, sent, stored, merges, after, differs = case
    revision = changed_json(
        pa.array([sent], pa.string()), pa.array([stored], pa.string()), np.ones(1, bool), merges=merges
    )
    assert revision.differs.tolist() == [differs]
    assert revision.after.to_pylist() == [after]


VALUES = [
    ("a", "a", False),
    ("a", None, True),
    (None, "a", True),
    (None, None, False),
    (["x"], ["x"], False),
    ([], None, True),
]


@pytest.mark.parametrize(("sent", "stored", "differs"), VALUES)
def test_null_equals_null_alone(sent: Any, stored: Any, differs: bool) -> None:
    kind = pa.list_(pa.string()) if isinstance(sent, list) else pa.string()
    revision = changed_value(pa.array([sent], kind), pa.array([stored], kind), np.ones(1, bool))
    assert (revision.differs.tolist(), revision.after.to_pylist()) == ([differs], [sent])


def test_what_is_not_spoken_of_stays() -> None:
    column = pa.array(["a", "b"])
    revision = changed_value(pa.array(["x", "y"]), column, np.array([False, True]))
    assert (revision.differs.tolist(), revision.after.to_pylist()) == ([False, True], ["a", "y"])


def test_a_new_row_takes_what_was_sent_or_its_default() -> None:
    sent, is_set = pa.array(["a", None, None]), np.array([True, True, False])
    assert changed_value(sent, None, is_set, pa.scalar("d")).after.to_pylist() == ["a", None, "d"]
    assert changed_value(sent, None, is_set).after.to_pylist() == ["a", None, None]


def test_names_stay_until_they_are_spoken_of() -> None:
    bits, present = {"x": 1, "y": 2}, np.array([0, 2, 3])
    assert remaining_names(bits, present, None).after.to_pylist() == [["x", "y"], ["x"], []]
    kept = remaining_names(bits, present, pa.array([["x"], ["x"], None]))
    assert (kept.after.to_pylist(), kept.differs.tolist()) == ([["x"], ["x"], None], [False, False, False])
