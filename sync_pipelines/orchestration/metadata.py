"""Metadata of materializations: counts under stable names, files, rejects, leniencies.

Counts describe the day, not the run: they are sums over the ledger's entries of that day. Loading a day again does not
change them.

Belongs here: names and layout of metadata. Does not belong here: statements (`database.ledger`, `database.reports`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from sync_pipelines.contracts.codes import LENIENCY_CODES, REJECT_CODES
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import COUNTS, LedgerFile
from sync_pipelines.database.reports import RejectSummary
from sync_pipelines.orchestration.descriptions import replay_command
from sync_pipelines.orchestration.explain_job import explain_command
from sync_pipelines.orchestration.metadata_tables import table_of
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.orchestration.table_schemas import child_schemas, stream_schema
from sync_pipelines.privacy.personal_data import masked_faults, masked_reason, masked_row
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.display_rows import Difference, masked_changes
from sync_pipelines.stages.pulls import Pull
from sync_pipelines.stages.replay import ReplayedExport
from sync_pipelines.tables.schema import SCHEMA

FILES_SHOWN: Final = 100
_ERRORS_SHOWN: Final = 3
_CELL: Final = 300
_HELD: Final = "held: "
_STATUSES: Final = ("loaded", "pending", "failed", "held", "withdrawn")


def arrived(entries: Sequence[LedgerFile], seconds: float) -> dict[str, Any]:
    """Returns the metadata of a day's exports: how many arrived, how large, which, and their status."""
    return {
        "summary": _summary(entries),
        "files": len(entries),
        "bytes": sum(e.size for e in entries),
        "failed": _number(entries, "failed"),
        "exports": _files(entries),
        "seconds": round(seconds, 3),
    }


def pulled(pulls: Sequence[Pull]) -> dg.TableMetadataValue:
    """Returns a table of the pulls: tenant, records received, or the error."""
    return table_of(
        [
            {"tenant": p.tenant, "path": p.path, "records": p.records, "error": p.error or ""}
            for p in pulls[:FILES_SHOWN]
        ]
    )


def normalized(entries: Sequence[LedgerFile], seconds: float) -> dict[str, Any]:
    """Returns the metadata of a day's normalized records: how many files have some, and which could not be read."""
    return {
        "summary": _summary(entries),
        "files": len(entries),
        "bytes": sum(e.size for e in entries),
        "normalized": sum(e.kept is not None for e in entries),
        "failed": _number(entries, "failed"),
        "exports": _files(entries),
        "seconds": round(seconds, 3),
    }


def loaded(
    stream: Stream,
    entries: Sequence[LedgerFile],
    rejects: Sequence[RejectSummary],
    seconds: float,
    sample: Sequence[Mapping[str, Any]] = (),
    launchpad: str = "",
) -> dict[str, Any]:
    """Returns the metadata of a day's load: the nine counts, files, rejects by code, leniencies, a few rows.

    `launchpad` is the path of the job that explains rows; empty for a preview, whose rows are not stored.
    """
    done = [entry for entry in entries if entry.status == "loaded"]
    lines = sum(entry.lines or 0 for entry in done)
    counts = {name: sum(entry.counts[name] for entry in done) for name in COUNTS}
    return {
        "summary": _summary(entries),
        **counts,
        **({"response": stream.response(counts)} if stream.response else {}),
        "files": len(done),
        "pending": _number(entries, "pending"),
        "failed": _number(entries, "failed"),
        "held": _number(entries, "held"),
        "bytes": sum(entry.size for entry in done),
        **({"lines": lines} if lines else {}),
        "exports": _files(entries),
        "rejected_by_code": _rejects(stream, rejects),
        "leniencies": _codes(_summed(entry.leniencies for entry in done), LENIENCY_CODES),
        "unknown_fields": _codes(_summed(entry.unknown_fields for entry in done), {}),
        "sample_rows": table_of([_sample_row(stream, row, is_stored=bool(launchpad)) for row in sample]),
        **({"explain_rows": dg.MetadataValue.url(launchpad)} if sample and launchpad else {}),
        "seconds": round(seconds, 3),
    }


def _sample_row(stream: Stream, row: Mapping[str, Any], *, is_stored: bool) -> dict[str, str]:
    shown = masked_row(stream, row)
    cells = {name: _cell(value) for name, value in shown.items()}
    return {**cells, "explain it": explain_command(stream, shown)} if is_stored else cells


def previewed(stream: Stream, load: Mapping[str, Any], differences: Sequence[Difference]) -> dict[str, Any]:
    """Returns the metadata of a day's preview: `load`, which `loaded` returned, with the rows that would differ."""
    notice = "Preview: nothing was loaded. The tables, the ledger and the rejected records are unchanged."
    return {
        **load,
        "preview": True,
        "summary": dg.MetadataValue.text(f"{notice} It would be: {load['summary'].value}"),
        "differences": _differences(stream, differences),
    }


def read_again(exports: Sequence[ReplayedExport]) -> dict[str, Any]:
    """Returns the metadata of a day's loaded exports that were read again: the result of each."""
    rows = [
        {
            "path": export.entry.path,
            "keys folded again": export.outcome.keys if export.outcome else 0,
            "resolved": export.outcome.resolved if export.outcome else 0,
            "open": export.outcome.open if export.outcome else 0,
            "superseded": export.outcome.superseded if export.outcome else 0,
            "error": str(export.error or ""),
        }
        for export in exports[:FILES_SHOWN]
    ]
    return {"reread_files": len(exports), "reread": table_of(rows)}


def table_definition(stream: Stream) -> dict[str, Any]:
    """Returns the metadata of the asset: its table, the columns, and those of the tables that its lists fill."""
    return {
        "dagster/table_name": f"{SCHEMA}.{stream.table}",
        "dagster/column_schema": stream_schema(stream),
        "contract": stream.contract.__name__,
        **{f"columns of {SCHEMA}.{table}": schema for table, schema in child_schemas(stream).items()},
    }


def failed_files(entries: Sequence[LedgerFile]) -> dg.TableMetadataValue:
    """Returns a table of the failed files, with the errors."""
    return table_of([{"path": e.path, "error": e.error or "", "attempts": e.attempts} for e in entries[:FILES_SHOWN]])


def _files(entries: Sequence[LedgerFile]) -> dg.TableMetadataValue:
    rows: list[dict[str, Any]] = [
        {
            "path": e.path,
            "status": e.status,
            "dated by": "path" if e.has_own_date else "modification time",
            "bytes": e.size,
            **{name: count for name, count in e.counts.items()},
            "error": e.error or "",
        }
        for e in entries[:FILES_SHOWN]
    ]
    if len(entries) > FILES_SHOWN:
        rows.append({name: "" for name in rows[0]} | {"path": f"... and {len(entries) - FILES_SHOWN} more"})
    return table_of(rows)


def _summary(entries: Sequence[LedgerFile]) -> dg.TextMetadataValue:
    """Whether the day's files arrived and their outcomes, in a few sentences.

    Plain text: with Markdown, the reader's browser would fetch images that an export names.
    """
    if not entries:
        return dg.MetadataValue.text("No export of this day has arrived.")
    present = [e for e in entries if not is_gone(e)]
    statuses = [f"{n} {status}" for status in _STATUSES if (n := _number(present, status))]
    parts = _alarms(present)
    if present:
        parts.append(f"{counted(len(present), 'export')}: {', '.join(statuses)}.")
    if gone := len(entries) - len(present):
        parts.append(f"{counted(gone, 'export')} removed from the landing before it could be loaded.")
    counts = {name: sum(e.counts[name] for e in entries if e.status == "loaded") for name in COUNTS}
    if _number(entries, "loaded"):
        outcomes = [f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n and name != "read"]
        parts.append(f"{counted(counts['read'], 'record')} read" + (f": {', '.join(outcomes)}." if outcomes else "."))
    if undated := sum(not e.has_own_date for e in entries):
        parts.append(f"{undated} without a date in the path, dated by modification time.")
    if split := sum(e.leniencies.get("split_across_files", 0) for e in entries):
        parts.append(
            f"Orders with lines in another export of the same time: {split:,}. Only the lines of the later export"
            " count; see `parts: folder`."
        )
    return dg.MetadataValue.text(" ".join(parts))


def _alarms(entries: Sequence[LedgerFile]) -> list[str]:
    """What somebody has to act on: exports that are held or failed, and those of which half or more was rejected."""
    held = [e for e in entries if e.status == "held"]
    # The page of a day cuts long text off: why comes before the path.
    parts = [f"{counted(len(held), 'export')} held."] if held else []
    parts += [f"{on_one_line(f'{str(e.error).removeprefix(_HELD)}: {e.path}')}." for e in held[:_ERRORS_SHOWN]]
    parts += ["To load one as it is: a run of its day with release: [PATH]."] if held else []
    failed = [e for e in entries if e.status == "failed"]
    parts += [f"{counted(len(failed), 'export')} failed."] if failed else []
    parts += [f"{on_one_line(f'{e.path}: {e.error}')}." for e in failed[:_ERRORS_SHOWN]]
    bad = [e for e in entries if e.status == "loaded" and 0 < e.counts["read"] <= 2 * e.counts["rejected"]]
    for e in sorted(bad, key=lambda e: -e.counts["rejected"])[:_ERRORS_SHOWN]:
        read, rejected = e.counts["read"], e.counts["rejected"]
        what = "Every record was" if rejected == read else f"{rejected:,} of {counted(read, 'record')} were"
        parts.append(f"{what} rejected: {on_one_line(e.path)}.")
    return parts


def is_gone(entry: LedgerFile) -> bool:
    """Returns whether an export was removed from the landing before it could be loaded."""
    return entry.status == "failed" and (entry.error or "").startswith("file_vanished:")


def _number(entries: Sequence[LedgerFile], status: str) -> int:
    return sum(entry.status == status and not is_gone(entry) for entry in entries)


def _differences(stream: Stream, differences: Sequence[Difference]) -> dg.TableMetadataValue:
    """One line for each column that differs. A new or deleted row is one line."""
    return table_of([row for difference in differences for row in difference_rows(stream, difference)])


def difference_rows(stream: Stream | None, difference: Difference) -> list[dict[str, Any]]:
    """Returns a row that differs as lines of a table, one for each column, personal values masked.

    Args:
        stream: the stream that fills the table for the row's partner; None if there is none.
        difference: the row.
    """
    d = difference
    return [
        {
            "tenant": d.tenant,
            "key": d.key,
            "change": d.change,
            "column": column,
            "stored": "" if d.change == "created" else _cell(before),
            "would be": "" if d.change == "deleted" else _cell(after),
            "export": d.path,
        }
        for column, before, after in masked_changes(stream, d)
    ]


def _cell(value: Any) -> str:
    """A value in a cell: shortened, and JSON unless it is a plain value."""
    if value is None:
        return ""
    if isinstance(value, dict):
        value = {name: below for name, below in value.items() if below not in (None, [])}
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "\u2026"


def _rejects(stream: Stream, rejects: Sequence[RejectSummary]) -> dg.TableMetadataValue:
    return table_of(
        [
            {
                "code": r.code,
                "records": r.records,
                "meaning": REJECT_CODES.get(r.code, ""),
                "for example": _example(stream, r),
                "also wrong in it": _further(stream, r),
                "list them": f"sync-pipelines rejects list --stream {stream.full_name} --code {r.code}",
                "replay them": replay_command(stream, r.code),
            }
            for r in rejects
        ]
    )


def _example(stream: Stream, reject: RejectSummary) -> str:
    why = masked_reason(stream, reject.field_path, reject.message or "")
    return f"{reject.path} at {reject.position or '?'}: {reject.field_path or ''} {why}".strip()


def _further(stream: Stream, reject: RejectSummary) -> str:
    """The errors of the example, without the first (F20)."""
    errors = masked_faults(stream, reject.faults[1:])
    return "; ".join(f"{error['code']} {error['message']}" for error in errors)


def _codes(counts: Mapping[str, int], meanings: Mapping[str, str]) -> dg.TableMetadataValue:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return table_of(
        [{"name": name, "times": n, "meaning": meanings.get(name, "")} for name, n in ordered[:FILES_SHOWN]]
    )


def _summed(parts: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total
