"""Tables as Dagster's metadata shows them.

A cell is one line of plain text, not Markdown, and e-mail addresses in it are masked.

Belongs here: turning rows into a table value. Does not belong here: which rows (`checks`, `storage_cleanup`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.privacy.untrusted_text import on_one_line


def table_of(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Returns a table in which each column has one type, as Dagster requires; rows may lack columns."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    numbers = {c for c in columns if all(isinstance(row.get(c), int) for row in rows)}
    schema = dg.TableSchema([dg.TableColumn(c, "int" if c in numbers else "string") for c in columns])
    records = [dg.TableRecord({c: row[c] if c in numbers else _shown(row.get(c)) for c in columns}) for row in rows]
    return dg.MetadataValue.table(records=records, schema=schema)


def _shown(value: Any) -> str:
    return "" if value is None else on_one_line(without_emails(str(value)))
