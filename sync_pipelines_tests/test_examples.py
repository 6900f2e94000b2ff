"""Every property test runs more examples under a profile that asks for more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from sync_pipelines_tests import examples as chosen
from sync_pipelines_tests.examples import PROFILES, examples, load_profile

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _same_profile_afterwards() -> Iterator[None]:
    before = settings.get_current_profile_name()
    yield
    settings.load_profile(before)


@pytest.mark.parametrize(("profile", "count", "number"), [("default", 8, 8), ("ci", 8, 1), ("thorough", 8, 80)])
def test_a_profile_scales_what_a_costly_property_asks_for(profile: str, count: int, number: int) -> None:
    load_profile(profile)
    assert settings().max_examples == PROFILES[profile]
    assert examples(count).max_examples == number


def test_a_property_has_at_least_one_example() -> None:
    load_profile("brief")
    assert examples(4).max_examples == 1


def test_no_test_sets_a_number_that_a_profile_cannot_raise() -> None:
    fixed = [
        f"{path.relative_to(TESTS)}:{node.value.lineno}"
        for path in sorted(TESTS.rglob("*.py"))
        if path not in (Path(__file__), Path(chosen.__file__))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "max_examples"
    ]
    assert fixed == []
