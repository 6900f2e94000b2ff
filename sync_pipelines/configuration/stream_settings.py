"""How one tenant's exports of one stream are read: the keys of a stream in `sources.yaml`.

Belongs here: the settings that every stream has, and errors in their values. Does not belong here: where they are in
the file (`sources`), what a partner's own settings are (`partners`), what a setting does (`exports`,
`normalize`).
"""

from __future__ import annotations

import codecs
import hashlib
import json
from functools import cached_property
from typing import Any, Final, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from sync_pipelines.configuration.guard_settings import GuardSettings
from sync_pipelines.configuration.limits import Limits
from sync_pipelines.configuration.pull_settings import PullSettings
from sync_pipelines.configuration.table_settings import TableSettings
from sync_pipelines.configuration.value_settings import ValueSettings, reads_dates
from sync_pipelines.contracts.streams import Options

_NO_TEXT_ENCODINGS: Final = frozenset(
    {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "unicode-escape", "raw-unicode-escape"}
)
"""Python lists these among its text encodings, but no file uses them."""
Format = Literal["json", "ndjson", "csv", "tsv", "txt", "parquet", "xlsx", "xlsm", "xlsb", "xls", "ods"]


class StreamSettings(TableSettings, ValueSettings):
    """How one tenant's exports of one stream are read.

    Attributes:
        path: glob below `<stream>/`; other files are not exports of this source.
        format: overrides the file extension.
        encoding: of text formats; UTF-8 by default.
        columns: contract field -> column of a flat file; `addresses[0].zipCode` is a field of a list element.
        constants: contract field -> value for records without one.
        empty_is: whether an empty cell means absent or null (X1).
        layout: a known export layout; its settings apply unless this block sets them.
        member: glob of the export inside a zip with several files.
        record: path to the record inside each element, such as `_airbyte_data`.
        parts: `folder` reads files of one date in one folder as one export.
        file_date: pattern of the date in file names, such as `ventas_%d-%m-%Y`; `required` fails others (X4).
        strict: reject records that need a leniency (X8).
        follow_links: follow symbolic links to folders and regular files inside the landing.
        effective_at: the field with a record's own time (X4).
        limits: the size limits of an export.
        guards: limits above which an export is held instead of loaded; `off` switches all of them off.
        pull: where and how the partner's listing is pulled (N11).
        options: the partner's own settings.
    """

    path: str | None = None
    format: Format | None = None
    encoding: str | None = None
    columns: dict[str, str] = Field(default={})
    constants: dict[str, Any] = Field(default={})
    empty_is: Literal["absent", "null"] = "absent"
    layout: str | None = None
    member: str | None = None
    record: str | None = None
    parts: Literal["folder"] | None = None
    file_date: str | None = None
    strict: bool = False
    follow_links: bool = False
    effective_at: str | None = None
    limits: Limits = Limits()
    guards: GuardSettings = GuardSettings()
    pull: SerializeAsAny[PullSettings] | None = None
    options: SerializeAsAny[Options] = Options()

    @field_validator("empty_is", mode="before")
    @classmethod
    def _null_is_a_word(cls, value: Any) -> Any:
        return "null" if value is None else value

    @field_validator("encoding")
    @classmethod
    def _encoding_exists(cls, value: str | None) -> str | None:
        if not value:
            return None
        try:
            found = codecs.lookup(value)
            is_of_text = found.name not in _NO_TEXT_ENCODINGS and any(
                "a" in letter.decode(value, "ignore") for letter in (b"a\x00\x00\x00", b"\x00a", b"\x00\x00\x00a")
            )
        except (LookupError, ValueError):
            is_of_text = False
        if not is_of_text:
            raise ValueError(f"unknown text encoding {value!r}")
        return found.name

    @field_validator("file_date")
    @classmethod
    def _file_date_reads_dates(cls, value: str | None) -> str | None:
        if value is not None and value != "required" and not reads_dates(value):
            raise ValueError(
                f"{value!r} must have year, month and day, each once; use one such as ventas_%d-%m-%Y, or required"
            )
        return value

    @model_validator(mode="after")
    def _pulled_exports_are_whole(self) -> StreamSettings:
        if self.parts is not None and self.pull is not None:
            raise ValueError("parts and pull cannot both be set: each pull is an export of its own")
        return self

    @cached_property
    def of_tables(self) -> TableSettings:
        """Returns only the settings of header and rows."""
        return TableSettings.model_construct(**{name: getattr(self, name) for name in TableSettings.model_fields})

    @cached_property
    def fingerprint(self) -> str:
        """Returns the SHA-256 of all settings that affect how a file is read."""
        relevant = self.model_dump(
            mode="json", exclude={"pull", "limits", "guards", "follow_links"}, exclude_defaults=True
        )
        canonical = json.dumps(relevant, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
