"""The field types of contracts, each with its leniencies.

A contract is validated at most twice. The exact pass (pydantic's strict mode) accepts only values that already have
their type, and runs in pydantic's core. A record that fails it takes the lenient pass, in which each type first
converts what the rules allow and counts that (X8). Both passes share one contract.

Belongs here: types any partner may use. Does not belong here: which field has which type (`partners`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Annotated, Any, Final, cast

from pydantic import Field, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

from sync_pipelines.contracts import vectors
from sync_pipelines.contracts.characters import INVISIBLE, UNSEEN, WHITE_SPACE, composed
from sync_pipelines.contracts.currencies import known_currencies
from sync_pipelines.contracts.dates import read_instant
from sync_pipelines.contracts.numbers import number_from_text
from sync_pipelines.contracts.personal import OBJECT
from sync_pipelines.contracts.raw import NotFinite, Percent, Scientific
from sync_pipelines.contracts.reading import Reading, reject, shown
from sync_pipelines.contracts.texts import check_storable, read_code, read_email, read_key, read_text, unwrapped
from sync_pipelines.contracts.vectors import Vector

_NO_NUL: Final = r"^[^\x00]*$"
_KEY: Final = rf"^[^\x00{WHITE_SPACE}]([^\x00]*[^\x00{WHITE_SPACE}])?$"
_FILLED: Final = rf"^[^\x00]*[^\x00{WHITE_SPACE}][^\x00]*$"
# From here on a letter can be written in two ways; texts with such letters take the lenient pass.
_DECOMPOSED: Final = "\u0300-\U0010ffff"
_EXACT_KEY: Final = rf"^[^\x00{UNSEEN}{_DECOMPOSED}]([^\x00{_DECOMPOSED}]*[^\x00{UNSEEN}{_DECOMPOSED}])?$"
_EMAIL: Final = r"^([^\x00]*)$"
_EXACT_EMAIL: Final = rf"^([^\x00{INVISIBLE}{_DECOMPOSED}]([^\x00{_DECOMPOSED}]*[^\x00{INVISIBLE}{_DECOMPOSED}])?)?$"
_INTEGER_LIMIT: Final = 2**63
_MONEY_PLACES: Final = Decimal("0.0001")
_MONEY_LIMIT: Final = Decimal(10) ** 14

Mend = Callable[[Any, Reading], Any]


class Lenient:
    """Annotation: how to convert a value before the exact type sees it, in the lenient pass only.

    `exact` is the pattern of texts that need no conversion, if it is not the type's own.
    """

    def __init__(self, mend: Mend, *rules: str, exact: str | None = None) -> None:
        self._mend = mend
        self._exact = exact
        self.rules = rules

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        exact = handler(source)

        def mend(value: Any, info: core_schema.ValidationInfo) -> Any:
            return self._mend(value, cast(Reading, info.context))

        lenient = core_schema.with_info_before_validator_function(mend, exact)
        if self._exact is not None:
            exact = cast(CoreSchema, {**exact, "pattern": self._exact})
        return core_schema.lax_or_strict_schema(lax_schema=lenient, strict_schema=exact)


class Exact:
    """Annotation: a function that accepts a finished value unchanged and converts any other, in both passes.

    For types whose exact form pydantic's core cannot check cheaply: money and instants. `vector` reads a whole column,
    if possible.
    """

    def __init__(self, read: Mend, json_schema: dict[str, Any], *rules: str, vector: Vector | None = None) -> None:
        self._read = read
        self._json_schema = json_schema
        self.rules = rules
        self.vector = vector

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def read(value: Any, info: core_schema.ValidationInfo) -> Any:
            return self._read(value, cast(Reading, info.context))

        return core_schema.with_info_plain_validator_function(read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return self._json_schema


def read_number(value: Any, reading: Reading) -> Decimal:
    """Returns a finite number, exact to the digit, from the text of the export (X9)."""
    match value:
        case bool():
            raise reject("not_a_number", "true/false is not a number")
        case Decimal():
            if not value.is_finite():
                raise reject("out_of_range", f"{shown(value)} is out of range")
            return Decimal(value)
        case int():
            return Decimal(value)
        case str():
            return number_from_text(value, reading)
        case NotFinite():
            raise reject("not_finite", f"{value.text} is not a finite number")
        case None:
            raise reject("required", "null is not a number")
        case _:
            raise reject("not_a_number")


def read_integer(value: Any, reading: Reading) -> int:
    """Returns a 64-bit integer. `6.0` is 6, counted; `1.5` is rejected (X9)."""
    if type(value) is int:
        number = value
    else:
        exact = read_number(value, reading)
        if exact and exact.adjusted() > 18:
            raise reject("out_of_range", f"{shown(value)} is out of range")
        if exact != exact.to_integral_value():
            raise reject("not_an_integer", f"{shown(value)} is not an integer")
        if _has_decimals(exact) or isinstance(value, Scientific):
            reading.forgive("dropped_zero_decimals")
        number = int(exact)
    if not -_INTEGER_LIMIT <= number < _INTEGER_LIMIT:
        raise reject("out_of_range", f"{shown(number)} is out of range")
    return number


def _has_decimals(number: Decimal) -> bool:
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent < 0


def read_money(value: Any, reading: Reading) -> Decimal:
    """Returns an amount as NUMERIC(18,4). Further decimals are rounded half up, counted unless zeros (X9)."""
    number = value if type(value) is Decimal else read_number(value, reading)
    if not number:
        return Decimal(0)
    if number.adjusted() > 15:
        raise reject("out_of_range", f"{shown(value)} is out of range for NUMERIC(18,4)")
    if number.as_tuple().exponent < -4:  # type: ignore[operator]
        number = _rounded(number, _MONEY_PLACES, reading)
    if not -_MONEY_LIMIT < number < _MONEY_LIMIT:
        raise reject("out_of_range", f"{shown(value)} is out of range for NUMERIC(18,4)")
    return number


def _rounded(number: Decimal, places: Decimal, reading: Reading) -> Decimal:
    with localcontext(prec=60):
        rounded = number.quantize(places, rounding=ROUND_HALF_UP)
    if rounded != number:
        reading.forgive("rounded")
    return rounded


def read_flag(value: Any, reading: Reading) -> Any:
    """Returns a boolean. Text and 1/0 are accepted too, counted (X10)."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, Decimal)) and value in (0, 1):
        reading.forgive("boolean_from_text")
        return bool(value)
    if isinstance(value, str):
        word = flag_word(unwrapped(value.strip(UNSEEN), reading) if reading.flat else value)
        flag = reading.words.get(word, _FLAGS.get(word))
        if flag is not None:
            reading.forgive("boolean_from_text")
            return flag
    message = f"{shown(value)!r} is not a known word for yes or no; add it to `true_values` or `false_values`"
    raise reject("not_a_boolean", message)


def flag_word(text: str) -> str:
    """Returns a word for yes or no in the form that is compared: trimmed, in NFC, in lower case."""
    return composed(text.strip(WHITE_SPACE)).casefold()


_FLAGS: Final = {
    **dict.fromkeys("true t yes y si sí s sim on verdadero 1 1.0".split(), True),
    **dict.fromkeys("false f no n não nao off falso 0 0.0".split(), False),
}


def read_currency(value: Any, reading: Reading) -> str:
    """Returns an ISO 4217 code. Lower case is raised, counted; an unknown code is rejected (O2, T3)."""
    if type(value) is str and value in known_currencies():
        return value
    text = read_text(value, reading)
    if text is None:
        raise reject("required", "null is not a currency")
    text = str(text)
    code = text.strip(WHITE_SPACE).upper()
    if code not in known_currencies():
        raise reject("currency_unknown", f"{shown(text)!r} is not an ISO 4217 code")
    if code != text:
        reading.forgive("upper_cased_code" if text.strip(WHITE_SPACE) != code else "trimmed_text")
    return code


_NUMBER: Final = {"type": "number"}

Text = Annotated[str, StringConstraints(strict=True, pattern=_NO_NUL), Lenient(read_text, "X2")]
"""Text of any length without NUL."""
Text50 = Annotated[str, StringConstraints(strict=True, pattern=_NO_NUL, max_length=50), Lenient(read_text, "X2")]
"""Text of at most 50 characters."""
Email = Annotated[str, StringConstraints(strict=True, pattern=_EMAIL), Lenient(read_email, "X2", exact=_EXACT_EMAIL)]
"""An email, in NFC and without surrounding invisible characters; its format is not checked."""
Key = Annotated[
    str, StringConstraints(strict=True, pattern=_KEY, max_length=500), Lenient(read_key, "X2", exact=_EXACT_KEY)
]
"""A key or reference: trimmed, in NFC, never empty (X2); at most 500 characters, the limit of an index."""
Key100 = Annotated[
    str, StringConstraints(strict=True, pattern=_KEY, max_length=100), Lenient(read_key, "X2", exact=_EXACT_KEY)
]
"""A key of at most 100 characters."""
Count = Annotated[
    int,
    Field(strict=True, ge=-_INTEGER_LIMIT, lt=_INTEGER_LIMIT),
    Lenient(lambda v, r: None if v is None else read_integer(v, r), "X9"),
]
"""A 64-bit integer."""
Money = Annotated[Decimal, Exact(read_money, _NUMBER, "X9", vector=vectors.decimal(18, 4))]
"""An amount, NUMERIC(18,4)."""
Flag = Annotated[bool, Field(strict=True), Lenient(read_flag, "X10")]
"""A boolean."""
Instant = Annotated[
    datetime, Exact(read_instant, {"type": "string", "format": "date-time"}, "X10", vector=vectors.instant())
]
"""A moment, UTC."""
Currency = Annotated[
    str,
    Exact(read_currency, {"type": "string", "pattern": "^[A-Z]{3}$"}, "O2", vector=vectors.one_of(known_currencies)),
]
"""An ISO 4217 code."""


# -- coordinates, choices, lists, objects --------------------------------------------------------------------------

_COORDINATE_PLACES: Final = Decimal("0.000001")


def read_coordinate(value: Any, reading: Reading, limit: int) -> Decimal | None:
    """Returns degrees as NUMERIC(9,6) within +-`limit`. Further decimals are rounded half up, counted (X9)."""
    if value is None:
        return None
    number = read_number(value, reading)
    if abs(number) > limit:
        raise reject("out_of_range", f"{shown(value)} is not between -{limit} and {limit}")
    if number.as_tuple().exponent < -6:  # type: ignore[operator]
        number = _rounded(number, _COORDINATE_PLACES, reading)
    return number


def coordinate(limit: int, read: Callable[[Any, Reading, int], Decimal | None] = read_coordinate) -> Exact:
    """Returns the annotation of a latitude (90) or longitude (180); null is a valid value."""

    def read_one(value: Any, reading: Reading) -> Decimal | None:
        return read(value, reading, limit)

    return Exact(read_one, _NUMBER, "X9", vector=vectors.decimal(9, 6, -limit, limit))


def choice(*options: str) -> Exact:
    """Returns the annotation of a field with few allowed words, matched without case, counted (R9)."""

    def read(value: Any, reading: Reading) -> str:
        text = read_text(value, reading)
        if text is None:
            raise reject("required", "null is not allowed here")
        plain = text.strip(WHITE_SPACE)
        word = next((option for option in options if option.casefold() == plain.casefold()), None)
        if word is None:
            raise reject("not_a_choice", f"{shown(text)!r} is not one of {', '.join(options)}")
        if word != text:
            reading.forgive("folded_case" if plain != word else "trimmed_text")
        return word

    return Exact(read, {"enum": list(options)}, vector=vectors.one_of(lambda: frozenset(options)))


def read_texts(value: Any, reading: Reading) -> list[str]:
    """Returns a list of texts; null is the empty list (X1)."""
    if value is None:
        return []
    if isinstance(value, dict) and all(name.isascii() and name.isdigit() for name in value):
        reading.forgive("list_from_object")
        value = list(value.values())
    if not isinstance(value, list):
        raise reject("not_a_list")
    texts = [read_text(element, reading) for element in value]
    for text in texts:
        if text is None:
            raise reject("not_text", "null is not text")
        check_storable(text)
    return texts


def read_object(value: Any, reading: Reading) -> dict[str, Any] | None:
    """Returns a JSON object; null clears. PHP writes an empty one as an empty list."""
    if value == [] and isinstance(value, list):
        reading.forgive("object_from_list")
        return {}
    if value is not None and not isinstance(value, dict):
        raise reject("not_an_object", f"{shown(value)!r} is not an object")
    return value


def read_country(value: Any, reading: Reading) -> str:
    """Returns a two-letter code. Lower case is raised, counted (T7)."""
    text = read_text(value, reading)
    if text is None:
        raise reject("required", "null is not a country")
    code = text.strip(WHITE_SPACE).upper()
    if not re.fullmatch("[A-Z]{2}", code):
        raise reject("country_invalid", f"{shown(text)!r} is not a two-letter country code")
    if code != text:
        reading.forgive("upper_cased_code" if text.strip(WHITE_SPACE) != code else "trimmed_text")
    return str(code)


def read_percentage(value: Any, reading: Reading) -> Decimal | None:
    """Returns a percentage, 0 to 100 inclusive (T4). `7.5%` is 7.5, in a workbook too."""
    if value is None:
        return None
    if isinstance(value, Percent):
        reading.forgive("percent_sign")
        number = Decimal(value) * 100
    elif isinstance(value, str):
        number = number_from_text(value, reading, takes_percent=True)
    else:
        number = read_number(value, reading)
    if not 0 <= number <= 100:
        raise reject("out_of_range", f"{shown(value)} is not between 0 and 100")
    return read_money(number, reading)


def read_filled(value: Any, reading: Reading) -> str:
    """Returns text that is not empty (R2, R9)."""
    return _filled(read_text(value, reading))


def _filled(text: Any) -> str:
    if text is None or not text.strip(WHITE_SPACE):
        raise reject("required", "the text is empty")
    check_storable(text)
    return cast(str, text)


def read_filled_code(value: Any, reading: Reading) -> str:
    """Returns text that names something, such as a SKU, and is not blank; in flat files it is read like a key."""
    return _filled(read_code(value, reading))


Texts = Annotated[
    list[str], Exact(read_texts, {"type": "array", "items": {"type": "string"}}, "X1", vector=vectors.TEXTS)
]
"""A list of texts, text[]."""
JsonObject = Annotated[
    dict[str, Any] | None, Exact(read_object, {"type": "object"}, "X1", vector=vectors.OBJECT), OBJECT
]
"""An object, JSONB. It may hold anything, so it is personal unless a contract says `PLAIN`."""
Country = Annotated[
    str, Exact(read_country, {"type": "string", "pattern": "^[A-Z]{2}$"}, "T7", vector=vectors.like("[A-Z]{2}"))
]
"""A country code of two letters."""
Percentage = Annotated[Decimal | None, Exact(read_percentage, _NUMBER, "T4", vector=vectors.decimal(18, 4, 0, 100))]
"""0 to 100."""
Filled = Annotated[
    str, Exact(read_filled, {"type": "string", "minLength": 1}, "X2", vector=vectors.filled(WHITE_SPACE))
]
"""Text that is not empty."""
Code50 = Annotated[str, StringConstraints(strict=True, pattern=_FILLED, max_length=50), Lenient(read_filled_code, "X2")]
"""Text that names something, such as a SKU: of 1 to 50 characters, not blank."""
Latitude = Annotated[Decimal | None, coordinate(90)]
"""Degrees, -90 to 90."""
Longitude = Annotated[Decimal | None, coordinate(180)]
"""Degrees, -180 to 180."""


_STRIPPED: Final[dict[Any, str]] = {_NO_NUL: "", _EMAIL: INVISIBLE, _KEY: UNSEEN}
"""Pattern of a text type -> characters that never surround its texts."""


def vector_of(annotation: Any, metadata: tuple[Any, ...]) -> Vector | None:
    """Returns how a whole column of a field is read; None if its type can only be read value by value."""
    exact = next((part for part in metadata if isinstance(part, Exact)), None)
    if exact is not None:
        return exact.vector
    if annotation is str:
        found = next((part for part in metadata if isinstance(part, StringConstraints)), None)
        if found is not None and found.pattern == _FILLED:
            return vectors.filled(WHITE_SPACE, found.max_length)
        if found is not None and found.pattern in _STRIPPED:
            return vectors.text(found.max_length, stripped=_STRIPPED[found.pattern], is_filled=found.pattern == _KEY)
    return {int: vectors.INTEGER, bool: vectors.FLAG}.get(annotation)
