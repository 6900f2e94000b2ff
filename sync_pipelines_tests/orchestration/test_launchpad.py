"""Run configuration: preview, tenants, reread, and what is refused of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.database.ledger import COUNTS
from sync_pipelines.definitions import build_definitions
from sync_pipelines.orchestration.dagster_names import asset_key, stream_name
from sync_pipelines.orchestration.jobs import run_config
from sync_pipelines.orchestration.resources import WORKSPACE
from sync_pipelines.orchestration.run_config import SyncConfig
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.export_stages import Workspace, open_workspace
from sync_pipelines_tests.exports_in import OTHER, order, put
from sync_pipelines_tests.orchestration.acting import TABLE, days, files, materialized, run
from sync_pipelines_tests.orchestration.test_assets import orders
from sync_pipelines_tests.test_docs import ROOT, rows, section


def observed(
    instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult, key: dg.AssetKey = TABLE
) -> dict[str, dict[str, Any]]:
    """Partition -> metadata of what a run observed."""
    found = {}
    for record in instance.get_records_for_run(result.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION).records:
        seen = record.asset_observation
        if seen is not None and seen.asset_key == key:
            found[str(seen.partition)] = {name: value.value for name, value in seen.metadata.items()}
    return found


def failure(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """The step that failed first, and what it says."""
    event = next(e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_FAILURE)
    return str(event.step_key), str(event.step_failure_data.error.message)  # type: ignore[union-attr]


def test_every_option_is_in_the_readme_and_no_other() -> None:
    assert {row[0].strip("`") for row in rows(section((ROOT / "docs/in_the_ui.md").read_text(), "Launchpad"))} == set(
        SyncConfig.model_fields
    )


def test_a_preview_tells_the_numbers_of_the_run_that_follows_and_loads_nothing(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A"), order("B"), order("C", Currency="XXXX")])
    put(landing, "2010-12-02.json", "not json")
    put(landing, "2010-12-03.json", [order("A"), order("A", TotalRevenue=12)])
    for _ in range(2):
        result = run(definitions, instance, days(1, 4), run_config(ORDERS, preview=True))
        assert result.success
        assert materialized(instance, result) == {}
        assert instance.event_log_storage.get_materialized_partitions(TABLE) == set()
        told = observed(instance, result)
        assert orders(workspace) == []
        assert {state for state, _, _ in files(workspace).values()} == {"pending"}
        assert [told[day]["preview"] for day in sorted(told)] == [True] * 4
    assert "nothing was loaded" in told["2010-12-01"]["summary"]
    assert "not_json" in told["2010-12-02"]["summary"] and told["2010-12-02"]["failed"] == 1
    assert "No export of this day has arrived" in told["2010-12-04"]["summary"]
    kinds = {
        (r.data["key"], r.data["change"], r.data["export"][-15:]) for r in told["2010-12-03"]["differences"].records
    }
    assert kinds == {("A", "created", "2010-12-03.json")}
    assert [r.data["code"] for r in told["2010-12-01"]["rejected_by_code"].records] == ["currency_unknown"]

    put(landing, "2010-12-02.json", [], age=30)
    loaded = run(definitions, instance, days(1, 4))
    assert loaded.success
    for day, values in materialized(instance, loaded).items():
        if day != "2010-12-02":
            assert {n: values[n] for n in (*COUNTS, "files")} == {n: told[day][n] for n in (*COUNTS, "files")}


def test_a_preview_shows_old_and_new_values(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A", TotalRevenue=1)])
    assert run(definitions, instance, days(1, 1)).success
    put(landing, "2010-12-02.json", [order("A", TotalRevenue=2)])
    result = run(definitions, instance, days(1, 2), run_config(ORDERS, preview=True))
    (row,) = observed(instance, result)["2010-12-02"]["differences"].records
    assert (row.data["column"], row.data["stored"], row.data["would be"]) == ("total_revenue", "1.0000", "2.0000")
    assert instance.event_log_storage.get_materialized_partitions(TABLE) == {"2010-12-01"}


def test_a_preview_of_a_late_file_shows_the_row_another_file_has_the_last_word_of(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-03.json", [order("A")])
    assert run(definitions, instance, days(3, 3)).success
    put(landing, "2010-12-01.json", [order("A", TotalQuantity=5)])
    result = run(definitions, instance, days(1, 2), run_config(ORDERS, preview=True))
    assert result.success
    told = observed(instance, result)["2010-12-01"]
    assert told["updated"] == 1
    changed = {r.data["column"]: (r.data["stored"], r.data["would be"]) for r in told["differences"].records}
    assert changed["total_quantity"] == ("1", "5")


def test_loaded_files_are_read_again_after_a_correction(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.csv", "OrderId,Currency,Total\nA,EUR,7\n")
    assert run(definitions, instance, days(1, 1)).success
    workspace.settings.sources.write_text(
        "sources: [{partner: replenit, tenant: '*', streams: {orders: {columns: {TotalRevenue: Total}}}}]"
    )
    corrected = build_definitions(workspace.settings, {WORKSPACE: open_workspace(workspace.settings)})
    result = run(corrected, instance, days(1, 1), run_config(ORDERS, reread=True))
    assert result.success
    told = materialized(instance, result)["2010-12-01"]
    assert (told["reread_files"], told["created"]) == (1, 1)
    with workspace.connection() as connection:
        assert connection.execute("select total_revenue::int, extra from sync.orders").fetchall() == [(7, None)]


def test_a_file_that_cannot_be_read_again_fails_its_day_and_stays(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", [order("B")])
    assert run(definitions, instance, days(1, 2)).success
    raw = next(p for p in (workspace.settings.archive / "raw").rglob("*") if p.is_file())
    raw.unlink()
    result = run(definitions, instance, days(1, 2), run_config(ORDERS, reread=True))
    assert not result.success
    assert len(materialized(instance, result)) == len(observed(instance, result)) == 1
    assert orders(workspace) == ["A", "B"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (run_config(ORDERS, preview=True, reread=True), "preview and reread contradict each other"),
        (run_config(ORDERS, tenants=["nobody"]), "replenit has no tenant nobody"),
    ],
    ids=["contradiction", "unknown tenant"],
)
def test_wrong_configuration_is_refused_in_one_sentence_before_anything_is_touched(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    landing: Path,
    workspace: Workspace,
    config: dict[str, Any],
    says: str,
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-01.json", [order("B")], tenant=OTHER)
    result = run(definitions, instance, days(1, 1), config)
    assert not result.success
    step, message = failure(result)
    assert step == stream_name(ORDERS)
    assert says in message and "\n" not in message.strip()
    assert files(workspace) == {}


def test_a_day_answers_whether_its_file_came_and_what_it_did(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order(f"A{n}") for n in range(9)] + [order("X", Currency="XXXX")])
    put(landing, "2010-12-02.json", "not json")
    result = run(definitions, instance, days(1, 3))
    told = materialized(instance, result)
    good, none = told["2010-12-01"], told["2010-12-03"]
    assert good["summary"] == "1 export: 1 loaded. 10 records read: 9 created, 1 rejected."
    assert none["summary"] == "No export of this day has arrived."
    assert (good["bytes"] > 0, none["bytes"], none["files"]) == (True, 0, 0)
    assert [r.data["external_id"] for r in good["sample_rows"].records] == ["A0", "A1", "A2", "A3", "A4"]
    (reject,) = good["rejected_by_code"].records
    assert reject.data["replay them"] == (
        "sync-pipelines rejects replay --stream replenit/orders --code currency_unknown"
    )
    bad = observed(instance, result)["2010-12-02"]
    assert "1 failed" in bad["summary"] and "not_json" in bad["summary"]
    read = materialized(instance, result, asset_key("records", ORDERS))["2010-12-02"]
    assert "not_json" in read["summary"] and read["exports"].records[0].data["status"] == "failed"


def test_a_held_export_is_released_and_wrong_paths_are_refused(
    workspace: Workspace, instance: dg.DagsterInstance, landing: Path
) -> None:
    guarded = replace(workspace, sources=replace(workspace.sources, has_guards=True))
    definitions = build_definitions(workspace.settings, {WORKSPACE: guarded})
    put(landing, "2010-12-01.json", [order("A")])
    held = put(landing, "2010-12-02.json", [order("B", Currency="XXXX")])
    previewed = observed(instance, run(definitions, instance, days(1, 2), run_config(ORDERS, preview=True)))
    assert "It would be: 1 export held." in previewed["2010-12-02"]["summary"]
    made = materialized(instance, run(definitions, instance, days(1, 2)))
    why = "1 of 1 records would be rejected (guard rejected, every record)"
    assert made["2010-12-02"]["summary"].startswith(f"1 export held. {why}: {held}.")
    assert (made["2010-12-02"]["held"], made["2010-12-01"]["held"], made["2010-12-02"]["read"]) == (1, 0, 0)
    loaded = held.replace("02.json", "01.json")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"release": ["nowhere.json"]}, f"replenit/orders has no export 'nowhere.json'; held are {held}"),
        ({"release": [held, loaded]}, f"{loaded} is not held: it is loaded"),
        ({"release": [held], "preview": True}, "preview and release contradict each other"),
    ]
    for config, says in wrong:
        assert says in failure(run(definitions, instance, days(1, 2), run_config(ORDERS, **config)))[1]
    other_day = run(definitions, instance, days(1, 1), run_config(ORDERS, release=[held]))
    assert "is an export of 2010-12-02, which is no day of this run" in failure(other_day)[1]
    assert files(workspace)["2010-12-02.json"][0] == "held"
    put(landing, "2010-12-02_later.json", [order("C")])
    for _ in range(2):
        # Run again, it has nothing left to do.
        released = run(definitions, instance, days(2, 2), run_config(ORDERS, release=[held], reason="asked them"))
        assert released.success
        assert [status for status, *_ in files(workspace).values()] == ["loaded", "loaded"]
    with workspace.connection() as connection:
        (decided,) = connection.execute("select action, reason, decided_by from sync.export_decisions").fetchall()
    assert decided[:2] == ("release", "asked them") and decided[2].startswith("Dagster run ")
