"""How many examples a property test runs.

A property runs as many as the profile says (`HYPOTHESIS_PROFILE`, see `PROFILES`). One whose examples are costly says
how many with `@examples(count)`, and a profile scales that. No test sets a number that a profile cannot raise.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings

Case = TypeVar("Case")
USUAL: Final = 50
PROFILES: Final = {"brief": USUAL // 10, "default": USUAL, "ci": USUAL // 5, "thorough": 10 * USUAL}
"""Profile -> examples of a property that says nothing of its own."""
_SHARED: Final = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)


def load_profile(name: str | None = None) -> None:
    """Registers the profiles and loads one: that of `HYPOTHESIS_PROFILE`, or `default`."""
    for profile, count in PROFILES.items():
        settings.register_profile(profile, deadline=None, max_examples=count, print_blob=True)
    settings.load_profile(name or os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(count: int, skip_checks: Iterable[HealthCheck] = _SHARED, at_least: int = 1, **options: Any) -> settings:
    """Settings of a property with costly examples, which share the fixtures of their test.

    Args:
        count: examples under `default`; other profiles run more or fewer in proportion.
        skip_checks: Hypothesis's checks that do not apply.
        at_least: examples under any profile, where a test has to find something.
        options: further settings.
    """
    number = max(at_least, count * settings().max_examples // USUAL)
    return settings(max_examples=number, suppress_health_check=list(skip_checks), **options)


def some_of(cases: Iterable[Case], at_least: int) -> list[Case]:
    """Returns the cases of a matrix that a profile runs: all, or under a profile with few examples every n-th."""
    found = list(cases)
    step = len(found) // max(at_least, len(found) * min(settings().max_examples, USUAL) // USUAL)
    return found[:: max(step, 1)]


def rounds(count: int, at_least: int) -> int:
    """How often a test that draws moments or orders of its own does so; profiles scale it as they do examples."""
    return max(at_least, count * settings().max_examples // USUAL)
