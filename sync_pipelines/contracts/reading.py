"""The context of reading one record: the source's conventions, and the leniencies it needed.

Belongs here: the context that field types read and report to. Does not belong here: the field types.
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
    """Conventions of a source, passed to every field type as pydantic's validation context.

    Attributes:
        decimal: the decimal separator of numbers written as text.
        thousands: the separator of groups of three digits, or None.
        date_formats: formats of times, tried in order (see `dates`); empty means ISO 8601.
        timezone: the zone of times written without one (X10).
        locale: language of month names and of a.m. and p.m.; None is English.
        words: additional words for yes and no, in the form of `flag_word` (X10).
        strict: whether a leniency is a reject (X8).
        flat: whether the record comes from cells, where numbers are always text, without a leniency.
        leniencies: code -> count, for the current record.
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
        """Counts a leniency, or rejects the record if the source is strict (X8)."""
        if self.strict:
            raise PydanticCustomError(code, "{sentence}", {"sentence": LENIENCY_CODES[code]})
        self.leniencies[code] += 1


class RecordRejected(Exception):
    """Rejects a record because of a field. Partners' functions raise it, too.

    Attributes:
        code: a reject code.
        path: the field, in the partner's spelling.
        message: one sentence for people.
        more: further errors of the record (F20).
    """

    def __init__(self, code: str, path: str | None, message: str, more: Sequence[RecordRejected] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.path = path
        self.message = message
        self.more = more


def reject_for(errors: Sequence[RecordRejected]) -> None:
    """Rejects a record if there are errors, with all of them (F20).

    Raises:
        RecordRejected: the first error, with the others.
    """
    if errors:
        first = errors[0]
        raise RecordRejected(first.code, first.path, first.message, errors[1:])


def reject(code: str, detail: str = "") -> PydanticCustomError:
    """Returns the error that a field type raises: a reject code with its description, or with a specific `detail`."""
    return PydanticCustomError(code, "{sentence}", {"sentence": detail or REJECT_CODES[code]})


def read_at(path: str, read: Callable[[Any, Reading], Any], value: Any, reading: Reading) -> Any:
    """Returns a value that a field type's function reads outside its own field.

    Raises:
        RecordRejected: the value is rejected, at `path`.
    """
    try:
        return read(value, reading)
    except PydanticCustomError as error:
        raise RecordRejected(error.type, path, f"{path}: {error.message()}") from None


def shown(value: Any) -> str:
    """Returns a value for a message, shortened."""
    text = str(value)
    return text if len(text) <= 40 else text[:40] + "…"
