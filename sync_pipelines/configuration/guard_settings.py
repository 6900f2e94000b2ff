"""The guards of a stream: limits above which an export is held instead of loaded.

Belongs here: the keys below `guards` in `sources.yaml`, and errors in their values. Does not belong here: what the
limits are compared with (`upsert.guards`).
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema, model_validator

_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)


def _limit(value: Any) -> Decimal | None:
    text = str(value).strip()
    if value is False or text.lower() == "off":
        return None
    found = _PERCENT.fullmatch(text)
    percent = Decimal(found[1]) if found else Decimal(0)
    if not 0 < percent <= 100:
        raise ValueError(f"{text!r} is not a limit; write a percentage above 0% and up to 100%, such as 25%, or off")
    return percent


def shown_limit(limit: Decimal | None) -> str:
    """Returns a limit as `sources.yaml` has it."""
    return "off" if limit is None else f"{limit.normalize():f}%"


Limit = Annotated[
    Decimal | None,
    BeforeValidator(_limit),
    PlainSerializer(shown_limit),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^(off|\d+(\.\d+)?\s*%)$"}, {"const": False}]}),
]
"""A share in percent; None if the guard is off."""


class GuardSettings(BaseModel):
    """The limits of one tenant's exports of one stream. `off` switches a guard, or all of them, off.

    Attributes:
        rejected: rejected records, of the records of the export.
        deleted: rows that the export deletes, of the live rows of the tenant's stream.
        emptied: rows of which a filled field or list becomes empty, of the live rows.
        changed: rows that the export changes, of the live rows.
        shrinks: records that are missing, of the median of the last full exports.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rejected: Limit = Decimal(50)
    deleted: Limit = Decimal(10)
    emptied: Limit = Decimal(20)
    changed: Limit = Decimal(60)
    shrinks: Limit = Decimal(50)

    @model_validator(mode="before")
    @classmethod
    def _off_is_all_off(cls, value: Any) -> Any:
        if value is False or (isinstance(value, str) and value.strip().lower() == "off"):
            return dict.fromkeys(cls.model_fields, "off")
        if isinstance(value, str):
            raise ValueError(f"{value!r} has no limits; write some, such as {{deleted: 25%}}, or off")
        # A key without a value has its default, as everywhere in the file.
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value

    def limits(self) -> dict[str, Decimal]:
        """Returns guard -> limit in percent, of those that are on."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: limit for name, limit in found.items() if limit is not None}


def settings_of(fingerprint: str, guards: GuardSettings) -> dict[str, Any]:
    """Returns what decides whether an export is held, besides the export: if it changes, it is tried again."""
    return {"fingerprint": fingerprint, "guards": guards.model_dump(mode="json")}


EVERY_GUARD_OFF: Final = GuardSettings.model_validate("off")
