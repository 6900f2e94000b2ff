"""`sync-pipelines rejects`: the refused records.

Belongs here: layout. Does not belong here: the questions (`reports`), replaying.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC
from typing import Any

import click

from sync_pipelines import reports
from sync_pipelines.commands.screen import json_of, print_table, say
from sync_pipelines.contracts.codes import REJECT_CODES
from sync_pipelines.database import migrate, open_database
from sync_pipelines.reports import Reject, RejectFilter
from sync_pipelines.settings import load_settings


def run_list(wanted: Mapping[str, str | None], limit: int, *, as_json: bool) -> int:
    """Prints refused records, the latest first."""
    chosen = {**wanted, "status": None if wanted["status"] == "all" else wanted["status"]}
    if chosen["stream"] and "/" in chosen["stream"]:
        chosen["partner"], _, chosen["stream"] = chosen["stream"].partition("/")
    filters = RejectFilter(**chosen)
    database = open_database(load_settings())
    migrate(database)
    with database.connect() as connection:
        found = reports.rejects(connection, filters, limit)
        total = reports.count_rejects(connection, filters)
    if as_json:
        print(json_of({"rejects": [_listed(r) for r in found], "total": total}))
        return 0
    if not found:
        say("No refused records.")
        return 0
    headers = ("id", "file", "position", "key", "code", "field", "what is wrong")
    print_table(
        headers,
        [(str(r.id), r.path, r.position, r.external_id, r.code, r.field_path, r.message) for r in found],
    )
    more = f" of {total:,}; --limit shows more" if total > len(found) else ""
    counted = f"{len(found):,} refused record{'' if len(found) == 1 else 's'}{more}"
    say(f"\n{counted}. One with its content: sync-pipelines rejects show ID")
    return 0


def run_show(reject_id: int, *, as_json: bool) -> int:
    """Prints one refused record with its content."""
    database = open_database(load_settings())
    migrate(database)
    with database.connect() as connection:
        found = reports.reject(connection, reject_id)
    if found is None:
        raise click.UsageError(f"there is no refused record {reject_id}; sync-pipelines rejects list")
    if as_json:
        print(json_of(_listed(found) | {"record": found.record}))
        return 0
    for name, value in _listed(found).items():
        say(f"{name.replace('_', ' '):<12} {'' if value is None else value}")
    say(f"{'means':<12} {REJECT_CODES.get(found.code, '')}")
    say(f"record\n{_indented(found.record)}")
    return 0


def _listed(reject: Reject) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(reject).items() if name != "record"}
    return fields | {"created_at": reject.created_at.astimezone(UTC)}


def _indented(record: Any) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False, default=str)
