"""How values are written in a source's exports: numbers, dates, words.

Belongs here: those keys of a stream in `sources.yaml`, and errors in their values. Does not belong here: reading
values (`contracts.fields`).
"""

from __future__ import annotations

from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from sync_pipelines.contracts.date_patterns import DatePattern
from sync_pipelines.contracts.dates import NAMED_FORMATS


class ValueSettings(BaseModel):
    """How numbers, dates and words are written.

    Attributes:
        decimal: decimal separator of numbers written as text (X9).
        thousands: thousands separator; none by default.
        date_format: `strptime` patterns or names of `NAMED_FORMATS`, tried in order; ISO 8601 by default (X10).
        timezone: time zone of times without one; UTC by default (X10).
        locale: language of month names and of a.m. and p.m., such as `es`; English by default.
        null_values: cell texts that mean null.
        true_values, false_values: additional words for true and false (X10).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", " ", "'"] | None = None
    date_format: tuple[str, ...] = ()
    timezone: str | None = None
    locale: str | None = None
    null_values: tuple[str, ...] = ()
    true_values: tuple[str, ...] = ()
    false_values: tuple[str, ...] = ()

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str | None) -> str | None:
        try:
            return value and ZoneInfo(value).key
        except (LookupError, ValueError, OSError):
            raise ValueError(f"unknown time zone {value!r}; use a name such as America/Mexico_City") from None

    @field_validator("date_format", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else () if value is None else value

    @field_validator("date_format")
    @classmethod
    def _date_formats_read_dates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if pattern not in NAMED_FORMATS and not reads_dates(pattern):
                raise ValueError(
                    f"{pattern!r} must have year, month and day, each once; use a pattern such as %d/%m/%Y %H:%M, "
                    f"or one of {', '.join(NAMED_FORMATS)}"
                )
        return value

    @field_validator("locale")
    @classmethod
    def _locale_exists(cls, value: str | None) -> str | None:
        from babel import Locale, UnknownLocaleError

        try:
            return value and str(Locale.parse(value.replace("-", "_")))
        except (UnknownLocaleError, ValueError):
            raise ValueError(f"unknown language {value!r}; use a code such as es, pt or es_MX") from None

    @field_validator("null_values", "true_values", "false_values", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        """Returns the words as texts, since YAML reads some of them, such as null, as other values."""
        words = value if isinstance(value, list | tuple) else () if value is None else (value,)
        return tuple(_word(word) for word in words)

    @model_validator(mode="after")
    def _marks_differ(self) -> ValueSettings:
        if self.thousands == self.decimal:
            raise ValueError(f"thousands and decimal are both {self.decimal!r}; they must differ")
        both = {w.casefold() for w in self.true_values} & {w.casefold() for w in self.false_values}
        if both:
            raise ValueError(f"{min(both)!r} is in both true_values and false_values")
        return self


def reads_dates(pattern: str) -> bool:
    """Returns whether a pattern has year, month and day, each once."""
    try:
        return DatePattern(pattern).is_of_one_day
    except ValueError:
        return False


def _word(word: Any) -> str:
    if word is None:
        return "null"
    if isinstance(word, bool):
        return str(word).lower()
    return str(word)
