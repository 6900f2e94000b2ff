"""Guards: which exports are held, and that a held one leaves nothing behind (G)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.database import decisions, ledger, ledger_changes
from sync_pipelines.stages.preview import preview
from sync_pipelines.stages.release import release
from sync_pipelines.upsert import guards as guards_module
from sync_pipelines.upsert import new_rows
from sync_pipelines.upsert.guards import Guards
from sync_pipelines_tests import test_laws, test_laws_partners
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import OTHER_TENANT, TENANT, Site, deleted, item, lines, order, posted

LIVE = 100
AT = "2024-05-02T10:00:00Z"


def orders(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [order(f"A{n}", **fields) for n in range(count)]


def full(count: int = LIVE) -> list[dict[str, Any]]:
    return orders(count, Email="a@example.com", TotalRevenue=3, OrderItems=[item()])


def deletes(count: int, tenant: str = TENANT, first: int = 0) -> str:
    return lines(*(deleted(AT, f"A{n}", tenant) for n in range(first, first + count)))


def bad(count: int) -> list[dict[str, Any]]:
    return [{"OrderId": f"B{n}", "Currency": "no currency"} for n in range(count)]


def again(number: int) -> dict[str, Any]:
    return posted("2024-05-02T11:00:00Z", order(f"A{number}", Email="a@example.com", OrderItems=[item()]))


def named(stem: str, content: Any) -> str:
    return f"{stem}.ndjson" if isinstance(content, str) else f"{stem}.json"


def guards(entry: ledger.LedgerFile) -> dict[str, tuple[int, int]]:
    """Name -> found and of, of the guards that hold an entry."""
    return {guard["name"]: (guard["found"], guard["of"]) for guard in (entry.held or {"guards": []})["guards"]}


@pytest.fixture
def guarded(site: Site) -> Site:
    site.has_guards = True
    return site


HARMFUL: dict[str, tuple[Any, str, tuple[int, int]]] = {
    "deleted": (deletes(11), "deleted", (11, LIVE)),
    "emptied fields": (orders(21, Email=None), "emptied", (21, LIVE)),
    "emptied lists": (orders(21, OrderItems=[]), "emptied", (21, LIVE)),
    "changed": (orders(61, TotalRevenue=4), "changed", (61, LIVE)),
    "rejected": (full(40) + bad(41), "rejected", (41, 81)),
    "all rejected": (bad(1), "rejected", (1, 1)),
    # Two records of each key: the fold, not columns.
    "deleted, folded": (deletes(11) + deletes(11), "deleted", (11, LIVE)),
    "emptied fields, folded": (orders(21, Email=None) + orders(21, TotalRevenue=5), "emptied", (21, LIVE)),
    "emptied lists, folded": (orders(21, OrderItems=[]) + orders(21, TotalRevenue=5), "emptied", (21, LIVE)),
    "changed, folded": (orders(61, TotalRevenue=4) + orders(61, TotalRevenue=5), "changed", (61, LIVE)),
}
HARMLESS: dict[str, Any] = {
    "deleted": deletes(10),
    "emptied": orders(20, Email=None),
    "changed": orders(60, TotalRevenue=4),
    "half rejected": full(40) + bad(40),
    "few records": bad(40) + full(9),
    "deleted and sent again": lines(*(call for n in range(50) for call in (deleted(AT, f"A{n}"), again(n)))),
}


def test_an_export_above_a_limit_is_held_and_changes_nothing(guarded: Site) -> None:
    guarded.load("2024-05-01.json", full())
    before = guarded.tables()
    for number, (case, (content, name, found)) in enumerate(HARMFUL.items()):
        held = guarded.load(named(f"2024-05-02_{number}", content), content)
        assert (held.status, guards(held).get(name)) == ("held", found), case
        assert (held.attempts, held.read, held.kept is not None) == (0, 0, True), case
        assert held.held is not None
        assert held.held["counts"]["read"] == sum(n for what, n in held.held["counts"].items() if what != "read") > 0
        assert (held.error or "").startswith("held: ")
        assert guarded.tables() == before, case
        assert guarded.rejects() == [], case
        assert guarded.sync() == [], case


def test_an_export_within_the_limits_is_loaded(guarded: Site) -> None:
    for number, (case, content) in enumerate(HARMLESS.items()):
        tenant = f"{number}{TENANT[1:]}"
        content = content.replace(TENANT, tenant) if isinstance(content, str) else content
        guarded.load("2024-05-01.json", full(), tenant=tenant)
        loaded = guarded.load(named("2024-05-02", content), content, tenant=tenant)
        assert loaded.status == "loaded", (case, loaded.error)


def test_rows_below_fifty_and_first_exports_are_not_guarded(guarded: Site) -> None:
    guarded.load("2024-05-01.json", full(49))
    assert guarded.load("2024-05-02.ndjson", deletes(49)).status == "loaded"
    assert guarded.load("2024-05-01.json", orders(60, Email=None), tenant=OTHER_TENANT).status == "loaded"


def test_live_rows_are_counted_as_they_were_before_the_load(guarded: Site) -> None:
    guarded.load("2024-05-01.json", full())
    # 200 rows come with it: 61 of 300 rows would change, but only 100 were there.
    new = [order(f"N{n}") for n in range(200)]
    assert guards(guarded.load("2024-05-02.json", [*new, *orders(61, TotalRevenue=4)])) == {"changed": (61, LIVE)}
    assert guarded.load("2024-05-03.json", [*new, *orders(60, TotalRevenue=4)]).status == "loaded"


def test_a_streaming_load_is_held_too(guarded: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_rows, "MANY", 10)
    held = guarded.load("2024-05-01.json", full(100) + bad(200))
    assert guards(held) == {"rejected": (200, 300)}
    assert guarded.tables()["orders"] == {}


def test_guards_are_set_by_source(guarded: Site) -> None:
    settings = {"off": "loaded", "95%": "loaded", "50%": "held"}
    tenants = {f"{number}{TENANT[1:]}": limit for number, limit in enumerate(settings)}
    others: dict[str, Any] = {tenant: {"guards": {"deleted": limit}} for tenant, limit in tenants.items()}
    guarded.sources({"guards": "off"}, others=others)
    for tenant, status in {TENANT: "loaded", **{t: settings[limit] for t, limit in tenants.items()}}.items():
        guarded.load("2024-05-01.json", full(), tenant=tenant)
        assert guarded.load("2024-05-02.ndjson", deletes(90, tenant), tenant=tenant).status == status


def test_shrinking_full_exports_are_held_and_incremental_ones_are_not(guarded: Site) -> None:
    for day in range(1, 4):
        guarded.load(f"full_2024-05-0{day}.json", full())
    assert guarded.load("delta_2024-05-03.json", orders(20)).status == "loaded"
    assert guarded.load("full_2024-05-04.json", full(50)).status == "loaded"
    assert guards(guarded.load("full_2024-05-05.json", full(49))) == {"shrinks": (49, LIVE)}
    for day in range(4, 12):
        size = 60 if day % 5 else 10
        entry = guarded.load(f"delta_2024-05-{day:02}.json", [order(f"{day}-{n}") for n in range(size)])
        assert entry.status == "loaded", entry.error


def test_a_released_export_is_loaded_whatever_guards_say_and_its_next_content_is_guarded(guarded: Site) -> None:
    guarded.load("2024-05-01.json", full())
    held = guarded.load("2024-05-02.ndjson", deletes(40))
    guarded.load("2024-05-03.json", orders(3, TotalRevenue=9))
    with guarded.database.connect(autocommit=True) as connection:
        assert ledger_changes.mark_no_longer_held(connection, held.id)
        decisions.note(connection, held.id, "release", "asked the partner", "ana")
    (released,) = guarded.sync()
    assert (released.status, released.deleted, released.held, released.error) == ("loaded", 37, None, None)
    # The later export has three of them: the released one is loaded at its own version.
    rows = guarded.tables()["orders"]
    alive = [key for _, _, key in rows if rows[TENANT, "replenit", key]["deleted_at"] is None]
    assert sorted(map(str, alive)) == sorted(f"A{n}" for n in (0, 1, 2, *range(40, 100)))
    next_revision = guarded.load("2024-05-02.ndjson", deletes(7, first=40))
    assert (next_revision.revision, guards(next_revision)) == (2, {"deleted": (7, 63)})


def test_other_content_at_a_held_path_is_pending_again(guarded: Site) -> None:
    guarded.load("2024-05-01.json", full())
    assert guarded.load("2024-05-02.ndjson", deletes(90)).status == "held"
    better = guarded.load("2024-05-02.ndjson", deletes(9))
    assert (better.status, better.deleted, better.revision, better.held) == ("loaded", 9, 1, None)


def test_a_preview_names_the_guards_and_the_counts(guarded: Site) -> None:
    guarded.load("2024-05-01.json", full())
    guarded.put("2024-05-02.ndjson", deletes(90))
    guarded.put("2024-05-03.json", orders(3, TotalRevenue=9))
    with preview(guarded.workspace(), guarded.discover().pending) as previewed:
        held, loaded = previewed.entries
        assert (held.status, held.deleted, guards(held)) == ("held", 0, {"deleted": (90, LIVE)})
        assert held.held is not None and held.held["counts"]["deleted"] == 90
        assert (loaded.status, loaded.updated, loaded.created) == ("loaded", 3, 0)
    assert [entry.status for entry in guarded.sync()] == ["held", "loaded"]


def test_a_held_export_is_tried_again_when_the_settings_of_its_source_change(guarded: Site) -> None:
    held = guarded.load("2024-05-01.csv", "OrderId,Currency,OrderDate\nA,USD,5\n")
    assert guards(held) == {"rejected": (1, 1)}
    guarded.sources({"guards": {"deleted": "5%"}})
    assert [entry.status for entry in guarded.sync()] == ["held"]
    assert guarded.sync() == []
    guarded.sources({"date_format": "epoch_s"})
    (landed,) = guarded.landing.rglob("*.csv")
    landed.unlink()
    assert [(entry.status, entry.created) for entry in guarded.sync()] == [("loaded", 1)]


# -- on generated histories ------------------------------------------------------------------------------------

NO_CONTENT = {
    "tenant",
    "partner",
    "external_id",
    "is_placeholder",
    "deleted_at",
    "defaulted_fields",
    "partner_record_id",
}
HISTORIES: list[tuple[str, str, Any]] = [
    (f"replenit/{TENANT}/orders", "orders", test_laws.history()),
    (
        "reten/acme/commerces",
        "commerces",
        test_laws_partners.history(test_laws_partners.commerce, "/api/commerces/sync", "items"),
    ),
    (
        "traede/acme/customers",
        "customers",
        test_laws_partners.history(test_laws_partners.customer, "/customers/sync", "customers"),
    ),
]


def live(rows: Mapping[Any, Mapping[str, Any]], partner: str) -> dict[Any, Mapping[str, Any]]:
    return {
        key: row
        for key, row in rows.items()
        if row["deleted_at"] is None and not row["is_placeholder"] and row["partner"] == partner
    }


def filled(row: Mapping[str, Any]) -> set[str]:
    return {name for name, value in row.items() if name not in NO_CONTENT and value not in (None, "", [], {})}


def effects(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> tuple[int, int, int, int]:
    """Rows created, deleted, changed, emptied, by the tables before and after."""
    both = before.keys() & after.keys()
    changed = [key for key in both if before[key] != after[key]]
    emptied = [key for key in changed if filled(before[key]) - filled(after[key])]
    return len(after.keys() - before.keys()), len(before.keys() - after.keys()), len(changed), len(emptied)


@examples(10)
@given(data=st.data())
def test_rows_are_counted_as_the_tables_change_and_released_exports_end_as_in_any_order(
    fresh_site: Callable[[], Site], data: st.DataObject
) -> None:
    folder, table, histories = data.draw(st.sampled_from(HISTORIES))
    exports = data.draw(histories)
    order = data.draw(st.permutations(range(len(exports))))
    counted: list[tuple[int, int, int, int]] = []

    def count(self: Guards, counts: Mapping[str, int], fingerprint: str) -> None:
        found = self._load.effects
        counted.append((found.created, found.deleted, found.changed, found.emptied))

    free = fresh_site()
    free.has_guards = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guards, "check", count)
        for index in order:
            before = live(free.tables()[table], folder.split("/")[0])
            free.load_at(f"{folder}/{exports[index].name}", lines(*exports[index].entries))
            assert counted.pop() == effects(before, live(free.tables()[table], folder.split("/")[0]))
    expected = test_laws_partners.contents(free)
    guarded = fresh_site()
    guarded.has_guards = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guards_module, "FEWEST", 1)
        held = []
        for index in order:
            tables = guarded.tables()
            entry = guarded.load_at(f"{folder}/{exports[index].name}", lines(*exports[index].entries))
            if entry.status == "held":
                assert guarded.tables() == tables
                held.append(entry)
        for entry in data.draw(st.permutations(held)):
            release(guarded.workspace(), [entry], "a test", "a test")
            assert [(e.id, e.status) for e in guarded.sync()] == [(entry.id, "loaded")]
    assert test_laws_partners.contents(guarded) == expected
