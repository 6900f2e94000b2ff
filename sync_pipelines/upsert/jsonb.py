"""Compares JSON objects as PostgreSQL's JSONB does.

Belongs here: that type. Does not belong here: how objects merge (`fold`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any


class Jsonb(dict[str, Any]):
    """A JSON object: `1` equals `1.0` but not `true`; the order of names does not matter."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and comparable(self) == comparable(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


def are_unequal(before: Any, after: Any) -> bool:
    """Whether two values differ for JSONB. Their numbers are exact, as `from_json` reads them."""
    # Values that are equal in Python may still be 1 and true.
    return bool(before != after or comparable(before) != comparable(after))


def comparable(value: Any) -> Any:
    """Returns a value for which Python's equality is JSONB's."""
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
