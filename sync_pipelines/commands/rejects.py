"""`sync-pipelines rejects`: lists, shows and replays rejected records.

Belongs here: layout and exit statuses. Does not belong here: the queries (`database.reports`), replaying
(`stages.replay`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC
from typing import Any

import click

from sync_pipelines.command_line import typed
from sync_pipelines.commands.disclosure import log_unmasked
from sync_pipelines.commands.screen import json_of, notify, print_table, say
from sync_pipelines.commands.sync import LOADED, WITH_FAILED, WITH_REJECTS
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.contracts.codes import REJECT_CODES
from sync_pipelines.corrections.refold import Replayed
from sync_pipelines.database import reports
from sync_pipelines.database.postgres import migrate, open_database
from sync_pipelines.database.reports import Reject, RejectFilter
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.partners import find_stream
from sync_pipelines.privacy.masking import masked
from sync_pipelines.privacy.personal_data import masked_faults, masked_reason, masked_record
from sync_pipelines.stages.export_stages import open_workspace
from sync_pipelines.stages.replay import ReplayedExport, replay_rejects


def run_list(wanted: Mapping[str, str | None], limit: int, *, as_json: bool, unmasked: bool = False) -> int:
    """Prints rejected records, the latest first, with personal values masked unless asked for."""
    filters = _filter({**wanted, "status": None if wanted["status"] == "all" else wanted["status"]})
    settings = load_settings()
    database = open_database(settings)
    migrate(database)
    with database.connect() as connection:
        found = reports.rejects(connection, filters, limit)
        total = reports.count_rejects(connection, filters)
    if unmasked:
        log_unmasked(settings, "rejects list", *(str(r.id) for r in found))
    else:
        found = [_masked(r) for r in found]
    if as_json:
        print(json_of({"rejects": [_listed(r) for r in found], "total": total}))
        return 0
    if not found:
        say("No rejected records.")
        return 0
    headers = ("id", "file", "position", "key", "code", "field", "error")
    print_table(
        headers,
        [(str(r.id), r.path, r.position, r.external_id, r.code, r.field_path, r.message) for r in found],
    )
    more = f" of {total:,}; --limit shows more" if total > len(found) else ""
    say("", f"{counted(len(found), 'rejected record')}{more}. To see one with its content: {typed('rejects show ID')}")
    return 0


def run_show(reject_id: int, *, as_json: bool, unmasked: bool = False) -> int:
    """Prints one rejected record with its content, with personal values masked unless asked for."""
    settings = load_settings()
    database = open_database(settings)
    migrate(database)
    with database.connect() as connection:
        found = reports.reject(connection, reject_id)
    if found is None:
        raise click.UsageError(f"there is no rejected record {reject_id}; to list them: {typed('rejects list')}")
    if unmasked:
        log_unmasked(settings, "rejects show", str(found.id))
    else:
        found = _masked(found)
    if as_json:
        print(json_of(_listed(found) | {"record": found.record}))
        return 0
    for name, value in _listed(found).items():
        if name != "faults":
            say(f"{name.replace('_', ' '):<12} {'' if value is None else value}")
    say(f"{'means':<12} {REJECT_CODES.get(found.code, '')}")
    if len(found.faults) > 1:
        print_table(("code", "field", "error"), [_error_cells(error) for error in found.faults])
    say("record", *_indented(found.record).split("\n"))
    return 0


def run_replay(wanted: Mapping[str, str | None], *, as_json: bool) -> int:
    """Replays rejected records and prints the result; returns the exit status."""
    workspace = open_workspace(load_settings())
    replayed = []
    for export in replay_rejects(workspace, _filter({**wanted, "status": None})):
        notify(_line_of(export))
        replayed.append(export)
    if as_json:
        print(json_of({"files": [_replayed(export) for export in replayed], "totals": _totals(replayed)}))
    elif replayed:
        totals = _totals(replayed)
        say(
            f"{len(replayed):,} exports read again: {totals['resolved']:,} rejected records resolved,"
            f" {totals['open']:,} open, {totals['superseded']:,} superseded by newer exports"
        )
    else:
        say("Nothing to do: no export has rejected records that are not resolved.")
    if any(export.error for export in replayed):
        return WITH_FAILED
    return WITH_REJECTS if any(export.outcome and export.outcome.open for export in replayed) else LOADED


def _line_of(export: ReplayedExport) -> str:
    if export.outcome is None:
        return f"unchanged {export.entry.path}: {export.error}"
    numbers = ", ".join(f"{number:,} {name}" for name, number in export.outcome._asdict().items() if name != "keys")
    return f"read again {export.entry.path}: {numbers}"


def _replayed(export: ReplayedExport) -> dict[str, Any]:
    entry = export.entry
    return {
        "partner": entry.partner,
        "tenant": entry.tenant,
        "stream": entry.stream,
        "path": entry.path,
        **(export.outcome or Replayed(0, 0, 0, 0))._asdict(),
        "error": None if export.error is None else str(export.error),
    }


def _totals(replayed: Sequence[ReplayedExport]) -> dict[str, int]:
    outcomes = [export.outcome for export in replayed if export.outcome is not None]
    return {name: sum(getattr(outcome, name) for outcome in outcomes) for name in Replayed._fields}


def _masked(reject: Reject) -> Reject:
    stream = find_stream(reject.partner, reject.stream)
    if stream is None:
        return replace(reject, external_id=masked(reject.external_id, "plain"), message=None, faults=[], record=None)
    return replace(
        reject,
        external_id=masked(reject.external_id, "plain"),
        message=masked_reason(stream, reject.field_path, reject.message or ""),
        faults=masked_faults(stream, reject.faults),
        record=masked_record(stream, reject.record),
    )


def _error_cells(error: Mapping[str, Any]) -> tuple[str | None, ...]:
    return error["code"], error["path"], error["message"]


def _filter(chosen: dict[str, str | None]) -> RejectFilter:
    if chosen["stream"] and "/" in chosen["stream"]:
        chosen["partner"], _, chosen["stream"] = chosen["stream"].partition("/")
    return RejectFilter(**chosen)


def _listed(reject: Reject) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(reject).items() if name != "record"}
    return fields | {"created_at": reject.created_at.astimezone(UTC)}


def _indented(record: Any) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False, default=str)
