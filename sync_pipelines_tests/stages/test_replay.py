"""`rejects replay`: exports read again after a correction, at their original version (X5, X11, T9)."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.commands import rejects as command
from sync_pipelines.commands.known_names import check_code
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.reports import RejectFilter
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.kept.locations import objects_in
from sync_pipelines.kept.object_store import open_store
from sync_pipelines.stages.file_cleanup import clear_files
from sync_pipelines.stages.replay import ReplayedExport, replay_rejects
from sync_pipelines.upsert.record_outcomes import outcomes_in, stored_outcomes
from sync_pipelines_tests import test_laws_identity as identity
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT, Site, deleted, item, lines, order, outcomes
from sync_pipelines_tests.test_laws import loading_plan

WRONG = {"columns": {"Price": "Menge", "Quantity": "Preis"}}
RIGHT = {"columns": {"Price": "Preis", "Quantity": "Menge"}}
HEADER = "OrderId,Currency,ProductId,Sku,Menge,Preis\n"


def replay(site: Site, **wanted: str) -> list[ReplayedExport]:
    return list(replay_rejects(site.workspace(), RejectFilter(**{"status": None, **wanted})))


def statuses(site: Site) -> list[tuple[str, str]]:
    return [(r["external_id"], r["status"]) for r in site.rejects()]


def wrongly_mapped(site: Site) -> LedgerFile:
    site.sources(WRONG)
    entry = site.load("2024-05-01.csv", HEADER + "A,USD,P,S,2,9.5\nB,USD,P,S,3,4\nC,USD,P,S,1,\n")
    assert outcomes(entry) == {"created": 1, "rejected": 2}
    return entry


def test_a_corrected_mapping_ends_as_if_it_had_been_right_at_first(site: Site, fresh_site: Callable[[], Site]) -> None:
    entry = wrongly_mapped(site)

    site.sources(RIGHT)
    (export,) = replay(site)

    assert export.error is None and export.outcome is not None
    assert (export.outcome.resolved, export.outcome.open) == (1, 1)
    assert statuses(site) == [("A", "resolved"), ("C", "open")]
    assert [i["price"] for i in site.items("B")] == [4], "a record that was accepted is read anew too"
    (after,) = site.ledger()
    assert after.counts == entry.counts, "counts tell the file's own load (X11)"
    replayed = site.tables()
    clean = fresh_site()
    clean.sources(RIGHT)
    clean.load("2024-05-01.csv", HEADER + "A,USD,P,S,2,9.5\nB,USD,P,S,3,4\nC,USD,P,S,1,\n")
    assert replayed == clean.tables()


def test_a_replayed_record_keeps_its_version(site: Site) -> None:
    wrongly_mapped(site)
    site.load("2024-05-02.json", [order("A", TotalRevenue=7)])
    assert statuses(site)[0] == ("A", "superseded")

    site.sources(RIGHT)
    replay(site)

    found = site.order("A")
    assert found is not None and found["total_revenue"] == 7, "the newer word stays"
    assert [i["price"] for i in found["order_items"]] == [item(Price=9.5)["Price"]], "what newer ones left unsaid"
    assert statuses(site)[0] == ("A", "superseded")


def test_a_second_replay_changes_nothing(site: Site) -> None:
    wrongly_mapped(site)
    site.sources(RIGHT)
    replay(site)
    before = site.versions(), site.tables()
    (export,) = replay(site)
    assert export.outcome is not None and export.outcome.keys == 0
    assert (site.versions(), site.tables()) == before


def test_a_file_whose_records_were_all_refused_is_loaded_by_a_replay(site: Site) -> None:
    site.load("2024-05-01.json", [{"OrderId": "A"}])
    site.sources({"currency_default": "EUR"})
    replay(site)
    found = site.order("A")
    assert found is not None and found["currency"] == "EUR"
    assert statuses(site) == [("A", "resolved")]
    assert outcomes(site.load("2024-04-30.json", [order("A", Email="a@x.cl")])) == {"updated": 1}, "a late file sees it"


def test_a_record_that_is_refused_now_leaves_the_tables(site: Site) -> None:
    site.load("2024-05-01.json", [order("A"), order("B")])
    site.load("2024-05-02.json", [order("A", TotalRevenue="5"), order("C", TotalRevenue="6"), {"OrderId": "D"}])
    site.sources({"strict": True})
    replay(site)
    assert sorted(key for _, _, key in site.tables()["orders"]) == ["A", "B"]
    found = site.order("A")
    assert found is not None and found["total_revenue"] == 1
    assert statuses(site) == [("A", "open"), ("C", "open"), ("D", "open")]


def test_one_file_or_one_code_alone_is_replayed(site: Site) -> None:
    for day in (1, 2):
        site.load(f"2024-05-0{day}.json", [{"OrderId": f"A{day}"}, {"OrderId": f"B{day}", "Currency": "usd1"}])
    site.load("2024-05-03.json", [order("Z", Currency="usd1")])
    site.sources({"currency_default": "EUR"})

    path = f"replenit/{TENANT}/orders/2024-05-01.json"
    assert [export.entry.path for export in replay(site, path=path)] == [path]
    assert dict(statuses(site)) == {"A1": "resolved", "B1": "open", "A2": "open", "B2": "open", "Z": "open"}
    assert len(replay(site, code="required")) == 1
    assert dict(statuses(site))["A2"] == "resolved"


def orders_mean_traede(site: Site) -> None:
    site.sources({"customer_identifier": "customer_id", "customers_of": {"partner": "traede", "tenant": "acme"}})


def test_T9_a_blocked_delete_is_decided_again(site: Site) -> None:
    orders_mean_traede(site)
    site.load_at("traede/acme/customers/2024-05-01.json", [{"customer_number": "1", "name": "K", "currency": "USD"}])
    site.load("2024-05-02.json", [order("A", CustomerId="1"), order("B", CustomerId="1")])
    site.load_at("traede/acme/customers/2024-05-03.json", [{"customer_number": "1", "delete": True}])
    site.load("2024-05-04.ndjson", lines(deleted("2024-05-04T00:00:00Z", "A")))

    replay(site)
    (reject,) = site.rejects()
    assert (reject["status"], reject["message"][:13]) == ("open", "1 live orders")

    site.load("2024-05-05.ndjson", lines(deleted("2024-05-05T00:00:00Z", "B")))
    (export,) = replay(site, code="delete_blocked")
    assert export.outcome is not None and export.outcome.resolved == 1
    assert statuses(site) == [("1", "resolved")]
    assert site.tables()["customers"][("acme", "traede", "1")]["deleted_at"] is not None
    # A later fold of the key knows that the delete counts.
    site.load_at("traede/acme/customers/2024-05-02.json", [{"customer_number": "1", "name": "late"}])
    assert site.tables()["customers"][("acme", "traede", "1")]["deleted_at"] is not None


def test_T9_a_delete_of_a_customer_that_only_orders_know_stays_blocked(site: Site) -> None:
    orders_mean_traede(site)
    site.load("2024-05-02.json", [order("A", CustomerId="1")])
    entry = site.load_at("traede/acme/customers/2024-05-01.json", [{"customer_number": "1", "delete": True}])
    assert outcomes(entry) == {"blocked": 1}
    before = site.tables()

    replay(site)

    assert site.tables() == before
    assert statuses(site) == [("1", "open")]


def test_refusals_by_state_are_decided_without_the_raw_bytes(site: Site) -> None:
    test_T9_a_blocked_delete_is_decided_again(site)
    site.load("2024-05-06.json", [order("C", CustomerId="2")])
    site.load_at("traede/acme/customers/2024-05-06.json", [{"customer_number": "2", "name": "K", "currency": "USD"}])
    site.load_at("traede/acme/customers/2024-05-07.json", [{"customer_number": "2", "delete": True}])
    site.load("2024-05-08.ndjson", lines(deleted("2024-05-08T00:00:00Z", "C")))
    shutil.rmtree(site.settings.archive / "raw")
    (export,) = replay(site)
    assert export.outcome is not None and export.outcome.resolved == 1


def test_an_export_whose_raw_bytes_are_gone_stays_as_it_was(site: Site) -> None:
    wrongly_mapped(site)
    before = site.tables()
    shutil.rmtree(site.settings.archive / "raw")
    site.sources(RIGHT)
    (export,) = replay(site)
    assert export.error is not None and export.error.code == "raw_export_gone"
    assert site.tables() == before
    assert statuses(site) == [("A", "open"), ("C", "open")]


def test_an_export_that_cannot_be_read_any_more_stays_as_it_was(site: Site) -> None:
    wrongly_mapped(site)
    before = site.tables()
    site.sources({"format": "json"})
    (export,) = replay(site)
    assert export.error is not None and export.error.code == "not_json"
    assert site.tables() == before


def test_no_kept_records_are_left_behind(site: Site) -> None:
    wrongly_mapped(site)
    for columns in (RIGHT, WRONG, RIGHT):
        site.sources(columns)
        replay(site)
    for number in range(3):
        clear_files(site.workspace(), time.time() + 24 * 3600 * number + number)
    objects = [item.name for item in open_store(site.settings.archive).list()]
    assert set(objects) == set().union(*(objects_in(entry.kept or "-") for entry in site.ledger()))


def test_the_command_says_what_became_of_them(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrongly_mapped(site)
    monkeypatch.setattr(command, "load_settings", lambda: site.settings)
    everything = dict.fromkeys(["partner", "stream", "tenant", "code", "path"])

    site.sources(RIGHT)
    assert command.run_replay(everything, as_json=True) == 3
    said = json.loads(capsys.readouterr().out)
    (file,) = said["files"]
    assert (file["path"], file["resolved"], file["open"], file["error"]) == (site.ledger()[0].path, 1, 1, None)
    assert said["totals"] == {"keys": 2, "resolved": 1, "open": 1, "superseded": 0}

    assert command.run_replay({**everything, "stream": "nilo/stores"}, as_json=False) == 0
    assert "Nothing to do" in capsys.readouterr().out
    shutil.rmtree(site.settings.archive / "raw")
    assert command.run_replay(everything, as_json=False) == 4
    assert "raw_export_gone" in capsys.readouterr().err


def test_an_unknown_code_is_refused_with_a_near_one() -> None:
    with pytest.raises(click.UsageError, match="did you mean delete_blocked"):
        check_code("delete_bloked")


STREAMS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "nilo/acme/stores": (st.one_of(identity.whole_store, identity.part_store, identity.store_call()), ("stores",)),
    "pocketflows/acme/businesses": (identity.business, ("commerces",)),
    "pocketflows/acme/customers": (
        st.one_of(identity.customer, identity.customer_call()),
        ("commerces", "customers"),
    ),
}


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("corrected", [False, True], ids=["strict_at_last", "lenient_at_last"])
@examples(6)
@given(data=st.data())
def test_law_1_a_replay_of_everything_ends_as_the_settings_in_force_say(
    fresh_site: Callable[[], Site], path: str, corrected: bool, data: st.DataObject
) -> None:
    entry, tables = STREAMS[path]
    # A record without a key is refused either way, so that every export takes part in the replay.
    exports = [
        identity.Export(e.path, e.day, (*e.entries, {"enabled": True, "business_id": "7"}))
        for e in data.draw(identity.history(path, entry))
    ]
    site = fresh_site()
    site.source_of(path, strict=corrected)
    identity.load(site, exports, data.draw(loading_plan(len(exports))))
    site.source_of(path, strict=not corrected)
    assert all(export.error is None for export in replay(site))
    replayed, _ = comparable(site, tables)
    assert_outcomes_tell_the_loads(site)

    clean = fresh_site()
    clean.source_of(path, strict=not corrected)
    identity.load(clean, exports, [[index] for index in range(len(exports))])
    expected, _ = comparable(clean, tables)
    assert replayed == expected


def assert_outcomes_tell_the_loads(site: Site) -> None:
    """X11: whatever is rejected by now, the outcomes of an export's records add up to the counts of its load."""
    for entry in site.ledger():
        with site.database.connect() as connection:
            codes = stored_outcomes(connection, entry.id)
        kept = KeptRecords(site.settings.archive, entry.kept or "-")
        found = Counter(record.outcome for record in outcomes_in(kept, codes))
        assert entry.counts == {name: found[name] for name in entry.counts} | {"read": found.total()}


def comparable(site: Site, tables: tuple[str, ...]) -> Any:
    """Definitions alone: a placeholder that nothing refers to any more stays."""
    found, refused = identity.comparable(site, *tables)
    return {table: [row for row in rows if "'is_placeholder': False" in row] for table, rows in found.items()}, refused
