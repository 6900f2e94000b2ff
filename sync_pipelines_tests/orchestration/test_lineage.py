"""What the UI shows of the assets before anything ran: groups, owners, kinds, descriptions, columns, code."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import pytest

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.definitions import build_definitions
from sync_pipelines.orchestration.dagster_names import STAGES, asset_key, job_name, schedule_name
from sync_pipelines.orchestration.descriptions import rule_page
from sync_pipelines.orchestration.table_schemas import child_schemas, stream_schema
from sync_pipelines.partners import STREAMS
from sync_pipelines.tables.schema import SCHEMA, metadata

ROOT = Path(__file__).parents[2]
RULES = set(re.findall(r"^\| ([A-Z]\d+) \|", (ROOT / "docs/rules.md").read_text(), re.MULTILINE))
each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.full_name)


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(Settings(owners="team:integrations"))


@each_stream
def test_every_asset_says_what_it_is(definitions: dg.Definitions, stream: Stream) -> None:
    for stage in STAGES:
        node = definitions.resolve_asset_graph().get(asset_key(stage, stream))
        assert (node.group_name, list(node.owners)) == (stream.partner, ["team:integrations"])
        assert node.kinds and node.code_version == f"{version('sync_pipelines')}-{stream.fingerprint[:8]}"
        told = node.description or ""
        # Rows of the catalog show the first paragraph without rendering it.
        assert not re.search(r"[*`_\[#]", told.partition("\n\n")[0])
        assert f"`{stream.partner}/<tenant>/{stream.name}/`" in told
        assert f"`sync-pipelines rejects replay --stream {stream.full_name}`" in told
        assert "preview" in told and stream.description in told


@each_stream
def test_jobs_and_schedules_speak_to_a_stranger(definitions: dg.Definitions, stream: Stream) -> None:
    repository = definitions.get_repository_def()
    job = repository.get_job(job_name(stream)).description or ""
    schedule = repository.get_schedule_def(schedule_name(stream)).description or ""
    assert f"sync.{stream.table}" in job and "not read again" in job
    assert "02:00 UTC" in schedule and stream.full_name in schedule
    assert ("listing" in schedule) is (stream.pull is not None)


def test_the_rule_pages_of_the_project_exist() -> None:
    ours = [stream for stream in STREAMS if stream.partner in ("reten", "pocketflows", "nilo", "replenit", "traede")]
    assert all((ROOT / rule_page(stream)).exists() for stream in ours)


@each_stream
def test_the_table_shows_its_name_and_columns(definitions: dg.Definitions, stream: Stream) -> None:
    told = definitions.resolve_asset_graph().get(asset_key("rows", stream)).metadata
    assert told["dagster/table_name"] == f"sync.{stream.table}"
    assert told["dagster/column_schema"] == stream_schema(stream)
    for children in stream.children:
        assert f"columns of sync.{children.table}" in told


@each_stream
def test_every_column_is_described_with_rules_that_exist(stream: Stream) -> None:
    for table, schema in {stream.table: stream_schema(stream), **child_schemas(stream)}.items():
        assert [c.name for c in schema.columns] == [c.name for c in metadata.tables[f"{SCHEMA}.{table}"].columns]
        for column in schema.columns:
            named = set(re.findall(r"\b[A-Z]\d+\b", column.description or ""))
            assert column.name == "id" or named, (table, column.name)
            assert named <= RULES, (table, column.name, named - RULES)


def test_columns_carry_the_rules_of_their_contract_and_type() -> None:
    told = {
        (stream.full_name, column.name): column.description or ""
        for stream in STREAMS
        for column in stream_schema(stream).columns
    }
    assert told["replenit/orders", "total_revenue"].endswith(" From the field `TotalRevenue`. Rules O3, O10, O12, X9.")
    assert told["replenit/orders", "email"].startswith("Email")
    assert told["replenit/orders", "customer_id"].endswith(" Refers to `sync.customers`. Rules X7, O5.")
    assert told["nilo/stores", "payment_status"].endswith(" Computed from other columns. Rules N3, N5, N6.")
    assert told["traede/customers", "discount_percentage"].endswith(" From the field `discount_percentage`. Rule T4.")
    absent = " Not in the exports of pocketflows/businesses, so null in their rows. Rule X1."
    assert told["pocketflows/businesses", "tax_id"].endswith(absent)
    (schema,) = (child_schemas(stream)["order_items"] for stream in STREAMS if stream.partner == "replenit")
    items = {column.name: column.description or "" for column in schema.columns}
    assert items["size_metric"].endswith(" Computed from the field `Size`. Rules O8, X2.")


@each_stream
def test_code_references_lead_to_the_partners_module(definitions: dg.Definitions, stream: Stream) -> None:
    told = definitions.resolve_asset_graph().get(asset_key("rows", stream)).metadata["dagster/code_references"]
    assert isinstance(told, dg.CodeReferencesMetadataValue)
    (local,) = (r for r in told.code_references if isinstance(r, dg.LocalFileCodeReference))
    assert Path(local.file_path).name == f"{stream.partner}.py"
    assert f'partner="{stream.partner}"' in Path(local.file_path).read_text()
