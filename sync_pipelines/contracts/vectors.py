"""Field types read a column at a time: conditions for plain values in a column of JSON, and its finished form.

A value is plain if the exact pass of its field type accepts it unchanged, without leniencies. Other values are left to
the field type itself (see `fields`). A property test compares the two.

Belongs here: the conditions, as Arrow computations. Does not belong here: which field type uses which (`fields`),
reading JSON (`normalize.plain`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

_TIMESTAMP: Final = pa.timestamp("us", "UTC")
_DATE: Final = r"(19\d\d|2[01]\d\d|2200)-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME: Final = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?"
_INSTANT: Final = rf"^{_DATE}T{_TIME}Z$"


@dataclass(frozen=True)
class Vector:
    """How a column of one field type is read at once.

    Attributes:
        decoded: the type that the JSON is decoded to; a value of another JSON type is not plain.
        finish: the decoded column -> the finished one, and which of its values are plain (None: all of them). Nulls
            represent absent fields and are plain.
    """

    decoded: pa.DataType
    finish: Callable[[Any], tuple[Any, Any | None]]


def _as_it_is(column: Any) -> tuple[Any, Any | None]:
    return column, None


INTEGER: Final = Vector(pa.int64(), _as_it_is)
"""64-bit integers, written without a decimal point."""
FLAG: Final = Vector(pa.bool_(), _as_it_is)
"""true and false."""
TEXTS: Final = Vector(pa.list_(pa.string()), _as_it_is)
"""Lists of texts."""
OBJECT: Final = Vector(pa.bool_(), _as_it_is)
"""Objects of any content, which are cut out of their lines beforehand and replaced by `true`."""


def text(max_length: int | None, *, stripped: str = "", is_filled: bool = False) -> Vector:
    """Returns the vector of texts of at most `max_length` characters.

    Args:
        max_length: None for any length.
        stripped: characters that never surround the text; if set, letters are composed (NFC).
        is_filled: whether they must not be empty.
    """

    def finish(column: Any) -> tuple[Any, Any | None]:
        conditions = []
        if max_length is not None:
            conditions.append(pc.less_equal(pc.utf8_length(column), max_length))
        if stripped:
            conditions.append(pc.equal(pc.utf8_trim(column, characters=stripped), column))
            if not pc.all(pc.string_is_ascii(column), min_count=0).as_py():
                conditions.append(pc.equal(pc.utf8_normalize(column, form="NFC"), column))
        if is_filled:
            conditions.append(pc.not_equal(column, ""))
        return column, reduce(pc.and_, conditions) if conditions else None

    return Vector(pa.string(), finish)


def filled(white_space: str, max_length: int | None = None) -> Vector:
    """Returns the vector of texts that are more than white space, of at most `max_length` characters."""

    def finish(column: Any) -> tuple[Any, Any | None]:
        plain = pc.not_equal(pc.utf8_trim(column, characters=white_space), "")
        if max_length is not None:
            plain = pc.and_(plain, pc.less_equal(pc.utf8_length(column), max_length))
        return column, plain

    return Vector(pa.string(), finish)


def like(pattern: str) -> Vector:
    """Returns the vector of texts that match a pattern as a whole."""

    def finish(column: Any) -> tuple[Any, Any | None]:
        return column, pc.match_substring_regex(column, f"^(?:{pattern})$")

    return Vector(pa.string(), finish)


def decimal(precision: int, scale: int, low: int | None = None, high: int | None = None) -> Vector:
    """Returns the vector of numbers without excess decimals, exact from their text (X9); limits are inclusive."""
    limit = Decimal(10) ** (precision - scale)
    kind = pa.decimal128(precision, scale)
    # A decoded number may have one digit more than its type says.
    wide = pa.decimal128(precision + 4, scale)

    def finish(column: Any) -> tuple[Any, Any | None]:
        number = column.cast(wide)
        plain = pc.less(pc.abs(number), pa.scalar(limit, wide))
        if low is not None:
            plain = pc.and_(plain, pc.greater_equal(number, pa.scalar(Decimal(low), wide)))
        if high is not None:
            plain = pc.and_(plain, pc.less_equal(number, pa.scalar(Decimal(high), wide)))
        return column, plain

    return Vector(kind, finish)


def instant() -> Vector:
    """Returns the vector of moments as `2024-05-01T10:00:00Z`, with a fraction of up to six digits."""

    def finish(column: Any) -> tuple[Any, Any | None]:
        plain = pc.match_substring_regex(column, _INSTANT)
        if not pc.all(plain, min_count=0).as_py():
            column = pc.if_else(plain, column, None)
        try:
            return column.cast(_TIMESTAMP), plain
        except pa.ArrowInvalid:
            # A day that its month does not have: the field type reads the whole column.
            return pa.nulls(len(column), _TIMESTAMP), pa.array([False] * len(column), pa.bool_())

    return Vector(pa.string(), finish)


def one_of(known: Callable[[], frozenset[str]]) -> Vector:
    """Returns the vector of words from a fixed set."""

    def finish(column: Any) -> tuple[Any, Any | None]:
        return column, pc.or_(pc.is_null(column), pc.is_in(column, value_set=pa.array(sorted(known()))))

    return Vector(pa.string(), finish)
