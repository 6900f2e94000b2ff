"""A person erased from tables, archive, rejects and logs, and erased staying erased."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given
from hypothesis import strategies as st

from sync_pipelines.errors import SyncError
from sync_pipelines.kept.locations import objects_in
from sync_pipelines.kept.object_store import open_store
from sync_pipelines.privacy.erased_people import read_erased_people, write_erased_people
from sync_pipelines.privacy.person_terms import Person
from sync_pipelines.stages.compaction import compact
from sync_pipelines.stages.erase import Done, erase, look, plan_erasure
from sync_pipelines.stages.export_stages import discover, load_export, normalize_export
from sync_pipelines.stages.replay import read_again
from sync_pipelines.upsert.locks import take_locks
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT, Site, item, lines, order

BY_ID = {"customer_identifier": "customer_id"}
ANA, EMAIL = "CUST-0001", "Ana.Rojas@Example.cl"


def erased(site: Site, person: Person) -> Done:
    workspace = site.workspace()
    plan = plan_erasure(workspace, person, "asked", "me")
    done = erase(workspace, plan, look(workspace, plan))
    assert done.errors == []
    after = look(workspace, plan)
    assert dict(after.places) == {}
    return done


def of_replenit(**more: Any) -> Person:
    return Person("replenit", TENANT, **{"customer": ANA, "also_email": EMAIL, **more})


def orders() -> list[dict[str, Any]]:
    return [
        order("A", CustomerId=ANA, Email=EMAIL, OrderItems=[item()]),
        order("B", CustomerId="CUST-00011", Email="other@example.cl", OrderItems=[item(), item("P2")]),
        order("C", CustomerId="CUST-0002", Email=EMAIL.upper(), note="x"),
    ]


FORMS: dict[str, Callable[[], bytes]] = {
    "2024-01-01.jsonl": lambda: lines(*orders()).encode(),
    "2024-01-01.json": lambda: json.dumps(orders(), indent=1).encode(),
    "2024-01-01.jsonl.gz": lambda: gzip.compress(lines(*orders()).encode()),
    "2024-01-01.csv": lambda: (
        "OrderId,Currency,CustomerId,Email,ProductId,Sku,Quantity,Price\n"
        f"A,USD,{ANA},{EMAIL},P,S,1,1\nB,USD,CUST-00011,other@example.cl,P,S,1,1\n"
        f"B,USD,CUST-00011,other@example.cl,P2,S,1,1\nC,USD,,,P,S,1,1\nC,USD,CUST-0002,{EMAIL.upper()},P2,S,1,1\n"
    ).encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_an_erased_customer_is_nowhere_and_stays_away(site: Site, fresh_site: Callable[[], Site], name: str) -> None:
    site.sources(BY_ID)
    site.load(name, FORMS[name]())
    assert set(site.tables()["orders"]) == {(TENANT, "replenit", k) for k in "ABC"}

    done = erased(site, of_replenit())

    assert done.raw_rewritten and not done.raw_dropped
    assert [key for *_, key in site.tables()["orders"]] == ["B"]
    again(site)
    assert [key for *_, key in site.tables()["orders"]] == ["B"]
    assert [c[0][2] for c in site.customers()] == ["CUST-00011"]


def again(site: Site) -> None:
    workspace = site.workspace()
    for entry in site.ledger():
        result = read_again(workspace, entry, whole=True)
        assert result.error is None


def test_a_new_export_with_the_person_is_loaded_without(site: Site) -> None:
    site.sources(BY_ID)
    site.load("2024-01-01.jsonl", lines(*orders()))
    erased(site, of_replenit())

    entry = site.load("2024-01-02.jsonl", lines(*orders(), order("D")))

    assert (entry.status, entry.leniencies["subject_erased"], entry.read) == ("loaded", 2, 2)
    assert [key for *_, key in site.tables()["orders"]] == ["B", "D"]
    workspace = site.workspace()
    found = look(workspace, plan_erasure(workspace, of_replenit(), "", ""))
    assert dict(found.places) == {}
    assert found.landing


# -- any person ------------------------------------------------------------------------------------------------

KEYS = ["1", "12", "K-100", "K-1000", "K-1000-B", "ñandú 77/é", 'a"b\\c', "x%y_z", "CUST-0001", "CUST-00011"]
EMAILS = ["a@x.cl", "ana@x.cl", "Mariana@X.cl", "ana@x.cl.pe", "ana+1@x.cl", "o'ana@x.cl", "ñ@x.cl"]
key, email = st.sampled_from(KEYS), st.sampled_from(EMAILS)
spelled = st.builds(lambda text, upper: text.upper() if upper and text.isascii() else text, email, st.booleans())


def maybe(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(st.just({}), st.builds(lambda value: {name: value}, values))


def record(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda found: {name: value for part in found for name, value in part.items()})


def named(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return values.map(lambda value: {name: value})


CUSTOMER = record(
    named("customer_number", key), st.just({"name": "N", "currency": "CLP"}), maybe("email", spelled),
    maybe("delete", st.booleans()),
)  # fmt: skip
ORDER = record(
    named("OrderId", st.sampled_from("ABC")), st.just({"Currency": "CLP"}), maybe("CustomerId", key),
    maybe("Email", spelled), maybe("TotalQuantity", st.integers(1, 3)),
)  # fmt: skip
STORE = record(
    named("internalCode", st.sampled_from(["1", "S"])), maybe("supportContactEmail", spelled),
    st.just({"name": "N", "legalName": "L", "legalId": "1", "addresses": [{"address": "x", "zipCode": "1"}]}),
    maybe("users", st.lists(st.one_of(key, spelled), max_size=3, unique=True)),
)  # fmt: skip
CONTACTS = st.lists(record(st.just({"contact_type": "EMAIL"}), named("value", spelled)), max_size=2)
USERS = st.lists(
    record(named("external_id", key), maybe("contacts", CONTACTS)), max_size=2, unique_by=lambda u: u["external_id"]
)
COMMERCE = record(named("external_id", st.sampled_from(["1", "M"])), st.just({"name": "N"}), maybe("users", USERS))
BUYER = record(
    named("external_id", key), st.just({"business_id": "B", "full_name": "N"}), maybe("email_address", spelled)
)
STREAMS_OF: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "traede/customers": CUSTOMER, "replenit/orders": ORDER, "nilo/stores": STORE, "reten/commerces": COMMERCE,
    "pocketflows/customers": BUYER,
}  # fmt: skip
EXPORT = st.tuples(
    st.sampled_from(sorted(STREAMS_OF)), st.sampled_from(["json", "jsonl", "jsonl.gz"]), st.integers(1, 9)
).flatmap(lambda chosen: st.tuples(st.just(chosen), st.lists(STREAMS_OF[chosen[0]], min_size=1, max_size=5)))


def without(stream: str, records: list[dict[str, Any]], person: Person) -> list[dict[str, Any]]:
    """The records that an export without the person has."""

    def is_theirs(text: str | None) -> bool:
        return text is not None and text.casefold() in person.emails

    def is_key(text: str | None) -> bool:
        return text is not None and text == person.customer

    found = []
    for one in records:
        match stream:
            case "traede/customers":
                # A delete is the person's only by its key.
                is_dropped = is_key(one["customer_number"]) or (not one.get("delete") and is_theirs(one.get("email")))
            case "replenit/orders":
                is_dropped = is_key(one.get("CustomerId")) or is_theirs(one.get("Email"))
            case "pocketflows/customers":
                is_dropped = is_theirs(one.get("email_address"))
            case _:
                is_dropped = False
        kept = dict(one)
        if "users" in kept and stream == "nilo/stores":
            kept["users"] = [user for user in kept["users"] if not is_key(user) and not is_theirs(user)]
        if "users" in kept and stream == "reten/commerces":
            kept["users"] = [
                user
                for user in kept["users"]
                if not is_key(user["external_id"])
                and not any(is_theirs(contact["value"]) for contact in user.get("contacts", ()))
            ]
        if is_theirs(kept.get("supportContactEmail")):
            del kept["supportContactEmail"]
        if not is_dropped:
            found.append(kept)
    return found


def content_of(form: str, records: list[dict[str, Any]]) -> bytes:
    if form == "json":
        return json.dumps(records, indent=1).encode()
    text = lines(*records).encode()
    return gzip.compress(text) if form.endswith(".gz") else text


def put_all(site: Site, exports: list[Any], month: int, person: Person | None = None) -> None:
    for number, ((stream, form, day), records) in enumerate(exports):
        partner, name = stream.split("/")
        kept = records if person is None else without(stream, records, person)
        path = f"{partner}/{TENANT}/{name}/2024-{month:02}-0{day}-{number}.{form}"
        if kept or form == "json":
            site.put_at(path, content_of(form, kept))


LINKED = {**BY_ID, "customers_of": {"partner": "traede", "tenant": TENANT}}


@given(
    exports=st.lists(EXPORT, min_size=2, max_size=4),
    person=st.builds(lambda k, e: Person("traede", TENANT, k, e), key, st.one_of(st.none(), email)),
)
@examples(50, at_least=3, phases=[Phase.explicit, Phase.generate])
def test_erased_is_as_if_the_person_had_never_been_sent(
    fresh_site: Callable[[], Site], exports: list[Any], person: Person
) -> None:
    oracle = fresh_site()
    oracle.sources(LINKED)
    put_all(oracle, exports, 1, person)
    oracle.sync()
    expected = oracle.tables()
    again(oracle)
    expected_again = oracle.tables()
    put_all(oracle, exports, 2, person)
    oracle.sync()
    expected_later = oracle.tables()

    site = fresh_site()
    site.sources(LINKED)
    put_all(site, exports, 1)
    site.sync()
    erased(site, person)
    assert site.tables() == expected

    again(site)
    assert site.tables() == expected_again
    put_all(site, exports, 2)
    site.sync()
    assert site.tables() == expected_later
    workspace = site.workspace()
    assert dict(look(workspace, plan_erasure(workspace, person, "", "")).places) == {}


# -- other ways ------------------------------------------------------------------------------------------------


def test_orders_can_be_kept_without_the_person(site: Site) -> None:
    site.sources(BY_ID)
    for day, form in enumerate(["csv", "jsonl"], 1):
        site.load(f"2024-01-0{day}.{form}", FORMS[f"2024-01-01.{form}"]())

    done = erased(site, of_replenit(keeps_orders=True))

    assert len(done.raw_rewritten) == 2
    rows = site.tables()["orders"].values()
    found = [(r["external_id"], r["email"], r["customer_external_id"], r["customer_id"], r["extra"]) for r in rows]
    kept = ("B", "other@example.cl", "CUST-00011", (TENANT, "replenit", "CUST-00011"), None)
    assert sorted(found) == [("A", None, None, None, None), kept, ("C", None, None, None, None)]
    again(site)
    assert sorted(r["external_id"] for r in site.tables()["orders"].values()) == ["A", "B", "C"]


def test_repeated_lines_do_not_keep_the_person(site: Site) -> None:
    site.sources(BY_ID)
    many = [order(f"X{n}", CustomerId=f"C{n}", TotalQuantity=1) for n in range(50)]
    for day in (1, 2, 3):
        site.load(f"2024-01-0{day}.jsonl", lines(*many, *orders()))

    assert erased(site, of_replenit()).rewritten == 3

    assert len(site.tables()["orders"]) == 51
    entry = site.load("2024-01-04.jsonl", lines(*many, *orders()))
    assert (entry.read, entry.unchanged, entry.leniencies["subject_erased"]) == (51, 51, 2)
    again(site)
    assert len(site.tables()["orders"]) == 51


def test_an_interrupted_erasure_is_completed_by_the_next(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.sources(BY_ID)
    site.load("2024-01-01.jsonl", lines(*orders()))
    workspace = site.workspace()
    plan = plan_erasure(workspace, of_replenit(), "asked", "me")
    for step in ("_rewrite_kept", "_clean_rejects", "_rewrite_raw", "remove_unused_objects"):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(f"sync_pipelines.stages.erase.{step}", interrupted)
            erase(workspace, plan, look(workspace, plan))

    erased(site, of_replenit())

    assert [key for *_, key in site.tables()["orders"]] == ["B"]


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_erasure_waits_for_a_load_and_then_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.sources(BY_ID)
    site.load("2024-01-01.jsonl", lines(*orders()))
    monkeypatch.setattr("sync_pipelines.stages.erase.WAIT_SECONDS", 0.2)
    workspace = site.workspace()
    plan = plan_erasure(workspace, of_replenit(), "asked", "me")
    with site.database.connect() as busy:
        take_locks(busy, [f"orders/replenit/{TENANT}"])
        with pytest.raises(SyncError, match="running"):
            erase(workspace, plan, look(workspace, plan))

    erased(site, of_replenit())


def test_records_read_before_an_erasure_are_loaded_without_the_person(site: Site) -> None:
    site.sources(BY_ID)
    site.load("2024-01-01.jsonl", lines(*orders()))
    site.put("2024-01-02.jsonl", lines(*orders(), order("D")))
    workspace = site.workspace()
    (pending,) = discover(workspace).pending
    normalize_export(workspace, pending.id)
    plan = plan_erasure(workspace, of_replenit(), "asked", "me")
    write_erased_people(workspace.settings.archive, plan.people)

    load_export(workspace, pending.id)

    assert [key for *_, key in site.tables()["orders"]] == ["A", "B", "C", "D"]
    by_person = site.query("select source_file from sync.orders where external_id in ('A', 'C')")
    assert {row["source_file"][-8:] for row in by_person} == {"01.jsonl"}
    found = look(workspace, plan)
    assert len(found.raw) == len(found.kept) == 1
    erased(site, of_replenit())
    assert [key for *_, key in site.tables()["orders"]] == ["B", "D"]


def test_a_lifted_erasure_lets_later_exports_bring_the_person(site: Site) -> None:
    site.sources(BY_ID)
    site.load("2024-01-01.jsonl", lines(*orders()))
    erased(site, of_replenit())
    archive = site.settings.archive
    people = read_erased_people(archive)
    assert people is not None and ANA not in (archive / "erasures.json").read_text()
    assert (archive / "erasures.json").stat().st_mode & 0o777 == 0o600

    write_erased_people(archive, people.with_lifted((e.identity for e in people.erasures), "2026-01-01T00:00:00+00:00"))
    again(site)
    assert [key for *_, key in site.tables()["orders"]] == ["B"]
    site.load("2024-01-02.jsonl", lines(*orders()))
    assert sorted(key for *_, key in site.tables()["orders"]) == ["A", "B", "C"]


def test_bytes_that_another_format_has_are_dropped_and_said_so(site: Site) -> None:
    site.sources(BY_ID)
    table = pa.table({"OrderId": ["A", "B"], "Currency": ["USD", "USD"], "CustomerId": [ANA, "C2"]})
    written = io.BytesIO()
    pq.write_table(table, written)
    entry = site.load("2024-01-01.parquet", written.getvalue())

    done = erased(site, of_replenit())

    assert done.raw_dropped == {entry.path: "a .parquet file"}
    result = read_again(site.workspace(), entry, whole=True)
    assert result.error is not None and "erasure of a person" in str(result.error)
    assert [key for *_, key in site.tables()["orders"]] == ["B"]


def test_merged_objects_do_not_keep_the_person(site: Site) -> None:
    site.sources(BY_ID)
    for day in range(1, 13):
        site.load(f"2024-01-{day:02}.jsonl", lines(order(f"X{day}", CustomerId=ANA if day == 5 else f"C{day}")))
    workspace = site.workspace()
    assert compact(workspace).merged == 12
    before = site.tables()["orders"]
    (merged,) = {name for entry in site.ledger() for name in objects_in(entry.kept or "")}

    erased(site, of_replenit())

    assert set(before) - set(site.tables()["orders"]) == {(TENANT, "replenit", "X5")}
    assert merged not in {item.name for item in open_store(site.settings.archive).list()}
    again(site)
    assert len(site.tables()["orders"]) == 11


# -- what a record has, and kept records have not ----------------------------------------------------------------


def customer(number: str, **more: Any) -> dict[str, Any]:
    return {"customer_number": number, "name": "N", "currency": "CLP", **more}


def call_of(path: str, body: Any = None, method: str = "PUT") -> dict[str, Any]:
    return {"at": "2024-01-01T00:00:00Z", "method": method, "path": path, "body": body}


def shop(code: str, **more: Any) -> dict[str, Any]:
    address = {"address": "x", "zipCode": "1"}
    return {"internalCode": code, "name": "N", "legalName": "L", "legalId": "1", "addresses": [address], **more}


def with_contact(key: str, address: str) -> dict[str, Any]:
    return {"external_id": key, "contacts": {"0": {"contact_type": "EMAIL", "value": address}}}


DELETES = f"customer_number,name,currency,email,delete\n9,N,CLP,{EMAIL},true\n8,N,CLP,,\n7,N,CLP,{EMAIL},no\n"
UNREAD: dict[str, list[dict[str, Any]]] = {
    "traede/customers": [
        customer("8"),
        customer("9", delete=True, email=EMAIL),
        customer("10", delete="sí", email=EMAIL, note=EMAIL),
        customer(ANA, delete=True),
        {"delete": True, "email": EMAIL},
    ],
    "nilo/stores": [
        shop("1"),
        call_of("/store/1/add/user", {"users": ["u"], "by": EMAIL}),
        call_of("/store/1/debtor", {"by": EMAIL}, "POST"),
        call_of("/other", {"by": EMAIL}),
        shop("2", users={"0": "u", "1": EMAIL}),
        shop("3", users=["u", EMAIL], legalName={"x": 1}, latitude="?"),
    ],
    "reten/commerces": [
        {"external_id": "M", "name": "N", "users": [with_contact("U", EMAIL), with_contact("V", "b@x.cl")]}
    ],
}


@pytest.mark.parametrize("stream", UNREAD)
def test_what_is_not_kept_does_not_keep_the_person(site: Site, stream: str) -> None:
    partner, name = stream.split("/")
    content, person = lines(*UNREAD[stream]), Person(partner, TENANT, ANA, EMAIL)
    site.load_at(f"{partner}/{TENANT}/{name}/2024-01-01.jsonl", content)

    if partner == "traede":
        site.load_at(f"{partner}/{TENANT}/{name}/2024-01-01.csv", DELETES)

    done = erased(site, person)

    assert (len(done.raw_rewritten), done.raw_dropped) == (len(site.ledger()), {})
    before = site.tables()
    again(site)
    assert site.tables() == before
    for day in (2, 3):
        site.load_at(f"{partner}/{TENANT}/{name}/2024-01-0{day}.jsonl", content)
    if partner == "traede":
        entry = site.load_at(f"{partner}/{TENANT}/{name}/2024-01-04.csv", DELETES)
        assert (entry.read, entry.leniencies["subject_erased"]) == (2, 2)
    workspace = site.workspace()
    assert dict(look(workspace, plan_erasure(workspace, person, "", "")).places) == {}
