"""How the values of columns are written: numbers, dates, words.

Each guess is verified with the readers of fields (`contracts.fields`): with a proposed date format, they can read every
value.

Belongs here: settings that values need, and their risks. Does not belong here: which column is which
field (`column_names`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.dates import read_instant
from sync_pipelines.contracts.reading import Reading

_SIGNS: Final = re.compile(r"[^\d.,'\s\u00a0\u202f-]")
_SPACE: Final = re.compile(r"[\s\u00a0\u202f]")
NULL_WORDS: Final = frozenset({"null", "\\n", "nan", "none", "n/a", "#n/a", "nil", "(null)", "s/d", "n/d"})
_NUMBER: Final = re.compile(
    r"[-\u2212(]?\s?(?:[A-Z]{0,3}[$€£¥]|[A-Z]{3}\s|S/)?\s?[-\u2212]?\d[\d.,'\s\u00a0\u202f]*[-)%]?\s?(?:[A-Z]{3}|[$€£¥])?"
)
_SCIENTIFIC: Final = re.compile(r"[-+]?\d(?:[.,]\d+)?[eE]\+?\d+")
_DAYS: Final = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%m{0}%y", "%m{0}%d{0}%y", "%Y{0}%m{0}%d")
_TIMES: Final = (
    "", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S", ", %H:%M", ", %H:%M:%S", " %H:%M:%S %z",
)  # fmt: skip
_WORDED: Final = (
    "%d de %B de %Y", "%d %B %Y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y",
)  # fmt: skip
_LOCALES: Final = ("es", "pt")
_COUNTED: Final = ("epoch_s", "epoch_ms", "excel")
"""Formats of times that are numbers."""


@dataclass(frozen=True)
class Numbers:
    """How numbers are written.

    Attributes:
        decimal: the decimal separator, or None if no value shows one.
        thousands: the thousands separator, or None.
        doubtful: values that can be read two ways.
        mixed: whether values contradict each other.
    """

    decimal: str | None = None
    thousands: str | None = None
    doubtful: tuple[str, ...] = ()
    mixed: bool = False


@dataclass(frozen=True)
class Dates:
    """How dates are written.

    Attributes:
        formats: values for `date_format`; none if ISO 8601 reads them all, or nothing does.
        locale: language of month names, or None for English.
        also: another format that reads every value differently.
        unread: values that no format reads.
        example: a value, and how it is read.
    """

    formats: tuple[str, ...] = ()
    locale: str | None = None
    also: str | None = None
    unread: tuple[str, ...] = ()
    example: tuple[str, datetime] | None = None


def numbers_in(texts: Iterable[str]) -> Numbers:
    """Returns how numbers in text are written. A mark is decimal only if nothing else explains a value."""
    decimal: set[str] = set()
    thousands: set[str] = set()
    doubtful: list[str] = []
    for text in texts:
        plain = _SIGNS.sub("", text).strip("- ")
        marks = [c for c in _SPACE.sub(" ", plain) if c in ".,' "]
        if not marks:
            continue
        if len(set(marks)) > 1:
            decimal |= {marks[-1]} & {".", ","}
            thousands |= set(marks[:-1])
        elif len(marks) > 1 or marks[0] in "' ":
            thousands.add(marks[0])
        elif len(plain.rpartition(marks[0])[2]) != 3 or plain.startswith(("0", marks[0])):
            decimal.add(marks[0])
        else:
            doubtful.append(text)
    return _judged(decimal, thousands, doubtful)


def _judged(decimal: set[str], thousands: set[str], doubtful: Sequence[str]) -> Numbers:
    if len(decimal) > 1 or len(thousands) > 1 or decimal & thousands:
        return Numbers(None, None, tuple(doubtful), mixed=True)
    mark = next(iter(decimal), None)
    group = next(iter(thousands), None)
    in_doubt = {c for text in doubtful for c in text if c in ".,"}
    if in_doubt == {mark} and group is None:
        return Numbers(mark, None)
    if len(in_doubt) == 1 and mark not in in_doubt and group in (None, *in_doubt):
        # Only groups of three digits follow the mark: it most likely separates thousands.
        return Numbers(mark, next(iter(in_doubt)), tuple(doubtful) if group is None and mark is None else ())
    return Numbers(mark, group, tuple(doubtful) if in_doubt - {mark, group} else ())


def dates_in(values: Sequence[Any], language: str | None) -> Dates:
    """Returns how dates are written.

    Args:
        values: raw values of the columns with dates.
        language: language of the file's columns, if known: decides month names and whether days come first.
    """
    texts = [value for value in values if isinstance(value, str)]
    if not texts:
        return _of_numbers(values)
    if all(_reads(text, Reading(flat=True)) for text in texts):
        return Dates(example=_example(texts, Reading(flat=True)))
    for locale in dict.fromkeys((None, language, *_LOCALES)):
        read = [found for found in _candidates(locale) if all(_reads(text, _reading(found, locale)) for text in texts)]
        read = [found for found in read if found not in _COUNTED or _is_plausible(texts, found)]
        if read:
            chosen, *others = sorted(read, key=lambda found: _preference(found, language))
            also = next((found for found in others if _differs(chosen, found, texts)), None)
            return Dates((chosen,), locale, also, example=_example(texts, _reading(chosen, locale)))
    return _several(texts, language)


def _of_numbers(values: Sequence[Any]) -> Dates:
    """Returns the format of dates that are not text: of workbooks and Parquet, or numbers that count from some day."""
    if all(_reads(value, Reading(flat=True)) for value in values):
        return Dates(example=_example(values, Reading(flat=True)))
    for found in _COUNTED:
        if _is_plausible(values, found):
            return Dates((found,), example=_example(values, _reading(found)))
    return Dates(unread=tuple(sorted({str(value) for value in values})))


def _is_plausible(values: Sequence[Any], date_format: str) -> bool:
    """Whether numbers with this format are times of this century."""
    read = [_read(value, _reading(date_format)) for value in values]
    return all(moment is not None and 2000 <= moment.year <= 2100 for moment in read)


def _several(texts: Sequence[str], language: str | None) -> Dates:
    """Returns several formats, the one that reads most first, and the values that no format reads.

    Numbers are excluded: seconds could be read as milliseconds, or as days of another year.
    """
    names = ["iso", *_candidates(None), *(_candidates(language) if language else ())]
    names = [name for name in names if name not in _COUNTED]
    counts = {found: {text for text in texts if _reads(text, _reading(found, language))} for found in names}
    chosen: list[str] = []
    left = set(texts)
    while left and len(chosen) < 3:
        best = max(counts, key=lambda found: len(counts[found] & left))
        if not counts[best] & left:
            break
        chosen.append(best)
        left -= counts[best]
    formats = tuple(chosen) if chosen != ["iso"] else ()
    locale = language if any("%b" in name or "%B" in name or "%p" in name for name in formats) else None
    return Dates(formats, locale, unread=tuple(sorted(left)))


def _candidates(locale: str | None) -> Iterator[str]:
    """Yields date formats; for languages other than English, only those with words."""
    for mark in "/-." if locale is None else "":
        for day in _DAYS:
            yield from (day.format(mark) + time for time in _TIMES)
    for day in _WORDED:
        yield from (day + time for time in (*_TIMES, " %H:%M hs."))
    for mark in "/-" if locale is not None else "":
        yield from (day.format(mark) + time for day in _DAYS for time in _TIMES if "%p" in time)
    if locale is None:
        yield from ("%Y%m%d", "%d%m%Y", *_COUNTED)


def _preference(found: str, language: str | None) -> tuple[bool, bool, int]:
    """Sorts four-digit years first, and days first if the columns are not in English."""
    month_first = found.startswith("%m")
    return "%y" in found, month_first if language in ("es", "pt") else False, len(found)


def _differs(one: str, other: str, texts: Sequence[str]) -> bool:
    return any(_read(text, _reading(one)) != _read(text, _reading(other)) for text in texts)


def _reading(date_format: str, locale: str | None = None) -> Reading:
    return Reading(date_formats=(date_format,), locale=locale, flat=True)


def _reads(text: str, reading: Reading) -> bool:
    return _read(text, reading) is not None


def _read(text: Any, reading: Reading) -> datetime | None:
    try:
        return read_instant(text, reading)
    except (PydanticCustomError, ValueError, ArithmeticError):
        return None


def _example(values: Sequence[Any], reading: Reading) -> tuple[str, datetime] | None:
    for value in values:
        found = _read(value, reading)
        if found is not None:
            return str(value), found
    return None


def looks_like_date(text: str) -> bool:
    """Whether a text may be a date: digits in the places of one, or a month's name between numbers."""
    return bool(
        re.match(r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?!\d)", text)
        or re.match(
            r"\s*(?:\d{1,2}[\s/-]+(?:de\s+)?[A-Za-zé]{3,}|[A-Za-z]{3,9}\s+\d{1,2},?)[\s/-]+(?:de\s+)?\d{2,4}", text
        )
    )


def looks_like_number(text: str) -> bool:
    """Whether a text is a number in any notation."""
    return bool(_NUMBER.fullmatch(text.strip()))


def is_scientific(text: str) -> bool:
    """Whether a spreadsheet wrote a long number with an exponent."""
    return bool(_SCIENTIFIC.fullmatch(text.strip()))


@dataclass
class WordsFound:
    """Words in cells that mean null, each with its columns."""

    by_word: dict[str, list[str]] = field(default_factory=dict)

    def note(self, column: str, texts: Iterable[str]) -> None:
        """Notes the null words among a column's values."""
        for text in texts:
            if text.strip().lower() in NULL_WORDS and column not in self.by_word.setdefault(text.strip(), []):
                self.by_word[text.strip()].append(column)
