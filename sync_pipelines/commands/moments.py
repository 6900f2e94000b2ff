"""Dates and times that users type: `2026-06-30` is until its end in UTC, `2026-06-30T12:00:00` that moment.

Belongs here: reading them. Does not belong here: what is asked about them.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import click


class Moment(click.ParamType[datetime]):
    """A date, up to its end in UTC, or a time; without an offset it is in UTC."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Returns the last instant that is meant, in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            return moment_of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def moment_of(text: str) -> datetime:
    """Returns the last instant that a date or a time means, in UTC.

    Raises:
        ValueError: it is neither; in one sentence.
    """
    text = text.strip()
    try:
        if len(text) == len("2026-06-30"):
            return datetime.combine(date.fromisoformat(text), time.max, UTC)
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a date such as 2026-06-30 or a time such as 2026-06-30T12:00:00") from None
