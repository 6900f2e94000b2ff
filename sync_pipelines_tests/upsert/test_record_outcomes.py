"""`outcomes PATH`: what each record of a loaded export came to, in the order of the file (X11, law 3)."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_pipelines import cli
from sync_pipelines.database import ledger_changes
from sync_pipelines.stages.export_stages import discover
from sync_pipelines.stages.preview import preview
from sync_pipelines.stages.replay import read_again
from sync_pipelines.tables.schema import OUTCOMES
from sync_pipelines.upsert.record_outcomes import Outcomes, stored_outcomes
from sync_pipelines_tests.loading import LONG_AGO, TENANT, Site, item, lines, order
from sync_pipelines_tests.stages.test_replay import HEADER, RIGHT, WRONG, orders_mean_traede, replay

CUSTOMERS = "traede/acme/customers"
PATH = f"{CUSTOMERS}/2024-05-03.ndjson"
Show = Callable[..., tuple[int, str, str]]


@pytest.fixture
def show(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """Runs `outcomes` on the site; returns exit status, output and errors."""
    for name, value in {
        "HOME": site.settings.home,
        "DATABASE_URL": site.database.url,
        "LANDING": site.landing,
        "SOURCES": site.settings.sources,
    }.items():
        monkeypatch.setenv(f"SYNC_{name}", str(value))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sync-pipelines", "outcomes", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0), *capsys.readouterr()

    return run


def listed(show: Show, *arguments: str) -> list[tuple[str, str | None, str | None]]:
    status, out, err = show(*arguments, "--json")
    assert (status, err) == (0, "")
    return [(r["position"], r["key"], r["outcome"]) for r in map(json.loads, out.splitlines())]


def customer(number: str, **fields: Any) -> dict[str, Any]:
    return {"customer_number": number, "name": "K", "currency": "USD", **fields}


def every_outcome(site: Site) -> None:
    """An export with records of every outcome, two of them rejects: one by its content, one by the state of its key."""
    orders_mean_traede(site)
    site.load_at(f"{CUSTOMERS}/2024-05-01.ndjson", lines(*(customer(n) for n in ("changed", "same", "gone", "bought"))))
    site.load("2024-05-02.json", [order("A", CustomerId="bought")])
    site.load_at(f"{CUSTOMERS}/2024-05-04.ndjson", lines(customer("late", name="newer")))
    records = [
        customer("new"),
        customer("bad", currency="ZZZ"),
        customer("changed", name="L"),
        customer("same"),
        customer("late", name="older"),
        {"customer_number": "gone", "delete": True},
        {"customer_number": "nobody", "delete": True},
        {"customer_number": "bought", "delete": True},
        {"customer_number": "unknown", "discount_percentage": 5},
    ]
    site.load_at(PATH, lines(*records))


EXPECTED = [
    ("1", "new", "created"),
    ("2", "bad", "rejected"),
    ("3", "changed", "updated"),
    ("4", "same", "unchanged"),
    ("5", "late", "stale"),
    ("6", "gone", "deleted"),
    ("7", "nobody", "not_found"),
    ("8", "bought", "blocked"),
    ("9", "unknown", "rejected"),
]


def test_X11_every_outcome_is_listed_in_the_order_of_the_file(site: Site, show: Show) -> None:
    every_outcome(site)

    found = listed(show, PATH)

    assert found == EXPECTED
    (entry,) = (e for e in site.ledger() if e.path == PATH)
    assert entry.counts == {"read": 9, **Counter(outcome for *_, outcome in found)}
    assert set(OUTCOMES) == {outcome for *_, outcome in found}


def test_outcomes_are_a_table_for_people(site: Site, show: Show) -> None:
    site.load("2024-05-01.json", [order("A"), order("B\x1b[2J"), order("C", Currency="ZZZ")])

    status, out, err = show(f"replenit/{TENANT}/orders/2024-05-01.json")

    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["position", "key", "outcome"],
        ["1", "A", "created"],
        ["2", "B\\x1b[2J", "created"],
        ["3", "C", "rejected"],
        [],
        ["3", "records:", "2", "created,", "1", "rejected"],
    ]


def test_only_some_outcomes_are_listed(site: Site, show: Show) -> None:
    every_outcome(site)

    assert listed(show, PATH, "--only", "blocked") == [("8", "bought", "blocked")]
    assert [position for position, *_ in listed(show, PATH, "--only", "rejected, created")] == ["1", "2", "9"]
    status, _, err = show(PATH, "--only", "create")
    assert status == 2 and "unknown outcome 'create'; did you mean created?" in err


def test_positions_of_a_log_are_in_order_with_its_rejects(site: Site, show: Show) -> None:
    body = [order(f"K{n}", Currency="ZZZ" if n in (2, 9) else "USD") for n in range(12)]
    call = {"at": "2024-05-01T00:00:00Z", "method": "POST", "path": f"/orders/{TENANT}", "body": body}
    site.load("2024-05-01.ndjson", lines(call))

    found = listed(show, f"replenit/{TENANT}/orders/2024-05-01.ndjson")

    assert [key for _, key, _ in found] == [f"K{n}" for n in range(12)]
    assert [key for _, key, outcome in found if outcome == "rejected"] == ["K2", "K9"]


def test_personal_values_in_keys_are_masked_unless_asked_for(site: Site, show: Show) -> None:
    site.load_at(PATH, lines(customer("maria@x.cl")))

    assert listed(show, PATH) == [("1", "m***@x.cl", "created")]
    assert listed(show, PATH, "--unmasked") == [("1", "maria@x.cl", "created")]
    (note,) = (site.settings.logs / "unmasked.log").read_text().splitlines()
    assert (json.loads(note)["command"], json.loads(note)["ids"]) == ("outcomes", [PATH])


def test_an_unknown_path_is_refused_with_the_nearest(site: Site, show: Show) -> None:
    status, _, err = show(PATH)
    assert status == 2 and f"unknown export '{PATH}'" in err
    site.load_at(PATH, lines(customer("A")))

    for typed in (f"{site.landing}/{PATH}", "customers/2024-05-03.ndjson", PATH.replace("03", "04")):
        status, out, err = show(typed)
        assert (status, out) == (2, "")
        assert f"unknown export '{typed}'; did you mean {PATH}?" in err


def test_an_export_that_is_not_loaded_says_so(site: Site, show: Show) -> None:
    site.put_at(PATH, "[1")
    site.discover()
    assert f"{PATH} is pending, so its records have no outcome" in show(PATH)[2]
    site.sync()
    status, _, err = show(PATH)
    assert status == 2 and f"{PATH} is failed, so its records have no outcome: not_json:" in err


def test_each_revision_has_its_own(site: Site, show: Show) -> None:
    site.load_at(PATH, lines(customer("A")))
    site.load_at(PATH, lines(customer("A"), customer("B")))
    site.put_at(PATH, lines(customer("A"), customer("B"), customer("C")))
    site.discover()

    assert "; its last loaded revision is --revision 2" in show(PATH)[2]
    assert listed(show, PATH, "--revision", "1") == [("1", "A", "created")]
    assert listed(show, PATH, "--revision", "2") == [("1", "A", "unchanged"), ("2", "B", "created")]
    assert f"unknown revision 4; the latest of {PATH} is 3" in show(PATH, "--revision", "4")[2]


def test_an_export_loaded_by_an_earlier_version_says_so(site: Site, show: Show) -> None:
    site.load_at(PATH, lines(customer("A")))
    with site.database.connect(autocommit=True) as connection:
        connection.execute("delete from sync.export_outcomes")

    status, _, err = show(PATH)

    assert status == 2 and f"{PATH} was loaded by an earlier version, which stored no outcomes" in err


def test_an_export_without_accepted_records_stores_nothing_and_lists_its_rejects(site: Site, show: Show) -> None:
    site.load_at(PATH, lines(customer("A", currency="ZZZ")))
    site.load_at(f"{CUSTOMERS}/2024-05-04.json", [])

    assert site.query("select from sync.export_outcomes") == []
    assert listed(show, PATH) == [("1", "A", "rejected")]
    assert listed(show, f"{CUSTOMERS}/2024-05-04.json") == []


def test_rejects_whose_content_was_not_kept_are_told(site: Site, show: Show) -> None:
    site.source_of(CUSTOMERS, limits={"rejects": 1})
    site.load_at(PATH, lines(*(customer(f"{n}", currency="ZZZ") for n in range(3)), customer("A")))

    status, out, err = show(PATH, "--json")

    assert (status, len(out.splitlines())) == (0, 2)
    assert "2 counted records are not listed" in err


def test_X11_a_replay_keeps_the_outcomes_of_the_load(site: Site, show: Show) -> None:
    path = f"replenit/{TENANT}/orders/2024-05-01.csv"
    site.sources(WRONG)
    site.load("2024-05-01.csv", HEADER + "A,USD,P,S,2,9.5\nB,USD,P,S,3,4\nC,USD,P,S,1,\nD,USD,P,S,9.5,2\n")
    expected = [("1", "A", "rejected"), ("2", "B", "created"), ("3", "C", "rejected"), ("4", "D", "created")]
    assert [(key, outcome) for _, key, outcome in listed(show, path)] == [e[1:] for e in expected]

    for sources in (RIGHT, WRONG, RIGHT):
        site.sources(sources)
        assert all(export.error is None for export in replay(site))
        found = listed(show, path)
        assert [(key, outcome) for _, key, outcome in found] == [e[1:] for e in expected], "whatever is rejected now"
    assert site.order("A") is not None and site.order("D") is None


def test_records_of_a_later_reading_alone_have_no_outcome(site: Site, show: Show) -> None:
    columns = {"ProductId": "Product", "Sku": "Product", "Quantity": "Amount"}
    content = "Basket,Receipt,Currency,Product,Amount,Price\nA,1,USD,p,1,1\nA,2,USD,q,1,1\n"
    site.sources({"columns": {**columns, "OrderId": "Basket"}})
    entry = site.load("2024-05-01.csv", content)
    assert [(key, outcome) for _, key, outcome in listed(show, entry.path)] == [("A", "created")]

    site.sources({"columns": {**columns, "OrderId": "Receipt"}})
    assert read_again(site.workspace(), entry, whole=True).error is None

    assert [(key, outcome) for _, key, outcome in listed(show, entry.path)] == [("1", "created"), ("2", None)]
    assert listed(show, entry.path, "--only", ",".join(OUTCOMES[1:])) == []
    assert "2 records: 1 created" in show(entry.path)[1]


def test_outcomes_of_an_export_read_again_as_it_was_stay(site: Site, show: Show) -> None:
    every_outcome(site)
    (entry,) = (e for e in site.ledger() if e.path == PATH)

    assert read_again(site.workspace(), entry, whole=True).error is None

    assert listed(show, PATH) == EXPECTED


def test_law_2_a_load_that_fails_or_is_previewed_leaves_no_outcomes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put_at(PATH, lines(customer("A")))
    workspace = site.workspace()
    with preview(workspace, discover(workspace).pending) as previewed:
        assert previewed.connection.execute("select count(*) from sync.export_outcomes").fetchone() == (1,)
    assert site.query("select from sync.export_outcomes") == []

    def breaks(*given: Any, **named: Any) -> None:
        raise ArithmeticError

    with monkeypatch.context() as patch:
        patch.setattr(ledger_changes, "mark_loaded", breaks)
        assert [e.status for e in site.sync()] == ["failed"]
    assert site.query("select from sync.export_outcomes") == []
    assert [e.status for e in site.sync()] == ["loaded"]
    assert len(site.query("select from sync.export_outcomes")) == 1


@pytest.mark.parametrize(("kinds", "most"), [(1, 200), (8, 500_000)])
def test_a_million_outcomes_stay_small(site: Site, kinds: int, most: int) -> None:
    entry = site.load("2024-05-01.json", [])
    codes = np.random.default_rng(0).integers(0, kinds, 1_000_000)
    outcomes = Outcomes(len(codes))
    for code in range(kinds):
        outcomes.note(codes == code, OUTCOMES[code])
    with site.database.connect(autocommit=True) as connection:
        outcomes.store(connection, entry.id)
        stored = stored_outcomes(connection, entry.id)
    assert stored is not None and (stored == codes).all()
    (row,) = site.query("select octet_length(outcomes) as size from sync.export_outcomes")
    assert row["size"] < most


def test_a_record_with_two_outcomes_or_none_is_a_fault() -> None:
    outcomes = Outcomes(3)
    outcomes.note(np.array([True, False, True]), "created")
    with pytest.raises(AssertionError, match="already has another one"):
        outcomes.note(2, "updated")
    with pytest.raises(AssertionError, match="no outcome"):
        _ = outcomes.counts
    outcomes.note(np.array([1]), "stale")
    assert {name: count for name, count in outcomes.counts.items() if count} == {"created": 2, "stale": 1}


def test_names_that_are_no_text_are_found_by_their_bytes_and_by_the_ledgers_text(site: Site, show: Show) -> None:
    folder = site.landing / CUSTOMERS
    folder.mkdir(parents=True)
    name = b"2024-05-03_\xff.ndjson".decode("utf-8", "surrogateescape")
    Path(folder, name).write_text(lines(customer("A")))
    site.touch(Path(folder, name), LONG_AGO)
    (entry,) = site.sync()

    assert listed(show, entry.path) == [("1", "A", "created")]
    assert listed(show, f"{CUSTOMERS}/{name}") == [("1", "A", "created")]


def test_records_kept_by_reference_are_listed_at_their_own_positions(site: Site, show: Show) -> None:
    records = [order(f"K{n}", OrderItems=[item()]) for n in range(4)]
    site.load("2024-05-01.ndjson", lines(*records))
    site.load("2024-05-02.ndjson", lines(order("NEW"), *reversed(records)))

    found = listed(show, f"replenit/{TENANT}/orders/2024-05-02.ndjson")

    assert found[0] == ("1", "NEW", "created")
    assert found[1:] == [(f"{n + 2}", f"K{3 - n}", "unchanged") for n in range(4)]
