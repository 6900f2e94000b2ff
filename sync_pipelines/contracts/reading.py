"""What one record is read under: the source's conventions, and the leniencies it needed.

Belongs here: the context that field types consult and report to. Does not belong here: the field types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any, Literal

from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.codes import LENIENCY_CODES, REJECT_CODES


@dataclass(slots=True)
class Reading:
    """Conventions of a source, handed to every field type as pydantic's validation context.

    Attributes:
        decimal: the decimal separator of numbers written as text.
        thousands: what separates groups of three digits; None where nothing does.
        date_formats: formats of times, tried in order (see `dates`); ISO 8601 where there is none.
        timezone: the zone of times written without one (X10).
        locale: language of month names and of a.m. and p.m.; None is English.
        words: further words for yes and no, in the form of `flag_word` (X10).
        strict: a leniency is a reject (X8).
        flat: the record comes from cells, where a number is always written as text and no leniency.
        leniencies: code -> how often, for the record being read.
    """

    decimal: Literal[".", ","] = "."
    thousands: str | None = None
    date_formats: tuple[str, ...] = ()
    timezone: tzinfo = UTC
    locale: str | None = None
    words: Mapping[str, bool] = field(default_factory=dict)
    strict: bool = False
    flat: bool = False
    leniencies: Counter[str] = field(default_factory=Counter)

    def forgive(self, code: str) -> None:
        """Counts a leniency, or refuses the record where the source is strict (X8)."""
        if self.strict:
            raise PydanticCustomError(code, "{sentence}", {"sentence": LENIENCY_CODES[code]})
        self.leniencies[code] += 1


class RecordRefused(Exception):
    """A partner's function refuses a record, at a field.

    Attributes:
        code: a reject code.
        path: the field, in the page's spelling.
        message: one sentence.
        more: further faults of the record (F20).
    """

    def __init__(self, code: str, path: str | None, message: str, more: Sequence[RecordRefused] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.path = path
        self.message = message
        self.more = more


def refuse_for(faults: Sequence[RecordRefused]) -> None:
    """Refuses a record for all faults a partner's function found, if it found any (F20).

    Raises:
        RecordRefused: the first, with the others.
    """
    if faults:
        first = faults[0]
        raise RecordRefused(first.code, first.path, first.message, faults[1:])


def refuse(code: str, detail: str = "") -> PydanticCustomError:
    """The error a field type raises: a reject code with its sentence, or with a more exact `detail`."""
    return PydanticCustomError(code, "{sentence}", {"sentence": detail or REJECT_CODES[code]})


def read_at(path: str, read: Callable[[Any, Reading], Any], value: Any, reading: Reading) -> Any:
    """A value read by a field type's function outside its own field.

    Raises:
        RecordRefused: the value is refused, at `path`.
    """
    try:
        return read(value, reading)
    except PydanticCustomError as error:
        raise RecordRefused(error.type, path, f"{path}: {error.message()}") from None
