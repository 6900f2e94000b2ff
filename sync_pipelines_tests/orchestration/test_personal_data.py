"""A tour of the sample: nobody's e-mail address, name or phone number stands anywhere but in tables and archive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from sync_pipelines.orchestration import metadata, metadata_tables
from sync_pipelines.orchestration.check_runs import CHECK_JOB
from sync_pipelines.orchestration.dagster_names import job_name
from sync_pipelines.orchestration.jobs import run_config
from sync_pipelines.orchestration.masked_events import mask_stored, masked_document, streams_by_path
from sync_pipelines.partners import STREAMS
from sync_pipelines.sample_data import sample_sources, write_sample
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines_tests.commands.calling import Call
from sync_pipelines_tests.commands.conftest import call
from sync_pipelines_tests.orchestration.test_alerts import Ticks
from sync_pipelines_tests.webhook_server import webhook

__all__ = ["call"]

PERSONAL = """
    select email from sync.orders union select email from sync.customers union select phone from sync.customers
    union select name from sync.customers where commerce_id is not null or name like '% %'
    union select external_id from sync.customers where external_id like '%@%'
    union select value from sync.commerce_user_contacts union select name from sync.commerce_users
    union select tax_id from sync.commerces union select support_contact_email from sync.stores
    union select support_contact_phone from sync.stores union select owner_name from sync.stores
    union select legal_name from sync.stores union select legal_id from sync.stores
    union select user_ref from sync.store_users union select address from sync.customer_addresses
    union select formatted_address from sync.commerce_addresses union select address from sync.store_addresses
"""
LAST = date(2026, 6, 30)
OTHERS = "('sync', 'pg_catalog', 'information_schema')"


class Search:
    """Looks for personal values of the tables in texts."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        with workspace.connection() as connection:
            found = [value for (value,) in connection.execute(PERSONAL) if value and len(value) > 6]
        self.values = sorted({value.lower() for value in found})
        assert sum("@" in value for value in self.values) > 20
        assert sum(value.startswith("+") for value in self.values) > 20

    def within(self, text: str) -> list[str]:
        lowered = text.lower()
        # Dagster writes JSON in ASCII.
        escaped = "\\u" in lowered
        return [v for v in self.values if v in lowered or (escaped and json.dumps(v)[1:-1] in lowered)]

    def in_dagster(self) -> set[str]:
        """Every column of every table that is not ours."""
        with self._workspace.connection() as connection:
            names = connection.execute(
                f"select quote_ident(table_schema) || '.' || quote_ident(table_name) from information_schema.tables"
                f" where table_schema not in {OTHERS}".encode()
            ).fetchall()
            assert len(names) > 10
            rows = (row for (name,) in names for (row,) in connection.execute(f"select t::text from {name} t".encode()))
            return {f"{value}: {row[:200]}" for row in rows for value in self.within(row)}

    def in_messages(self) -> list[str]:
        with self._workspace.connection() as connection:
            return [
                value
                for (text,) in connection.execute("select message from sync.rejected_records")
                for value in self.within(text or "")
            ]

    def in_logs(self) -> list[str]:
        logs = [p for p in self._workspace.settings.logs.rglob("*") if p.is_file()]
        return [value for path in logs for value in self.within(path.read_text(errors="replace"))]


@pytest.fixture
def sampled(landing: Path, workspace: Workspace) -> Iterator[Path]:
    last = write_sample(landing, days=4, orders=60, last_day=LAST).last_day
    workspace.settings.sources.write_text(sample_sources())
    record = {"id": "p1", "external_id": "c1", "business_id": "b1", "full_name": "Berta Zapata Rojas"}
    late = landing / "pocketflows" / "late" / "customers" / f"{last}.json"
    late.parent.mkdir(parents=True)
    late.write_text(json.dumps([{**record, "email_address": ["berta.zapata@correo.example"]}]))
    broken = landing / "reten" / "red-andina" / "commerces" / f"{last}.json"
    broken.write_text('[{"external_id": "berta.zapata@correo.example"')
    yield late


def run_all(definitions: dg.Definitions, instance: dg.DagsterInstance, **config: Any) -> None:
    first = LAST - timedelta(days=9)
    span = {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(LAST)}
    for stream in STREAMS:
        definitions.resolve_job_def(job_name(stream)).execute_in_process(
            instance=instance, tags=span, run_config=run_config(stream, **config), raise_on_error=False
        )


def test_a_tour_shows_nobody(
    sampled: Path, call: Call, definitions: dg.Definitions, postgres_instance: dg.DagsterInstance, workspace: Workspace
) -> None:
    ticks = Ticks(definitions, postgres_instance, workspace)
    run_all(definitions, postgres_instance, preview=True)
    shown = [call("sync"), call("status")]
    assert shown[0].status == 4
    held = str(sampled.relative_to(workspace.settings.landing))
    assert held in shown[1].out
    shown += [call("release", held, "--reason", "a test"), call("sync", "--preview"), call("status")]
    shown.append(call("rejects", "list", "--limit", "9999"))
    shown.append(call("rejects", "list", "--limit", "9999", "--status", "all", "--json"))
    ids = [reject["id"] for reject in shown[-1].json["rejects"]]
    assert len(ids) > 5
    shown += [call("rejects", "show", str(reject_id)) for reject_id in ids]
    shown += [call("rejects", "show", str(ids[0]), "--json"), call("rejects", "replay")]
    definitions.resolve_job_def(CHECK_JOB).execute_in_process(instance=postgres_instance, raise_on_error=False)
    with webhook() as hook:
        ticks.configure(alert_webhook=SecretStr(hook.url))
        ticks.tick()
        assert hook.texts
        shown_by_webhook = "\n".join(hook.texts)

    search = Search(workspace)
    search.values += ["berta zapata rojas", "berta.zapata@correo.example"]
    terminal = [line for done in shown for line in f"{done.out}{done.err}".splitlines()]
    assert [(found, line) for line in terminal if (found := search.within(line))] == []
    assert search.within(shown_by_webhook) == []
    assert search.in_messages() == []
    assert search.in_logs() == []
    assert search.in_dagster() == set()
    clear = [call("rejects", "show", str(reject_id), "--unmasked") for reject_id in ids]
    assert "Berta Zapata Rojas" in "".join(done.out for done in clear)
    notes = (workspace.settings.logs / "unmasked.log").read_text().splitlines()
    assert [json.loads(line)["command"] for line in notes] == ["rejects show"] * len(ids)


def test_what_was_stored_in_clear_is_masked_afterwards(
    sampled: Path,
    definitions: dg.Definitions,
    postgres_instance: dg.DagsterInstance,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events are written as before contracts declared what is personal."""
    with monkeypatch.context() as before:
        before.setattr(metadata, "masked_row", lambda stream, row, table=None: dict(row))
        before.setattr(metadata, "masked_reason", lambda stream, path, message: message)
        before.setattr(metadata_tables, "without_emails", str)
        run_all(definitions, postgres_instance, preview=True)
        run_all(definitions, postgres_instance)
    (workspace.settings.logs / "old.txt").parent.mkdir(parents=True, exist_ok=True)
    (workspace.settings.logs / "old.txt").write_text("Key (email)=(berta.zapata@correo.example) exists")
    with workspace.connection() as connection:
        connection.execute("update sync.rejected_records set message = 'email_address: got ''berta@correo.example'''")
    search = Search(workspace)
    search.values += ["berta.zapata@correo.example", "berta@correo.example"]
    found = search.in_dagster()
    assert any("@" in line.split(": ")[0] for line in found) and any(line.startswith("+") for line in found)

    done = mask_stored(workspace, postgres_instance, STREAMS)
    assert done["masked_events"] > 0 and done["masked_messages"] > 0 and done["masked_logs"] == 1
    assert search.in_dagster() == set()
    assert search.in_messages() == search.in_logs() == []
    assert set(mask_stored(workspace, postgres_instance, STREAMS).values()) == {0}
    # What is left is still what Dagster and the UI read.
    events = postgres_instance.get_records_for_run
    runs = postgres_instance.get_run_records()
    assert sum(len(events(record.dagster_run.run_id).records) for record in runs) > 0


@pytest.mark.parametrize("path", [["customers", "traede"], ["traede", "customers"]])
def test_events_under_former_asset_keys_are_masked_too(path: list[str]) -> None:
    row = {"__class__": "TableRecord", "data": {"external_id": "A1", "name": "berta zapata"}}
    event = {"asset_key": {"path": path}, "metadata": {"label": "sample_rows", "rows": [row]}}
    assert "berta" not in masked_document(json.dumps(event), streams_by_path(STREAMS))
