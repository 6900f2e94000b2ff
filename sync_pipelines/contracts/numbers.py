"""Numbers written as text, in the notation of a source (X9).

In a source, one mark never has two meanings: with `decimal: ","` a point is never decimal, and groups of three digits
are read only if `thousands` names their separator.

Belongs here: digits, marks, signs, and leniencies around them. Does not belong here: limits and decimals of a
field's number (`fields`), numbers that JSON, Excel and Parquet have as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from sync_pipelines.contracts.characters import WHITE_SPACE
from sync_pipelines.contracts.currencies import CURRENCY_SIGN, known_currencies
from sync_pipelines.contracts.raw import Cell
from sync_pipelines.contracts.reading import Reading, reject
from sync_pipelines.contracts.texts import unwrapped

_MARKS: Final = {" ": "[ \xa0\u2007\u2009\u202f]", "'": "['\u2019]", ".": r"\.", ",": ","}
"""Separator -> regex of the characters it is written with."""
_UNGROUPED: Final = {
    decimal: re.compile(rf"[+-]?(?:\d+(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d{{1,4}})?", re.ASCII)
    for decimal, mark in ((".", r"\."), (",", ","))
}
"""Decimal separator -> a signed number without groups."""
_MINUS: Final = "\u2212"
_AROUND: Final = re.compile(
    r"(?P<before>\D*)"
    r"(?P<number>\d(?:[\d.,'\u2019 \xa0\u2007\u2009\u202f]*\d)?[.,]?(?:[eE][+-]?\d{1,4})?)"
    r"(?P<after>\D*)",
    re.ASCII,
)
_SIGN_OR_CODE: Final = re.compile(rf"{CURRENCY_SIGN}|(?P<code>[A-Z]{{3}})|(?P<percent>%)", re.IGNORECASE)


class Notation(NamedTuple):
    """The separators of numbers.

    Attributes:
        decimal: the decimal separator.
        thousands: the separator of groups of three digits, or None.
    """

    decimal: str
    thousands: str | None

    def __str__(self) -> str:
        named = f'decimal: "{self.decimal}"'
        return named if self.thousands is None else f'{named} and thousands: "{self.thousands}"'


def number_from_text(text: str, reading: Reading, *, takes_percent: bool = False) -> Decimal:
    """Returns the number in a text, in the source's notation. Counts leniencies, except for a cell (X9).

    Args:
        text: such as `1.500,50`, `$ 12.50`, `(12.50)`.
        reading: the source's conventions, and the counter of leniencies.
        takes_percent: whether a percent sign may follow it.
    """
    if _UNGROUPED[reading.decimal].fullmatch(text):
        number = Decimal(text if reading.decimal == "." else text.replace(",", "."))
    else:
        number = _number_within(text, Notation(reading.decimal, reading.thousands), reading, takes_percent)
    if not isinstance(text, Cell):
        reading.forgive("number_from_text")
    return number


def _number_within(text: str, notation: Notation, reading: Reading, takes_percent: bool) -> Decimal:
    """Returns the number within blanks, signs, brackets and currencies."""
    plain = text.strip(WHITE_SPACE)
    if plain != text:
        reading.forgive("trimmed_text")
    if reading.flat:
        plain = unwrapped(plain, reading)
    if _UNGROUPED[notation.decimal].fullmatch(plain):
        return _decimal(plain, notation)
    if plain.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise reject("not_finite", f"{plain} is not a finite number")
    found = _AROUND.fullmatch(plain)
    if found is None:
        raise reject("not_a_number", f"{_shown(plain)} is not a number")
    before, number = _parted(plain, found["before"], found["number"])
    forgiven, sign = _forgiven_around(plain, before, found["after"], takes_percent=takes_percent)
    if not _is_written(number, notation):
        raise reject("not_a_number", _not_in_notation(plain, number, notation))
    if number[-1] in ".," and "-" in found["after"]:
        raise reject("not_a_number", f"{_shown(plain)} is ambiguous: negative, or without cents")
    for code in forgiven:
        reading.forgive(code)
    return sign * _decimal(number, notation)


def _parted(plain: str, before: str, number: str) -> tuple[str, str]:
    """Splits text before a number from it; a mark between them belongs to the number or to a sign (`S/.`)."""
    if before[-1:] not in (".", ","):
        return before, number
    if not _SIGN_OR_CODE.fullmatch(re.sub(r"[-+(\s]", "", before)):
        return before[:-1], before[-1] + number
    if not re.search("[.,]", number):
        raise reject("not_a_number", f"{_shown(plain)} is ambiguous: a whole number, or a fraction after the mark")
    return before, number


def _forgiven_around(plain: str, before: str, after: str, *, takes_percent: bool) -> tuple[list[str], int]:
    """Returns the leniencies for the text around a number, and its sign."""
    forgiven: list[str] = []
    before, after = before.strip(WHITE_SPACE), after.strip(WHITE_SPACE)
    if _MINUS in before + after:
        before, after = before.replace(_MINUS, "-"), after.replace(_MINUS, "-")
        forgiven.append("unicode_minus")
    signs = [mark for mark in before + after if mark in "+-("]
    if "-" in after:
        forgiven.append("trailing_minus")
    if before.count("(") + after.count(")"):
        forgiven.append("negative_brackets")
        if before.count("(") != 1 or after.count(")") != 1 or len(signs) != 1:
            raise reject("not_a_number", f"{_shown(plain)} is not a number")
    if len(signs) > 1:
        raise reject("not_a_number", f"{_shown(plain)} has more than one sign")
    for part in (before, after):
        rest = re.sub(r"[-+()\s]", "", part)
        if rest and (what := _currency_or_percent(rest)) is None:
            raise reject("not_a_number", f"{_shown(plain)} is not a number")
        elif rest and what == "percent_sign" and not (takes_percent and part is after):
            raise reject("not_a_number", f"{_shown(plain)} is a percentage, which this field does not allow")
        elif rest:
            forgiven.append(what or "")
    return list(dict.fromkeys(forgiven)), -1 if signs and signs[0] in "-(" else 1


def _currency_or_percent(text: str) -> str | None:
    """Returns the leniency for a currency's sign or code, or for a percent sign; None for anything else."""
    found = _SIGN_OR_CODE.fullmatch(text)
    if found is None or (found["code"] and found["code"].upper() not in known_currencies()):
        return None
    return "percent_sign" if found["percent"] else "currency_sign"


@lru_cache(maxsize=32)
def _grouped(notation: Notation) -> re.Pattern[str]:
    """Returns the regex of a number with at least one group separator; the first group never begins with a zero."""
    assert notation.thousands is not None
    mark, decimal = _MARKS[notation.thousands], _MARKS[notation.decimal]
    return re.compile(rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+(?:{decimal}\d*)?", re.ASCII)


def _is_written(number: str, notation: Notation) -> bool:
    """Whether a number without a sign is written in a notation."""
    if _UNGROUPED[notation.decimal].fullmatch(number):
        return True
    return notation.thousands is not None and bool(_grouped(notation).fullmatch(number))


def _decimal(number: str, notation: Notation) -> Decimal:
    if notation.thousands is not None:
        number = re.sub(_MARKS[notation.thousands], "", number)
    return Decimal(number.replace(notation.decimal, ".") if notation.decimal != "." else number)


def _not_in_notation(plain: str, number: str, notation: Notation) -> str:
    """Returns why a number is not in the source's notation, and which settings would read it."""
    message = f"{_shown(plain)} is not a number with {notation}"
    fitting = [other for other in _notations(notation) if _is_written(number, other)]
    if not fitting:
        return message
    if fitting[0].decimal == notation.decimal:
        return f'{message}; if it has groups of three digits, set `thousands: "{fitting[0].thousands}"`'
    ways = " or ".join(f"`{other}`" for other in fitting)
    return f"{message}; to read it, set {ways}"


def _notations(own: Notation) -> Iterator[Notation]:
    """Yields every notation but the source's own, those with the same decimal separator first."""
    for decimal in (own.decimal, "," if own.decimal == "." else "."):
        for thousands in (None, *_MARKS):
            other = Notation(decimal, thousands)
            if thousands != decimal and other != own:
                yield other


def _shown(text: str) -> str:
    return repr(str(text[:80]))
