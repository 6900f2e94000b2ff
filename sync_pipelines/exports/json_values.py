"""JSON text to values without loss: exact numbers, exponents, NaN, duplicate names.

Belongs here: one shared decoder, its errors, the depth of nesting. Does not belong here: where a value begins and ends
in a file (`json_stream`, `lines`).
"""

from __future__ import annotations

import re
from decimal import Decimal
from json import JSONDecodeError, JSONDecoder
from typing import Any, Literal

from sync_pipelines.contracts.raw import AmbiguousObject, NotFinite, Scientific

MAX_NESTING = 200
"""Most levels of arrays and objects in a record."""

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_LONGEST_INTEGER = 4000


class NestedTooDeep(Exception):
    """A value has more than `MAX_NESTING` levels."""


def decode_at(text: str, begin: int) -> tuple[Any, int]:
    """Returns the JSON value that begins at `begin`, and where it ends.

    Raises:
        JSONDecodeError: there is no complete value.
        NestedTooDeep: it has more than `MAX_NESTING` levels.
    """
    try:
        value, end = _raw_decode(text, begin)
    except RecursionError:
        raise NestedTooDeep from None
    brackets = text.count("[", begin, end) + text.count("{", begin, end)
    if brackets > MAX_NESTING and _nesting(text[begin:end]) > MAX_NESTING:
        raise NestedTooDeep
    return value, end


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object from its members; an `AmbiguousObject` if a name appears twice with different values."""
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    doubled = {name: None for name, value in pairs if not _same(value, members[name])}
    return AmbiguousObject(pairs, tuple(doubled)) if doubled else members


def control_character(error: JSONDecodeError) -> Literal["NUL", "control"] | None:
    """Returns the kind of character that must be escaped in a string, if that is the error.

    A newline is not one of them: it rather means a missing closing quote.
    """
    if not error.msg.startswith("Invalid control character") or error.doc[error.pos] in "\r\n":
        return None
    return "NUL" if error.doc[error.pos] == "\0" else "control"


def explain(error: JSONDecodeError) -> str:
    """Returns the decoder's error as the end of a sentence."""
    return error.msg[:1].lower() + error.msg[1:].removesuffix(" at")


def _raw_decode(text: str, begin: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, begin)
    except JSONDecodeError:
        raise
    except ValueError:  # an integer longer than Python converts by default
        return _LONG_INTEGERS.raw_decode(text, begin)


def _same(left: Any, right: Any) -> bool:
    """Compares JSON values; true is not equal to 1."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(value, right[name]) for name, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(getattr(left, "text", left) == getattr(right, "text", right))


def _nesting(text: str) -> int:
    deepest = level = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        level += 1 if bracket in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def _fraction(text: str) -> Decimal:
    return Scientific(text) if "e" in text or "E" in text else Decimal(text)


def _long_integer(text: str) -> int | Scientific:
    return int(text) if len(text) <= _LONGEST_INTEGER else Scientific(text)


_DECODER = JSONDecoder(parse_float=_fraction, parse_constant=NotFinite, object_pairs_hook=build_object)
_LONG_INTEGERS = JSONDecoder(
    parse_float=_fraction, parse_int=_long_integer, parse_constant=NotFinite, object_pairs_hook=build_object
)
