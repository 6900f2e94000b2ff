"""The fast ways end as the fold does: rows told by their text, copied straight in, revised by column (laws 1, 3, 5).

Generated histories are loaded twice, once with every record folded. Tables, last writes, counts, leniencies and rejects
must be the same, and so must the outcome of each record, whose sums are the ledger's counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.switches import FOLDED, switched_off
from sync_pipelines import partners
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.sample_data.bulk_streams import BULK, bulk_records
from sync_pipelines.stages import discovery
from sync_pipelines.tables.schema import OUTCOMES
from sync_pipelines.upsert import folding, late_patches, new_rows, repeated_keys
from sync_pipelines.upsert.fold import Applied, apply
from sync_pipelines.upsert.record_outcomes import stored_outcomes
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT, Site, lines, outcomes
from sync_pipelines_tests.test_laws import loading_plan, log_line
from sync_pipelines_tests.test_laws import record as order
from sync_pipelines_tests.test_laws_identity import business, merged, part_store, store_call, users, whole_store
from sync_pipelines_tests.test_laws_identity import customer as member
from sync_pipelines_tests.test_laws_partners import commerce, customer

ASIDE = {"id", "run_id", "created_at", "updated_at"}
MAIN = ("commerces", "stores", "customers", "orders")
CHILDREN = (
    ("commerce_addresses", "commerces", "commerce_id"),
    ("commerce_users", "commerces", "commerce_id"),
    ("commerce_user_contacts", "commerce_users", "commerce_user_id"),
    ("store_addresses", "stores", "store_id"),
    ("store_users", "stores", "store_id"),
    ("customer_addresses", "customers", "customer_id"),
    ("order_items", "orders", "order_id"),
)
peopled_store = st.builds(merged, whole_store, users)
STREAMS: list[dict[str, st.SearchStrategy[dict[str, Any]]]] = [
    {f"replenit/{TENANT}/orders": st.one_of(order, order, log_line())},
    {"reten/acme/commerces": commerce},
    {"nilo/acme/stores": st.one_of(whole_store, peopled_store, part_store, store_call())},
    {"traede/acme/customers": customer},
    {"pocketflows/acme/businesses": business},
    {"pocketflows/acme/customers": member},
    {"pocketflows/acme/businesses": business, "pocketflows/acme/customers": member},
]


def everything_folded() -> AbstractContextManager[None]:
    """As if no record could be told by its text or by newer ones, none copied and no row revised."""
    return switched_off(*FOLDED)


@st.composite
def history(
    draw: st.DrawFn, streams: dict[str, st.SearchStrategy[dict[str, Any]]]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Exports by path; later ones often say again what earlier ones said, alone or beside other things."""
    exports: list[tuple[str, list[dict[str, Any]]]] = []
    said: dict[str, list[dict[str, Any]]] = {folder: [] for folder in streams}
    for number in range(draw(st.integers(2, 5))):
        folder = draw(st.sampled_from(list(streams)))
        records = st.lists(streams[folder], min_size=1, max_size=3)
        if said[folder]:
            again = st.sampled_from(said[folder])
            records = st.one_of(
                records,
                st.lists(again, min_size=1, max_size=3),
                st.lists(st.one_of(again, again, streams[folder]), min_size=2, max_size=5),
            )
        found = draw(records)
        said[folder] += found
        exports.append((f"{folder}/2024-03-{draw(st.integers(1, 4)):02}_{number}.ndjson", found))
    return exports


def loaded(site: Site, exports: list[tuple[str, list[dict[str, Any]]]], plan: list[list[int]]) -> Any:
    """Everything there is to see after loading exports by a plan."""
    counts = []
    for batch in plan:
        for index in batch:
            path, records = exports[index]
            site.put_at(path, lines(*records), datetime(2024, 6, 1, tzinfo=UTC))
        counts += [(e.path, e.status, e.counts, e.leniencies) for e in site.sync()]
    return sorted(counts, key=str), contents(site)


def check_ends_as_the_fold_does(
    fresh_site: Callable[[], Site], exports: list[tuple[str, list[dict[str, Any]]]], plan: list[list[int]]
) -> None:
    """Loads exports with every record folded, and with all ways."""
    with everything_folded():
        expected = loaded(fresh_site(), exports, plan)
    with few_are_enough():
        assert loaded(fresh_site(), exports, plan) == expected


def contents(site: Site) -> Any:
    """Rows with the identity of what they refer to instead of ids, children by their parents' contents."""
    rows = {table: site.query(f"select * from sync.{table}") for table in (*MAIN, *(c[0] for c in CHILDREN))}
    named = {
        table: {
            row["id"]: (row["tenant"], row["partner"], row["external_id"], row["partner_record_id"])
            for row in rows[table]
        }
        for table in ("commerces", "customers")
    }
    found: dict[str, dict[int, Any]] = {table: {} for table in rows}
    for table in MAIN:
        for row in rows[table]:
            shown = {name: value for name, value in row.items() if name not in ASIDE}
            if row["is_placeholder"]:
                shown |= dict.fromkeys(("effective_at", "source_file", "source_position"))
            if row.get("commerce_id"):
                shown["commerce_id"] = named["commerces"][row["commerce_id"]]
            if row.get("customer_id"):
                shown["customer_id"] = named["customers"][row["customer_id"]]
            found[table][row["id"]] = shown
    for table, parent, column in CHILDREN:
        for row in sorted(rows[table], key=lambda row: row["line_no"]):
            content = {name: value for name, value in row.items() if name not in ("id", column)}
            found[table][row["id"]] = content
            found[parent][row[column]].setdefault(table, []).append(content)
    rejects = [(r["path"], r["position"], r["external_id"], r["code"], r["status"]) for r in site.rejects()]
    return {table: sorted(map(repr, found[table].values())) for table in MAIN}, rejects, record_outcomes(site)


def record_outcomes(site: Site) -> list[tuple[str, int, list[str]]]:
    """Path, revision and the outcome of each kept record of every loaded export; they add up to its counts (law 3)."""
    with site.database.connect() as connection:
        found = [(e, stored_outcomes(connection, e.id)) for e in site.ledger() if e.status == "loaded"]
    named = [(e, [] if codes is None else [OUTCOMES[code] for code in codes]) for e, codes in found]
    for entry, names in named:
        summary = KeptRecords(site.settings.archive, entry.kept or "-").summary
        sums = (
            Counter(names) + Counter(read=len(names)) + Counter(dict.fromkeys(("read", "rejected"), summary.rejected))
        )
        assert entry.counts == {name: sums[name] for name in entry.counts}
    return [(entry.path, entry.revision, names) for entry, names in named]


@pytest.mark.parametrize("streams", STREAMS, ids=lambda streams: "+".join(streams))
@examples(25)
@given(data=st.data())
def test_fast_ways_end_as_the_fold_does(
    fresh_site: Callable[[], Site], streams: dict[str, Any], data: st.DataObject
) -> None:
    exports = data.draw(history(streams))
    plan = data.draw(st.one_of(st.just([[index] for index in range(len(exports))]), loading_plan(len(exports))))
    check_ends_as_the_fold_does(fresh_site, exports, plan)


NAMES = {"OrderId", "Currency", "Email", "external_id", "id", "internalCode", "business_id", "business_external_id"}
"""Fields that identify a record, or that each record must have."""


@st.composite
def repeating_history(
    draw: st.DrawFn, streams: dict[str, st.SearchStrategy[dict[str, Any]]]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Exports by path, each with several records of some keys: a record, and others that take values from another."""
    exports = []
    for number in range(draw(st.integers(1, 3))):
        folder = draw(st.sampled_from(list(streams)))
        records = draw(st.lists(streams[folder], min_size=1, max_size=2))
        for _ in range(draw(st.integers(1, 5))):
            records.append(patch_of(draw, draw(st.sampled_from(records)), draw(streams[folder])))
        exports.append((f"{folder}/2024-03-{number + 1:02}.ndjson", records))
    return exports


@pytest.mark.parametrize("streams", STREAMS, ids=lambda streams: "+".join(streams))
@examples(25)
@given(data=st.data())
def test_several_records_of_a_key_end_as_the_fold_does(
    fresh_site: Callable[[], Site], streams: dict[str, Any], data: st.DataObject
) -> None:
    exports = data.draw(repeating_history(streams))
    plan = [[index] for index in range(len(exports))]
    check_ends_as_the_fold_does(fresh_site, exports, plan)


@st.composite
def patching_history(
    draw: st.DrawFn, streams: dict[str, st.SearchStrategy[dict[str, Any]]]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Exports by path: some records, then a part of their fields with other values, from one export to the next."""
    folder = draw(st.sampled_from(list(streams)))
    first = draw(st.lists(streams[folder], min_size=1, max_size=2))
    exports = [(f"{folder}/2024-03-01.ndjson", first)]
    for number in range(draw(st.integers(2, 5))):
        records = [patch_of(draw, record, draw(streams[folder])) for record in first]
        exports.append((f"{folder}/2024-03-{number + 2:02}.ndjson", records))
    return exports


def patch_of(draw: st.DrawFn, first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A record of the same key with some fields of both; those of the other one if both have it."""
    mixed = {**first, **{name: value for name, value in other.items() if name not in NAMES}}
    fields = sorted(mixed.keys() - NAMES)
    kept = draw(st.sets(st.sampled_from(fields))) if fields else set()
    return {name: value for name, value in mixed.items() if name in NAMES | kept}


@contextmanager
def few_are_enough() -> Iterator[None]:
    """As if exports as small as these were worth the statements of every way, and took several blocks."""
    with ExitStack() as stack:
        for module, name, value in (
            (repeated_keys, "FEW", 1),
            (repeated_keys, "_AT_ONCE", 3),
            (late_patches, "FEW", 1),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        yield


@pytest.mark.parametrize("streams", STREAMS, ids=lambda streams: "+".join(streams))
@examples(25)
@given(data=st.data())
def test_late_patches_end_as_the_fold_does(
    fresh_site: Callable[[], Site], streams: dict[str, Any], data: st.DataObject
) -> None:
    exports = data.draw(patching_history(streams))
    plan = [[index] for index in data.draw(st.permutations(range(len(exports))))]
    if data.draw(st.booleans()):
        plan = [[0], *(batch for batch in plan if batch != [0])]
    check_ends_as_the_fold_does(fresh_site, exports, plan)


@pytest.mark.parametrize("streams", STREAMS[:4], ids=lambda streams: "+".join(streams))
@examples(10)
@given(data=st.data())
def test_streams_that_replace_end_as_the_fold_does(
    fresh_site: Callable[[], Site], streams: dict[str, Any], data: st.DataObject
) -> None:
    """P3: a package may declare that records are whole rows, with lists, defaults or modes beside their columns."""
    replacing = tuple(replace(stream, replaces=True, merges=()) for stream in partners.STREAMS)
    exports = data.draw(st.one_of(history(streams), repeating_history(streams), patching_history(streams)))
    plan = [[index] for index in data.draw(st.permutations(range(len(exports))))]
    with mock.patch.object(partners, "STREAMS", replacing), mock.patch.object(discovery, "STREAMS", replacing):
        check_ends_as_the_fold_does(fresh_site, exports, plan)


def orders_call(at: str, *records: dict[str, Any]) -> dict[str, Any]:
    return {"at": f"2024-03-01T{at}:00Z", "method": "POST", "path": f"/orders/{TENANT}", "body": list(records)}


ORDER = {"OrderId": "K", "Currency": "USD", "OrderDate": "2024-02-01T00:00:00Z", "TotalQuantity": 2}
BY_HAND = {
    # The other log may be newer, but its record of the key is older.
    "a_repeated_order_between_the_calls_of_another_log": [
        (f"replenit/{TENANT}/orders", [orders_call("10:00", ORDER), orders_call("12:00", {**ORDER, "OrderId": "L"})]),
        (f"replenit/{TENANT}/orders", [orders_call("11:15", ORDER)]),
    ],
}


@pytest.mark.parametrize("exports", BY_HAND.values(), ids=BY_HAND)
def test_histories_by_hand_end_as_the_fold_does(
    fresh_site: Callable[[], Site], exports: list[tuple[str, list[dict[str, Any]]]]
) -> None:
    named = [(f"{folder}/2024-03-01_{number}.ndjson", records) for number, (folder, records) in enumerate(exports)]
    plan = [[number] for number in range(len(named))]
    check_ends_as_the_fold_does(fresh_site, named, plan)


@pytest.mark.parametrize("is_folded", [False, True])
def test_rows_of_one_key_name_the_record_that_made_each(site: Site, is_folded: bool) -> None:
    """P5: customers of two businesses share an external id; an export that says both names each one's own line."""
    folder = "pocketflows/acme/customers"
    both = [{"business_external_id": "e", "external_id": "a"}, {"business_id": "7", "id": "2", "external_id": "a"}]
    exports = [
        (f"{folder}/2024-03-01.ndjson", both),
        (f"{folder}/2024-03-02.ndjson", [{**both[0], "full_name": "Ana"}, {"business_id": "7", "id": "2"}]),
    ]
    with everything_folded() if is_folded else nullcontext():
        loaded(site, exports, [[0], [1]])
    rows = site.query("select name, source_file, source_position from sync.customers order by partner_record_id")
    assert rows == [
        {"name": None, "source_file": exports[0][0], "source_position": "2"},
        {"name": "Ana", "source_file": exports[1][0], "source_position": "1"},
    ]


@pytest.mark.parametrize("streams", STREAMS, ids=lambda streams: "+".join(streams))
def test_histories_have_lines_that_are_kept_by_reference(
    fresh_site: Callable[[], Site], streams: dict[str, Any]
) -> None:
    files: list[int] = []

    @examples(40, database=None, derandomize=True)
    @given(history(streams))
    def look(exports: list[tuple[str, list[dict[str, Any]]]]) -> None:
        if any(files):
            return
        site = fresh_site()
        loaded(site, exports, [[index] for index in range(len(exports))])
        kept = [KeptRecords(site.settings.archive, entry.kept or "-") for entry in site.ledger()]
        files.extend(number for export in kept if export.places for number in export.places.files.tolist())

    look()
    assert any(files), "some records are in the files of other exports"


SHOP = {"title": "Shop", "name": "n", "address": "a", "zip": "z", "city": "c", "country": "DK"}
APPENDED = {
    "customer_number": "A", "name": "x", "currency": "USD", "addresses": [{**SHOP, "remote_erp_id": "1"}],
    "addresses_sync_mode": "append", "addresses_sync_key": "remote_erp_id",
}  # fmt: skip
STORE = {"internalCode": "A", "name": "K", "legalName": "L", "legalId": "1"}
PLACE = {"address": "Uno", "zipCode": "1"}
CASES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "the row was changed under its other identity": (
        "pocketflows/acme/businesses",
        [
            {"id": "1", "external_id": "a", "name": "K"},
            {"id": "1", "name": "K"},
            {"external_id": "a", "name": "L"},
            {"id": "1", "name": "K"},
        ],
    ),
    "the record was refused, and is again": (
        "traede/acme/customers",
        [{"customer_number": "A", "discount_percentage": 5}, {"customer_number": "A", "discount_percentage": 5}],
    ),
    "an address takes the name by which another is told": (
        "reten/acme/commerces",
        [
            {"external_id": "A", "name": "K", "addresses": [
                {"source_ref": "1", "address_alias": "x"}, {"source_ref": "2", "address_alias": "y"},
            ]},
            *[{"external_id": "A", "name": "K", "addresses": [
                {"address_alias": "y", "city": "Z"}, {"source_ref": "1", "address_alias": "y"},
            ]}] * 2,
        ],
    ),
    "an address stands twice, and two are primary": (
        "reten/acme/commerces",
        [{"external_id": "A", "name": "K", "addresses": [
            {"source_ref": "1", "city": "X", "is_primary": True}, {"source_ref": "1", "city": "Y"},
            {"address_alias": "x", "is_primary": True}, {"address_alias": " X", "city": "Z"},
            {"city": "Q"}, {"city": "Q"},
        ]}] * 2,
    ),
    "a contact stands twice in a user": (
        "reten/acme/commerces",
        [{"external_id": "A", "name": "K", "users": [{"external_id": "u", "contacts": [
            {"contact_type": "PHONE", "value": "1", "is_primary": True}, {"contact_type": "PHONE", "value": "1"},
        ]}]}] * 2,
    ),
    "a list is appended to": ("traede/acme/customers", [APPENDED, APPENDED]),
    "a store without addresses is refused": (
        "nilo/acme/stores", [STORE, {**STORE, "addresses": []}, {**STORE, "addresses": [PLACE]}, STORE],
    ),
    "a store is named by its owner": (
        "nilo/acme/stores",
        [{**STORE, "name": None, "ownerName": "Ana", "addresses": [{**PLACE, "latitude": 1, "longitude": 2}]}] * 2,
    ),
}  # fmt: skip
CASES["a placeholder is defined"] = (
    "nilo/acme/stores",
    [
        {"at": "2024-03-01T00:00:00Z", "method": "POST", "path": "/store/A/debtor"},
        *[{**STORE, "addresses": [PLACE]}] * 2,
    ],
)


@pytest.mark.parametrize("case", list(CASES))
def test_what_the_fold_alone_can_tell_is_left_to_it(fresh_site: Callable[[], Site], case: str) -> None:
    folder, records = CASES[case]
    exports = [(f"{folder}/2024-03-{day:02}.ndjson", [record]) for day, record in enumerate(records, 1)]
    plan = [[index] for index in range(len(exports))]
    with everything_folded():
        expected = loaded(fresh_site(), exports, plan)
    assert loaded(fresh_site(), exports, plan) == expected


SCENARIOS: list[tuple[dict[str, float], dict[str, int]]] = [
    ({}, {"created": 100}),
    ({"changed": 0.02}, {"updated": 2, "unchanged": 98}),
    ({"changed": 0.1, "new": 0.05}, {"created": 5, "updated": 8, "unchanged": 92}),
]
"""What a file says otherwise than the one before, and what comes of it."""


@pytest.mark.parametrize("name", list(BULK))
def test_clean_files_need_no_fold(site: Site, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[Any] = []

    def noted(*given: Any) -> Applied:
        folded.append(given)
        return apply(*given)

    monkeypatch.setattr(new_rows, "CHUNK", 16)
    monkeypatch.setattr(folding, "apply", noted)
    partner, stream = name.split("/")
    for day, (shares, expected) in enumerate(SCENARIOS, 1):
        records = [*bulk_records(name, 100, **shares)]
        entry = site.load_at(f"{partner}/acme/{stream}/2024-03-{day:02}.ndjson", lines(*records))
        assert (outcomes(entry), folded) == (expected, [])


KIOSK = {**STORE, "addresses": [PLACE], "users": ["u"]}
OTHER_PLACE = {"address": "Dos", "zipCode": "2", "latitude": 1, "longitude": 2}
HOUSE, SHED = {"source_ref": "1", "city": "X", "is_primary": True}, {"source_ref": "2", "city": "Y"}
PHONE = {"contact_type": "PHONE", "value": "1"}
CHAIN = {"external_id": "A", "name": "K", "addresses": [HOUSE], "users": [{"external_id": "u", "contacts": [PHONE]}]}
CONTACTS = [{"contact_type": "EMAIL", "value": "2"}, PHONE]
RESIZED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a store has one more user": ("nilo/acme/stores", KIOSK, {"users": ["v", "u"]}),
    "a store has one more address": ("nilo/acme/stores", KIOSK, {"addresses": [PLACE, OTHER_PLACE]}),
    "a store has other addresses": ("nilo/acme/stores", {**KIOSK, "addresses": [PLACE] * 3},
                                    {"addresses": [OTHER_PLACE]}),
    "a commerce has one more address": ("reten/acme/commerces", CHAIN, {"addresses": [SHED]}),
    "a user has one more contact": (
        "reten/acme/commerces", CHAIN, {"users": [{"external_id": "u", "contacts": CONTACTS}]},
    ),
    "a commerce has one more user": (
        "reten/acme/commerces", CHAIN, {"users": [{"external_id": "v", "contacts": CONTACTS}]},
    ),
    "an address is appended": (
        "traede/acme/customers", APPENDED, {"addresses": [{**SHOP, "title": "Home", "remote_erp_id": "2"}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(RESIZED))
def test_lists_grow_and_shrink_without_a_fold(
    fresh_site: Callable[[], Site], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, record, change = RESIZED[case]
    exports = [(f"{folder}/2024-03-{day:02}.ndjson", [{**record, **c}]) for day, c in enumerate(({}, change), 1)]
    with everything_folded():
        expected = loaded(fresh_site(), exports, [[0], [1]])
    monkeypatch.setattr(folding, "apply", None)
    assert loaded(fresh_site(), exports, [[0], [1]]) == expected
    assert [counts["updated"] for _, _, counts, _ in expected[0]] == [0, 1]
