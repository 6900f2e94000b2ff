"""What would become of a file: read as a sync reads it, into memory, with nothing kept.

Belongs here: counting what the reading way yields. Does not belong here: that way itself (`stages.normalize_export`).
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
    """What would become of a file.

    Attributes:
        operations: what accepted records ask for -> how many.
        rejected: reject code -> how many.
        examples: reject code -> the first of them.
        leniencies: code -> how often.
        needed: the columns that are read into fields.
        fault: why the file would fail, or None.
    """

    operations: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Reject]] = field(default_factory=dict)
    leniencies: Counter[str] = field(default_factory=Counter)
    needed: frozenset[str] = frozenset()
    fault: ExportError | None = None

    @property
    def read(self) -> int:
        """Records in all."""
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
    """Reads a whole file under some settings.

    Args:
        file: of this machine.
        columns: that it has.
        stream: it is taken for an export of.
        settings: it is read under.
        tenant: as it is stored.
        effective_at: the file's own time.
        window: the dates its records may have.
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
    except ExportError as fault:
        found.fault = fault
    found.leniencies = findings.leniencies
    return found
