"""Tries to read a file as a sync does, in memory, without keeping anything.

Belongs here: counting the results. Does not belong here: reading itself (`stages.normalize_export`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.errors import ExportError
from sync_pipelines.inspection.sight import opened
from sync_pipelines.normalize.change import Findings, Reject
from sync_pipelines.normalize.envelope import DateWindow
from sync_pipelines.stages.normalize_export import ExportText, outcomes_of, sought_in

EXAMPLES: Final = 5


@dataclass
class Outcome:
    """The result of reading a file.

    Attributes:
        operations: operation of accepted records -> count.
        rejected: reject code -> count.
        examples: reject code -> the first reject.
        leniencies: code -> count.
        needed: the columns that are read into fields.
        error: why the file would fail, or None.
    """

    operations: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Reject]] = field(default_factory=dict)
    leniencies: Counter[str] = field(default_factory=Counter)
    needed: frozenset[str] = frozenset()
    error: ExportError | None = None

    @property
    def read(self) -> int:
        """The number of all records."""
        return self.operations.total() + self.rejected.total()


def try_reading(
    file: Path,
    columns: Iterable[str],
    stream: Stream,
    settings: StreamSettings,
    tenant: str,
    effective_at: datetime,
    window: DateWindow,
) -> Outcome:
    """Reads a whole file with some settings.

    Args:
        file: a local file.
        columns: its columns.
        stream: the stream it is read for.
        settings: the settings to use.
        tenant: as stored.
        effective_at: the file's own time.
        window: the dates that its records may have.
    """
    found, findings = Outcome(), Findings()
    export = ExportText(stream, settings, tenant, file.name, lambda: opened(file), effective_at, window)
    try:
        sought = sought_in(export)
        found.needed = frozenset(name for name in columns if sought.needs(name))
        for outcome in outcomes_of(export, findings):
            if isinstance(outcome, Reject):
                found.rejected[outcome.code] += 1
                examples = found.examples.setdefault(outcome.code, [])
                if len(examples) < EXAMPLES:
                    examples.append(outcome)
            else:
                found.operations[outcome.operation] += 1
    except ExportError as error:
        found.error = error
    found.leniencies = findings.leniencies
    return found
