"""Dates and times that users type: `2026-06-30` is until its end in UTC, `2026-06-30T12:00:00` that moment.

Belongs here: the type of these options. Does not belong here: what is asked about a date (`stages`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click


class Moment(click.ParamType[datetime]):
    """A date, up to its end in UTC, or a time; without an offset it is in UTC."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Returns the last instant that is meant, in UTC."""
        if isinstance(value, datetime):
            return value
        from sync_pipelines.stages.as_of import moment_of

        try:
            return moment_of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
