"""A source's settings in the form that readers of files and of records take.

Belongs here: that form. Does not belong here: the keys of `sources.yaml` (`configuration`), reading
(`normalize_export`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.contracts.contract import Shape, folded
from sync_pipelines.contracts.fields import flag_word
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.exports.columns import SoughtColumns
from sync_pipelines.exports.formats import ReadSettings
from sync_pipelines.exports.tables import TableReading


def read_settings_of(stream: Stream, settings: StreamSettings, sought: SoughtColumns | None = None) -> ReadSettings:
    """Returns what a reader of files needs to know of a source.

    Args:
        stream: the declaration.
        settings: the source.
        sought: the columns that a flat file must have.
    """
    return ReadSettings(
        format=settings.format,
        encoding=settings.encoding,
        table=TableReading(settings.empty_is, settings.of_tables, sought),
        member=settings.member,
        record=settings.record,
        envelopes=stream.envelopes,
        limits=settings.limits,
    )


def reading_of(settings: StreamSettings, *, flat: bool) -> Reading:
    """Returns how values are read; `flat` is whether records come from cells."""
    return Reading(
        decimal=settings.decimal,
        thousands=settings.thousands,
        date_formats=settings.date_format,
        timezone=ZoneInfo(settings.timezone) if settings.timezone else UTC,
        locale=settings.locale,
        words=_flag_words(settings),
        strict=settings.strict,
        flat=flat,
    )


def _flag_words(settings: StreamSettings) -> dict[str, bool]:
    """Returns the source's own words for yes and no (X10)."""
    return {flag_word(word): True for word in settings.true_values} | {
        flag_word(word): False for word in settings.false_values
    }


def constants_by_alias(shapes: Sequence[Shape], constants: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the source's constants by the aliases of their fields, each in the first of the shapes that has it."""
    fields = {name: field for shape in reversed(shapes) for name, field in shape.by_folded.items()}
    return {fields[folded(name)].alias: value for name, value in constants.items() if folded(name) in fields}
