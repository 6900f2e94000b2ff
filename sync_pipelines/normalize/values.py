"""Values outside the contract: made safe for JSONB, or displayed in a reject.

Belongs here: unknown fields and raw records as JSON. Does not belong here: contract fields.
"""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec

from sync_pipelines.contracts.characters import WHITE_SPACE
from sync_pipelines.contracts.codes import REJECT_CODES
from sync_pipelines.contracts.raw import AmbiguousObject, Binary, Cell, NamedRecord, NotFinite, Scientific
from sync_pipelines.contracts.reading import RecordRejected
from sync_pipelines.normalize.change import path_of
from sync_pipelines.privacy.untrusted_text import storable

DEEPEST: Final = 200
# PostgreSQL's numeric takes 131,072 digits before the decimal point and 16,383 after it.
_LARGEST_EXPONENT: Final = 16_000
_LONGEST_INTEGER: Final = 400


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return Decimal(value)
    raise NotImplementedError(type(value).__name__)


_decoder: Final = msgspec.json.Decoder(float_hook=Decimal)
_encoder: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=_plain)


def to_json(value: Any) -> str:
    """Returns the JSON text of a value from `keepable` or `displayable`; numbers keep their digits."""
    return _encoder.encode(value).decode()


def from_json(text: str | bytes) -> Any:
    """Reads what `to_json` or JSONB wrote; numbers keep all their digits."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        # It accepts no integers of thousands of digits.
        return json.loads(text, parse_float=Decimal, parse_int=_exact_integer)


def _exact_integer(text: str) -> int | Decimal:
    # Python does not convert integers of more than 4300 digits.
    return int(text) if len(text) < _LONGEST_INTEGER else Decimal(text)


def keepable(value: Any, path: tuple[str | int, ...]) -> Any:
    """Returns an unknown field's value in a form that JSONB can store.

    Raises:
        RecordRejected: NUL, broken Unicode, one name with two values, NaN, a number or a depth that PostgreSQL cannot
            store.
    """
    if len(path) > DEEPEST:
        raise RecordRejected("nesting_too_deep", path_of(path[:3]), REJECT_CODES["nesting_too_deep"])
    match value:
        case bool() | None:
            return value
        case Binary():
            return value.hex
        case Cell():
            return _keepable_text(value.strip(WHITE_SPACE), path)
        case str():
            return _keepable_text(value, path)
        case Decimal():
            return _keepable_number(value, path)
        case int():
            return value if -(2**63) <= value < 2**63 else _keepable_number(Decimal(value), path)
        case NotFinite():
            raise RecordRejected("not_finite", path_of(path), f"{value.text} is not a finite number")
        case list():
            return [keepable(part, (*path, index)) for index, part in enumerate(value)]
        case dict():
            if isinstance(value, AmbiguousObject):
                raise RecordRejected("field_conflict", path_of((*path, value.names[0])), REJECT_CODES["field_conflict"])
            return {_keepable_text(name, path): keepable(part, (*path, name)) for name, part in value.items()}
        case date():
            return value.isoformat()
        case _:
            return str(value)


def _keepable_text(text: str, path: tuple[str | int, ...]) -> str:
    if "\x00" in text:
        raise RecordRejected("nul_character", path_of(path), REJECT_CODES["nul_character"])
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RecordRejected("invalid_text", path_of(path), REJECT_CODES["invalid_text"]) from None
    return text


def _fits(number: Decimal) -> bool:
    """Whether PostgreSQL's numeric can store a number."""
    # The cheap check first: as_tuple takes seconds for millions of digits.
    if not number.is_finite() or abs(number.adjusted()) > _LARGEST_EXPONENT:
        return False
    exponent = number.as_tuple().exponent
    return not isinstance(exponent, int) or exponent >= -_LARGEST_EXPONENT


def _keepable_number(number: Decimal, path: tuple[str | int, ...]) -> Decimal:
    if not _fits(number):
        raise RecordRejected(
            "out_of_range", path_of(path), f"{getattr(number, 'text', str(number))[:40]} is out of range"
        )
    return number


def displayable(value: Any, depth: int = 0) -> Any:
    """Returns any raw value as JSON for `rejected_records.record`; what JSONB cannot store becomes text."""
    if depth > DEEPEST:
        return "…"
    match value:
        case bool() | None:
            return value
        case str():
            return storable(value)
        case Scientific() | NotFinite():
            return value.text
        case Decimal():
            return value if _fits(value) else str(value)
        case int():
            return value if -(2**63) <= value < 2**63 else str(value)
        case list():
            return [displayable(part, depth + 1) for part in value]
        case NamedRecord():
            return displayable({**value.unknown, **value}, depth)
        case dict():
            return {storable(str(name)): displayable(part, depth + 1) for name, part in value.items()}
        case date():
            return value.isoformat()
        case _:
            return str(value)
