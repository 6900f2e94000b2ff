"""`sync-pipelines sql --as-of`: answers by the records until a date, errors in one sentence."""

from __future__ import annotations

import pytest

from sync_pipelines_tests.commands.calling import Call
from sync_pipelines_tests.loading import Site, order

COUNT = "select external_id, total_quantity from sync.live_orders order by 1"


@pytest.fixture
def filled(site: Site) -> Site:
    site.load("2024-03-01.json", [order("A", TotalQuantity=1)])
    site.load("2024-03-02.json", [order("A", TotalQuantity=2), order("B")])
    return site


def test_it_answers_by_the_records_until_a_date(filled: Site, call: Call) -> None:
    assert call("sql", "--as-of", "2024-03-01", COUNT, "--format", "csv").out.splitlines()[1:] == ["A,1"]
    assert call("sql", "--as-of", "2024-03-01T23:59:59", COUNT, "--format", "csv").out.splitlines()[1:] == ["A,1"]
    assert call("sql", "--as-of", "2024-03-02", COUNT, "--format", "json").json[0]["total_quantity"] == 2
    assert call("sql", COUNT, "--format", "csv").out.splitlines()[1:] == ["A,2", "B,1"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("commit", "syntax error"),
        ("select 1; commit", "multiple commands"),
        ("drop schema sync_as_stored cascade", "syntax error"),
        ("with gone as (delete from sync.orders returning 1) select * from gone", "data-modifying"),
        ("select set_config('transaction_read_only', 'off', true)", "read-write"),
        ("select pg_sleep(30)", "took longer than 1 s"),
        ("select * from sync.nothing", "does not exist"),
        ("select * from public.report", "as they are now"),
        ("", "syntax error"),
    ],
)
def test_what_is_no_query_of_the_tables_is_an_error(filled: Site, call: Call, query: str, says: str) -> None:
    with filled.database.connect(autocommit=True) as connection:
        connection.execute("create view public.report as select * from sync.orders")
    done = call("sql", "--as-of", "2024-03-01", "--timeout", "1", query)
    assert (done.status, done.out) == (2, "")
    assert says in done.err and "Traceback" not in done.err
    assert [row["external_id"] for row in filled.query(COUNT)] == ["A", "B"]


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        ("2024-02-29", "there is no record until 2024-02-29 23:59:59; the first is of 2024-03-01"),
        ("yesterday", "is not a date such as"),
        ("2024-02-30", "is not a date such as"),
        ("", "is not a date such as"),
    ],
)
def test_a_date_without_records_or_no_date_is_an_error(filled: Site, call: Call, moment: str, says: str) -> None:
    done = call("sql", "--as-of", moment, COUNT)
    assert (done.status, done.out) == (2, "") and says in done.err


def test_nothing_is_loaded_yet(site: Site, call: Call) -> None:
    assert "no export is loaded yet" in call("sql", "--as-of", "2024-03-01", COUNT).err


def test_a_user_who_only_reads_gets_one_sentence(filled: Site, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_DATABASE_URL", filled.database.url.replace("//sync@", "//sync_reader@"))
    done = call("sql", "--as-of", "2024-03-01", COUNT)
    assert (done.status, done.out) == (2, "")
    assert "cannot prepare the tables as of a date" in done.err and "grant create on database" in done.err


def test_a_superuser_is_not_accepted(filled: Site, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_DATABASE_URL", filled.database.url.replace("//sync@", "//postgres@"))
    done = call("sql", "--as-of", "2024-03-01", COUNT)
    assert (done.status, done.out) == (2, "") and "may run programs" in done.err
