"""What those who read records need to know of where they come from.

Belongs here: that value. Does not belong here: settings (`configuration`), what is in a record (`record`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.field_names import Names


@dataclass(frozen=True)
class RecordSource:
    """Where the records of one export come from.

    Attributes:
        stream: the declaration.
        tenant: as stored.
        options: the partner's settings, an instance of `stream.options`.
        reading: the source's conventions; its counter is not used.
        names: how the file names the contract's fields.
        effective_at: the time of records without one (X4).
    """

    stream: Stream
    tenant: str
    options: Any
    reading: Reading
    names: Names
    effective_at: datetime
