"""JSON objects compared as PostgreSQL's JSONB compares them.

Belongs here: that type. Does not belong here: how objects merge (`fold`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any


class Jsonb(dict[str, Any]):
    """A JSON object: `1` equals `1.0` and differs from `true`; the order of names does not matter."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and comparable(self) == comparable(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


def are_unequal(before: Any, after: Any) -> bool:
    """Whether two values differ for JSONB whose numbers are exact, as `from_json` reads them."""
    # What is equal in Python may still be 1 beside true.
    return bool(before != after or comparable(before) != comparable(after))


def comparable(value: Any) -> Any:
    """A value such that Python's equality is JSONB's."""
    match value:
        case bool():
            return ("boolean", value)
        case int() | float() | Decimal():
            return Decimal(str(value))
        case dict():
            return {name: comparable(part) for name, part in value.items()}
        case list():
            return [comparable(part) for part in value]
        case _:
            return value
