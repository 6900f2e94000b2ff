"""The ledger compared with its copies in the archive; a database that was lost is rebuilt from the archive alone."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import LedgerLost
from sync_pipelines.kept.object_store import open_store
from sync_pipelines.stages.compaction import compact
from sync_pipelines.stages.replay import read_again
from sync_pipelines.stages.verify_ledger import VerifiedLedger, verify_ledger
from sync_pipelines.stages.withdrawal import Decided, redo, undo
from sync_pipelines_tests.databases import empty_tables
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import Site, deleted, item, lines, order
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


@examples(15, at_least=4)
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
        redo(site.workspace(), undone[: data.draw(st.integers(0, len(undone)))], MISTAKE)
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


def test_a_hand_edit_of_any_column_is_found_and_repaired(site: Site) -> None:
    """500 random changes of ledger rows, outcomes and rejects."""
    filled(site)
    before = everything(site)
    chance = random.Random(1)
    names = sorted(set(before[2][0]) - LOOKED_AT)
    ids = [entry.id for entry in site.ledger()]
    workspace = site.workspace()
    with site.database.connect(autocommit=True) as connection:
        connection.execute("alter table sync.export_files drop constraint export_files_accounting_check")
        for number in range(60):
            file_id, name = chance.choice(ids), names[number % len(names)]
            kind = connection.execute(
                "select data_type from information_schema.columns where table_schema = 'sync' and"
                " table_name = 'export_files' and column_name = %s",
                [name],
            ).fetchone()
            assert kind is not None
            change = {
                "text": "coalesce({}, '') || 'x'",
                "bigint": "coalesce({}, 0) + 1",
                "integer": "{} + 1",
                "boolean": "not {}",
                "date": "{} + 1",
                "jsonb": "coalesce({}, '{{}}') || '{{\"x\": 1}}'",
                "timestamp with time zone": "coalesce({}, now()) + interval '1 microsecond'",
            }[kind[0]]
            if name == "status":
                change = "'held'"
            connection.execute(f"update sync.export_files set {name} = {change.format(name)} where id = {file_id}")
            found = verify_ledger(workspace)
            assert found.exports == 1 and name in [d.column for d in found.differences], name
            assert verify_ledger(workspace, repair=True).is_right, name
            assert verify_ledger(workspace).exports == 0, name
    assert everything(site) == before
