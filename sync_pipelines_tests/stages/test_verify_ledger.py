"""The ledger compared with its copies in the archive; a database that was lost is rebuilt from the archive alone."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import LedgerLost
from sync_pipelines.kept.object_store import open_store
from sync_pipelines.privacy.person_terms import Person
from sync_pipelines.stages.compaction import compact
from sync_pipelines.stages.discovery import discover
from sync_pipelines.stages.erase import erase, look, plan_erasure
from sync_pipelines.stages.export_stages import normalize_export, stream_of
from sync_pipelines.stages.replay import read_again
from sync_pipelines.stages.verify_ledger import VerifiedLedger, verify_ledger
from sync_pipelines.stages.withdrawal import Decided, redo, undo
from sync_pipelines.upsert.load import load as load_entry
from sync_pipelines_tests.databases import empty_tables
from sync_pipelines_tests.examples import examples, rounds
from sync_pipelines_tests.loading import TENANT, Site, deleted, item, lines, order
from sync_pipelines_tests.test_laws import history, load, loading_plan

MISTAKE = Decided("a mistake", "ana")
LOOKED_AT = {"modified_at", "etag", "looked_at", "seen_at", "id", "has_indexed_keys"}


def verified(site: Site, **options: Any) -> VerifiedLedger:
    return verify_ledger(site.workspace(), **options)


def everything(site: Site) -> Any:
    """Tables, rejects, ledger and outcomes, without ids."""
    rejects = [r for r in site.rejects() if r["status"] != "resolved"]
    entries = site.query("select * from sync.export_files where status <> 'failed' order by path, revision")
    outcomes = site.query(
        "select f.path, f.revision, o.outcomes from sync.export_outcomes o"
        " join sync.export_files f on f.id = o.export_file_id order by 1, 2"
    )
    decisions = site.query(
        "select f.path, d.action, d.reason, d.decided_by, d.decided_at from sync.export_decisions d"
        " join sync.export_files f on f.id = d.export_file_id order by f.path, f.revision, d.id"
    )
    shown = [{name: value for name, value in entry.items() if name not in LOOKED_AT} for entry in entries]
    return site.tables(), rejects, shown, outcomes, decisions


def rebuilt(site: Site) -> VerifiedLedger:
    """Loses the database, and rebuilds it without the landing."""
    empty_tables(site.database)
    shutil.rmtree(site.landing)
    done = verified(site, repair=True)
    site.landing.mkdir()
    return done


def filled(site: Site) -> None:
    """Loads exports that are late, repeated, rejected and read again."""
    site.sources()
    for day in (3, 1, 2):
        orders = [
            order(f"O{n}", TotalRevenue=day, Email=f"o{n}@x.cl", OrderItems=[item()]) for n in range(day, day + 5)
        ]
        site.load(f"2024-05-0{day}.ndjson", lines(*orders, {"Currency": "USD"}, order("Z", Currency="??")))


@examples(15, at_least=3)
@given(data=st.data())
def test_a_rebuild_from_the_archive_alone_equals_the_tables_before(fresh_site: Callable[[], Site], data: Any) -> None:
    exports = data.draw(history())
    site = fresh_site()
    load(site, exports, data.draw(loading_plan(len(exports))))
    entries = site.ledger()
    for number in data.draw(st.lists(st.integers(0, len(entries) - 1), max_size=2, unique=True)):
        assert read_again(site.workspace(), entries[number], whole=True).error is None
    undone = [entries[number].id for number in data.draw(st.lists(st.integers(0, len(entries) - 1), unique=True))]
    if undone:
        undo(site.workspace(), undone, MISTAKE)
        if again := undone[: data.draw(st.integers(0, len(undone)))]:
            redo(site.workspace(), again, MISTAKE)
    if data.draw(st.booleans()):
        site.put(exports[0].name, exports[0].content + lines(order("A", TotalQuantity=3)))
        site.sync()
    before = everything(site)
    done = rebuilt(site)
    assert done.rebuilt.exports == len(before[2]) and not done.rebuilt.lost and done.is_right
    for mine, theirs in zip(everything(site), before, strict=True):
        assert mine == theirs
    assert verified(site).exports == 0
    assert site.sync() == [] and everything(site) == before


def test_a_rebuild_blocks_the_deletes_that_were_blocked(site: Site) -> None:
    """Whether a delete is blocked depends on what was loaded before it, which is another order in a rebuild."""
    site.sources({"customer_identifier": "customer_id", "customers_of": {"partner": "traede", "tenant": "acme"}})
    for key in ("1", "2", "3"):
        new = {"customer_number": key, "name": "K", "currency": "USD"}
        site.load_at(f"traede/acme/customers/2024-05-0{key}.json", [new])
    site.load("2024-05-05.json", [order("A", CustomerId="1"), order("B", CustomerId="2")])
    for key in ("1", "2", "3"):
        site.load_at(f"traede/acme/customers/2024-05-0{key}_x.json", [{"customer_number": key, "delete": True}])
    site.load("2024-05-06.ndjson", lines(deleted("2024-05-06T00:00:00Z", "A"), deleted("2024-05-06T00:00:00Z", "B")))
    site.load("2024-05-07.json", [order("C", CustomerId="3")])
    (replayed,) = (entry for entry in site.ledger() if entry.path.endswith("2_x.json"))
    assert read_again(site.workspace(), replayed).error is None
    before = everything(site)
    assert [(r["external_id"], r["code"]) for r in before[1]] == [("1", "delete_blocked")]
    assert rebuilt(site).is_right
    assert everything(site) == before


def test_a_lost_database_is_reported_and_nothing_is_loaded(site: Site) -> None:
    filled(site)
    empty_tables(site.database)
    with pytest.raises(LedgerLost, match="verify --repair"):
        site.sync()
    assert site.ledger() == []
    found = verified(site)
    assert found.exports == 3 and {d.column for d in found.differences} == {"status"} and not found.is_right


def test_entries_of_an_earlier_version_get_their_copies(site: Site) -> None:
    filled(site)
    shutil.rmtree(site.settings.archive / "ledger")
    assert site.sync() == []
    found = verified(site)
    assert (found.copied, found.exports) == (3, 0)
    assert (verified(site).copied, verified(site).entries) == (0, 3)
    before = everything(site)
    rebuilt(site)
    assert everything(site) == before


def test_moved_records_are_no_difference_and_are_found_again(site: Site) -> None:
    site.sources()
    for day in range(1, 13):
        site.load(f"2024-05-{day:02}.ndjson", lines(order("A", TotalRevenue=day)))
    before = site.tables()
    assert compact(site.workspace()).merged == 12
    for old in list(open_store(site.settings.archive).list())[:12]:
        open_store(site.settings.archive).remove(old.name)
    assert verified(site).exports == 0
    assert rebuilt(site).rebuilt.exports == 12 and site.tables() == before


CHANGES = {
    "text": "coalesce({}, '') || 'x'",
    "bigint": "coalesce({}, 0) + 1",
    "integer": "{} + 1",
    "boolean": "not {}",
    "date": "{} + 1",
    "jsonb": "coalesce({}, '{{}}') || '{{\"x\": 1}}'",
    "timestamp with time zone": "coalesce({}, now()) + interval '1 microsecond'",
}
"""How a column of each type is changed."""


def test_any_changed_value_of_the_ledger_is_found_and_repaired(site: Site) -> None:
    """Every entry has one random column changed at a time: several hundred changes."""
    site.sources()
    for day in range(1, 11):
        refused = [{"Currency": "USD"}] * (day % 3)
        site.load(f"2024-05-{day:02}.ndjson", lines(*[order(f"O{n}", TotalRevenue=day) for n in range(day)], *refused))
    before = everything(site)
    kinds = {
        row["column_name"]: row["data_type"]
        for row in site.query(
            "select column_name, data_type from information_schema.columns"
            " where table_schema = 'sync' and table_name = 'export_files'"
        )
        if row["column_name"] not in LOOKED_AT
    }
    changes = {name: CHANGES[kind].format(name) for name, kind in kinds.items()} | {"status": "'withdrawn'"}
    names, workspace, chance = list(kinds), site.workspace(), random.Random(1)
    with site.database.connect(autocommit=True) as connection:
        connection.execute("alter table sync.export_files drop constraint export_files_accounting_check")
        for _ in range(rounds(50, at_least=5)):
            chosen = {}
            for entry in site.ledger():
                name = chance.choice(names)
                connection.execute(f"update sync.export_files set {name} = {changes[name]} where id = {entry.id}")
                chosen[entry.path] = name
            found = verify_ledger(workspace, repair=True)
            assert {difference.path: difference.column for difference in found.differences} == chosen
            assert found.is_right and verify_ledger(workspace).exports == 0
    assert everything(site) == before


@pytest.mark.parametrize(
    "change",
    [
        "update sync.export_outcomes set outcomes = '\\x00' where export_file_id = 1",
        "delete from sync.export_outcomes where export_file_id = 2",
        "insert into sync.export_decisions (export_file_id, action, reason, decided_by) values (1, 'undo', 'x', 'y')",
        "delete from sync.rejected_records where export_file_id = 3",
        "delete from sync.export_outcomes; delete from sync.rejected_records; delete from sync.export_files",
        "update sync.export_files set status = 'pending' where id = 2",
    ],
)
def test_changes_beside_the_ledger_are_found_and_repaired(site: Site, change: str) -> None:
    filled(site)
    before = everything(site)
    with site.database.connect(autocommit=True) as connection:
        connection.execute(change.encode())
    found = verified(site)
    assert found.exports and not found.is_right
    assert verified(site, repair=True).is_right and verified(site).exports == 0
    assert everything(site) == before


def test_a_load_in_progress_is_no_difference_and_one_that_is_rolled_back_is_loaded_again(site: Site) -> None:
    filled(site)
    site.put("2024-05-04.json", [order("A")])
    workspace = site.workspace()
    (entry,) = discover(workspace).pending
    normalize_export(workspace, entry.id)
    with ThreadPoolExecutor(1) as beside, site.database.connect(autocommit=True) as connection:
        for is_rolled_back in (True, False):
            with connection.transaction(force_rollback=is_rolled_back):
                load_entry(connection, stream_of(entry), entry.id, workspace.settings.archive)
                found = beside.submit(verified, site)
                time.sleep(1)
                assert not found.done(), "it waits for the load"
            assert found.result().exports == int(is_rolled_back)
    assert verified(site).exports == 0 and site.sync() == []


def test_held_and_erased_exports_stay_so(site: Site) -> None:
    site.has_guards = True
    site.sources()
    site.load("2024-05-01.json", [order("A", Email="ana@x.cl"), order("B")])
    assert site.load("2024-05-02.json", [order("C", Currency="??"), order("D", Currency="??")]).status == "held"
    person = Person("replenit", TENANT, None, "ana@x.cl")
    workspace = site.workspace()
    plan = plan_erasure(workspace, person, "asked", "me")
    assert not erase(workspace, plan, look(workspace, plan)).errors
    before = everything(site)
    assert before[2][1]["held"]
    erasures = "select partner, tenant, kind, subject, reason, erased_at from sync.erasures order by 1, 2, 3, 4"
    erased = site.query(erasures)
    rebuilt(site)
    assert everything(site) == before and site.query(erasures) == erased != []
    assert verified(site).exports == 0
    site.load("2024-05-03.json", [order("A", Email="ana@x.cl"), order("B", TotalRevenue=1)])
    assert "ana@x.cl" not in str(site.tables())
