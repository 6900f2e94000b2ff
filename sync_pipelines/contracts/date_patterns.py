"""Patterns of dates such as `%d-%b-%Y %I:%M %p`, with names of months in the source's language.

The directives are those of `strptime`, whose own parsing depends on the machine's language and ignores `%Z`.

Belongs here: directives, names of months, days and halves of a day. Does not belong here: formats that are not patterns
(`dates`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Any, Final
from unicodedata import combining, normalize
from zoneinfo import ZoneInfo

_NUMBERS: Final = {
    "d": r"3[01]|[12]\d|0?[1-9]| [1-9]",
    "m": r"1[0-2]|0?[1-9]",
    "Y": r"\d{4}",
    "y": r"\d\d",
    "H": r"2[0-3]|[01]\d|\d",
    "I": r"1[0-2]|0?[1-9]",
    "M": r"[0-5]\d|\d",
    "S": r"[0-5]\d|\d",
    "f": r"\d{1,9}",
    "j": r"36[0-6]|3[0-5]\d|[12]\d\d|0?[1-9]\d|0?0?[1-9]",
}
_TWO_DIGITS: Final = "dmyHIMS"
"""Directives that need two digits if another number is adjacent to them."""
_OFFSET: Final = r"[Zz]|[+-]\d\d:?[0-5]\d(?::?[0-5]\d)?|[+-]\d\d"
_ZONE: Final = rf"{_OFFSET}|[A-Za-z]+(?:[/_+-][A-Za-z\d_+-]+)*"
_NAMED_OFFSETS: Final = {
    "UTC": 0, "GMT": 0, "UT": 0, "Z": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8,
    "PDT": -7,
}  # fmt: skip
"""The zones of RFC 2822; other abbreviations are ambiguous."""
_TURN: Final = 69
"""The first two-digit year of the 20th century, as in POSIX."""

NAMES: Final = frozenset("aAbBp")
"""Directives that are words of a language."""


class DatePattern:
    """A compiled pattern.

    Args:
        pattern: such as `%d/%m/%Y`; blanks in it match any white space.
        locale: language of the words in it; None is English.

    Raises:
        ValueError: it has an unknown directive, or one twice.
    """

    def __init__(self, pattern: str, locale: str | None = None) -> None:
        self._words: dict[str, Mapping[str, int]] = {}
        self.directives: frozenset[str] = frozenset()
        parts = list(self._parts(pattern, locale))
        try:
            self._regex = re.compile("".join(parts), re.IGNORECASE)
        except re.error:
            raise ValueError(f"a directive appears twice in {pattern!r}") from None

    def _parts(self, pattern: str, locale: str | None) -> Iterator[str]:
        tokens = re.findall(r"([^%]+)|%(.?)", pattern, re.DOTALL)
        numbers = [False, *(not literal and directive in _NUMBERS for literal, directive in tokens), False]
        for place, (literal, directive) in enumerate(tokens, start=1):
            if literal or directive == "%":
                yield re.sub(r"(\\\s|\s)+", r"\\s+", re.escape(_folded(literal or "%")))
                continue
            self.directives |= {directive}
            touches = numbers[place] and (numbers[place - 1] or numbers[place + 1])
            yield self._group(directive, locale, is_fixed=touches and directive in _TWO_DIGITS)

    def _group(self, directive: str, locale: str | None, *, is_fixed: bool) -> str:
        if directive in NAMES:
            words = self._words[directive] = _words("p" if directive == "p" else directive.lower(), locale or "en")
            found = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
            return rf"(?P<{directive}>{found})\.?"
        patterns = {"z": _OFFSET, "Z": _ZONE, **_NUMBERS}
        if directive not in patterns:
            raise ValueError(f"unknown directive %{directive}")
        return f"(?P<{directive}>{r'[0-9]{2}' if is_fixed else patterns[directive]})"

    @property
    def is_of_one_day(self) -> bool:
        """Whether it has year, month and day, each once."""
        years, months, days = (self.directives & set(names) for names in ("yY", "mbB", "d"))
        if "j" in self.directives:
            return len(years) == 1 and not months | days
        return len(years) == len(months) == len(days) == 1

    def read(self, text: str, zone: tzinfo) -> datetime | None:
        """Returns the moment in a text; without a zone if the text has none.

        Args:
            text: the whole text.
            zone: the source's zone, whose abbreviations `%Z` reads.

        Raises:
            ValueError: the day does not exist.
        """
        found = self._regex.fullmatch(_folded(text))
        if found is None:
            return None
        parts = found.groupdict()
        year, month, day = self._day(parts)
        moment = datetime(year, month, day, self._hour(parts), int(parts.get("M") or 0), int(parts.get("S") or 0))
        moment = moment.replace(microsecond=int((parts.get("f") or "0").ljust(6, "0")[:6]))
        for directive in ("z", "Z"):
            if directive in parts:
                offset = _zone_named(parts[directive], moment, zone)
                return None if offset is None else moment.replace(tzinfo=offset)
        return moment

    def _day(self, parts: Mapping[str, str]) -> tuple[int, int, int]:
        year = int(parts["Y"]) if "Y" in parts else _full_year(int(parts["y"]))
        if "j" in parts:
            day = datetime(year, 1, 1) + timedelta(days=int(parts["j"]) - 1)
            if day.year != year:
                raise ValueError("the day does not exist")
            return day.year, day.month, day.day
        month = next((self._words[name][parts[name]] for name in "bB" if name in parts), None) or int(parts["m"])
        return year, month, int(parts["d"])

    def _hour(self, parts: Mapping[str, str]) -> int:
        hour = int(parts.get("H") or parts.get("I") or 0)
        if "p" not in parts:
            return hour if "H" in parts else hour % 12
        half = self._words["p"][parts["p"]]
        if hour > 12 and not half:
            raise ValueError("the hour does not exist with a.m. or p.m.")
        return hour if hour > 12 else hour % 12 + 12 * half


@cache
def date_pattern(pattern: str, locale: str | None = None) -> DatePattern:
    """Returns the pattern, compiled once."""
    return DatePattern(pattern, locale)


def _full_year(year: int) -> int:
    return year + (1900 if year >= _TURN else 2000)


def _folded(text: str) -> str:
    """Returns text in lower case without accents; `p. m.`, `p.m.` and `pm` are equal, with any blanks."""
    plain = text.lower()
    if not plain.isascii():
        plain = "".join(c for c in normalize("NFKD", plain) if not combining(c))
    return re.sub(r"(?<![^\W\d_])([ap])\.?\s?m\b\.?", r"\1m", plain)


@cache
def _words(directive: str, locale: str) -> Mapping[str, int]:
    """Returns a language's words for a directive, folded, with their numbers, except ambiguous ones."""
    from babel import Locale

    language: Any = Locale.parse(locale)
    if directive == "p":
        return {"am": 0, "pm": 1, **_numbered(_halves(language))}
    names = language.months if directive == "b" else language.days
    found = [
        pair
        for use in ("format", "stand-alone")
        for width in ("wide", "abbreviated")
        for pair in names[use][width].items()
    ]
    short = [(number, name[:3]) for number, name in found if len(name) > 3]
    return _numbered([(number, name.rstrip(".")) for number, name in (*found, *short)])


def _halves(language: Any) -> list[tuple[int, str]]:
    widths = [names for use in language.day_periods.values() for names in use.values()]
    return [(number, names[half]) for names in widths for number, half in enumerate(("am", "pm")) if half in names]


def _numbered(pairs: list[tuple[int, str]]) -> dict[str, int]:
    numbers: dict[str, set[int]] = {}
    for number, name in pairs:
        numbers.setdefault(_folded(name), set()).add(number)
    return {name: min(of) for name, of in numbers.items() if name and len(of) == 1}


def _zone_named(name: str, moment: datetime, own: tzinfo) -> tzinfo | None:
    """Returns a zone by its offset, its abbreviation in the source's own zone or in RFC 2822, or its name, or None."""
    if name[0] in "+-":
        digits = name[1:].replace(":", "").ljust(6, "0")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:6]))
        return timezone(offset if name[0] == "+" else -offset)
    for fold in (0, 1):
        local = moment.replace(tzinfo=own, fold=fold)
        if (local.tzname() or "").lower() == name.lower():
            return timezone(local.utcoffset() or timedelta())
    if name.upper() in _NAMED_OFFSETS:
        hours = _NAMED_OFFSETS[name.upper()]
        return UTC if not hours else timezone(timedelta(hours=hours))
    return _zone_in_data(name)


@cache
def _zone_in_data(name: str) -> tzinfo | None:
    from zoneinfo import available_timezones

    by_folded = {known.lower(): known for known in available_timezones() if "/" in known}
    known = by_folded.get(name.lower())
    return None if known is None else ZoneInfo(known)
