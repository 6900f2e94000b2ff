"""What a workbook cell's number format says about its value: a date, a percentage, an id with leading zeros.

Belongs here: formats as Excel writes them. Does not belong here: reading workbooks (`sheets`).
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format

from sync_pipelines.contracts.raw import Cell, Percent, number_from_float

Meaning = Literal["date", "duration", "percent", "shown", "number"]

_LITERAL: Final = re.compile(r'"([^"]*)"|\\(.)|_.|\*.|\[[^\]]*\]')
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")


@lru_cache(maxsize=4096)
def meaning_of(code: str) -> Meaning:
    """Returns the kind of value that a number format displays.

    `shown`: an id whose leading zeros come from the format, such as `00000` or `000-000`.
    """
    if is_date_format(code):
        return "duration" if is_timedelta_format(code) else "date"
    first = _LITERAL.sub("", code.split(";")[0])
    if "%" in first:
        return "percent"
    return "shown" if re.fullmatch(r"[0\-/ ().:]*", first) and first.count("0") > 1 and "0.0" not in first else "number"


def builtin_format(number: int) -> str:
    """Returns the format of a built-in format number (below 164)."""
    return str(BUILTIN_FORMATS.get(number, "General"))


def shown_value(value: Any, code: str) -> Any:
    """Returns a number as its format displays it: a `Percent`, or text with leading zeros; else the number itself."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    meaning = meaning_of(code)
    if meaning == "percent":
        number = number_from_float(value, repr(value)) if isinstance(value, float) else Decimal(value)
        return Percent(number) if isinstance(number, Decimal) else number
    if meaning == "shown" and value == int(value):
        return Cell(_with_zeros(int(value), code.split(";")[0]))
    return value


def _with_zeros(value: int, code: str) -> str:
    """Returns the digits of a number in the places of a format's zeros, with the format's literals between them."""
    parts = _parts(code)
    digits = str(abs(value)).rjust(parts.count(None), "0")
    extra = len(digits) - parts.count(None)
    shown, at = [], 0
    for part in parts:
        if part is not None:
            shown.append(part)
            continue
        take = 1 + (extra if at == 0 else 0)
        shown.append(digits[at : at + take])
        at += take
    return ("-" if value < 0 else "") + "".join(shown)


def _parts(code: str) -> list[str | None]:
    """Splits a format into its literals, with None for each zero."""
    parts: list[str | None] = []
    at = 0
    while at < len(code):
        literal = _LITERAL.match(code, at)
        if literal is not None:
            parts.append(literal[1] or literal[2] or "")
            at = literal.end()
        else:
            parts.append(None if code[at] == "0" else code[at])
            at += 1
    return parts


def unescaped(text: str) -> str:
    r"""Returns Office Open XML text without its escapes: `_x000D_` is a carriage return, `_x005F_` an underscore."""
    if "_x" not in text:
        return text
    plain = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return plain if plain.isascii() else plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
