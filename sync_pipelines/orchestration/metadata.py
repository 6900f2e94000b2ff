"""What a materialization tells: outcomes as numbers under stable names, files, refusals, leniencies.

Numbers tell the day, not the run: they sum the ledger's entries of that day, so a day that is loaded again tells
the same.

Belongs here: names and layout of metadata. Does not belong here: statements (`ledger`, `reports`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from sync_pipelines.contracts.codes import LENIENCY_CODES, REJECT_CODES
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.ledger import COUNTS, LedgerFile
from sync_pipelines.pulls import Pull
from sync_pipelines.reports import RejectSummary

FILES_SHOWN: Final = 100


def arrived(entries: Sequence[LedgerFile]) -> dict[str, Any]:
    """Of a day's exports: how many, how large, which."""
    return {"files": len(entries), "bytes": sum(e.size for e in entries), "exports": _files(entries)}


def pulled(pulls: Sequence[Pull]) -> dg.TableMetadataValue:
    """What was asked of the partner: which tenants, how many records came, or why none."""
    return _table(
        [
            {"tenant": p.tenant, "path": p.path, "records": p.records, "error": p.error or ""}
            for p in pulls[:FILES_SHOWN]
        ]
    )


def normalized(entries: Sequence[LedgerFile]) -> dict[str, Any]:
    """Of a day's normalized records: how many files have some."""
    return {"files": len(entries), "normalized": sum(e.kept is not None for e in entries)}


def loaded(
    stream: Stream, entries: Sequence[LedgerFile], rejects: Sequence[RejectSummary], seconds: float
) -> dict[str, Any]:
    """Of a day's load: the nine counts, files, refusals by code, leniencies."""
    done = [entry for entry in entries if entry.status == "loaded"]
    lines = sum(entry.lines or 0 for entry in done)
    counts = {name: sum(entry.counts[name] for entry in done) for name in COUNTS}
    return {
        **counts,
        **({"response": stream.response(counts)} if stream.response else {}),
        "files": len(done),
        **({"lines": lines} if lines else {}),
        "exports": _files(entries),
        "rejected_by_code": _rejects(stream, rejects),
        "leniencies": _codes(_summed(entry.leniencies for entry in done), LENIENCY_CODES),
        "unknown_fields": _codes(_summed(entry.unknown_fields for entry in done), {}),
        "seconds": round(seconds, 3),
    }


def table_definition(stream: Stream) -> dict[str, Any]:
    """Of the asset itself: which table it is."""
    return {"dagster/table_name": f"sync.{stream.table}", "contract": stream.contract.__name__}


def failed_files(entries: Sequence[LedgerFile]) -> dg.TableMetadataValue:
    """The files that failed, with why."""
    return _table([{"path": e.path, "error": e.error or "", "attempts": e.attempts} for e in entries[:FILES_SHOWN]])


def _files(entries: Sequence[LedgerFile]) -> dg.TableMetadataValue:
    rows: list[dict[str, Any]] = [
        {
            "path": e.path,
            "status": e.status,
            "bytes": e.size,
            **{name: count for name, count in e.counts.items()},
            "error": e.error or "",
        }
        for e in entries[:FILES_SHOWN]
    ]
    if len(entries) > FILES_SHOWN:
        rows.append({name: "" for name in rows[0]} | {"path": f"... and {len(entries) - FILES_SHOWN} more"})
    return _table(rows)


def _rejects(stream: Stream, rejects: Sequence[RejectSummary]) -> dg.TableMetadataValue:
    return _table(
        [
            {
                "code": r.code,
                "records": r.records,
                "meaning": REJECT_CODES.get(r.code, ""),
                "for example": f"{r.path} at {r.position or '?'}: {r.field_path or ''} {r.message or ''}".strip(),
                "list them": f"sync-pipelines rejects list --partner {stream.partner} --code {r.code}",
            }
            for r in rejects
        ]
    )


def _codes(counts: Mapping[str, int], meanings: Mapping[str, str]) -> dg.TableMetadataValue:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return _table([{"name": name, "times": n, "meaning": meanings.get(name, "")} for name, n in ordered[:FILES_SHOWN]])


def _summed(parts: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def _table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """A table in which one column has one type, as Dagster wants it."""
    columns = list(rows[0]) if rows else []
    numbers = {c for c in columns if all(isinstance(row[c], int) for row in rows)}
    schema = dg.TableSchema([dg.TableColumn(c, "int" if c in numbers else "string") for c in columns])
    records = [dg.TableRecord({c: row[c] if c in numbers else str(row[c]) for c in columns}) for row in rows]
    return dg.MetadataValue.table(records=records, schema=schema)
