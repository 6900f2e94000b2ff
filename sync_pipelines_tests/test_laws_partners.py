"""Law 1 on Reten's commerces and Traede's customers: merged lists, refusals that depend on state (X5, R4 to R8, T3).

Histories are generated; the oracles are plain folds of records in version order, written from the rules alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import Site, lines
from sync_pipelines_tests.test_laws import loading_plan, maybe

KEYS = ("A", "B")
DAYS = [datetime(2024, 3, day, tzinfo=UTC) for day in (1, 2, 3)]
Record = dict[str, Any]


@dataclass(frozen=True)
class Export:
    """A file of a history; a log's lines carry their own times."""

    name: str
    day: datetime
    entries: tuple[Record, ...]

    def said(self) -> Iterator[tuple[tuple[datetime, str, int, int], Record]]:
        """Version and record of each record."""
        for line, entry in enumerate(self.entries):
            if "method" not in entry:
                yield (self.day, self.name, line, 0), entry
                continue
            (records,) = entry["body"].values()
            for element, record in enumerate(records):
                yield (datetime.fromisoformat(entry["at"]), self.name, line, element), record


def in_version_order(exports: Sequence[Export]) -> list[Record]:
    return [record for _, record in sorted((s for e in exports for s in e.said()), key=lambda said: said[0])]


@st.composite
def history(draw: st.DrawFn, record: st.SearchStrategy[Record], path: str, body: str) -> list[Export]:
    exports = []
    for number in range(draw(st.integers(2, 4))):
        day = draw(st.sampled_from(DAYS))
        entries = []
        for _ in range(draw(st.integers(1, 3))):
            if draw(st.booleans()):
                entries.append(draw(record))
                continue
            at = draw(st.sampled_from(DAYS)) + timedelta(hours=draw(st.integers(0, 2)))
            records = draw(st.lists(record, max_size=2))
            entries.append({"at": at.isoformat(), "method": "POST", "path": path, "body": {body: records}})
        exports.append(Export(f"{day.date()}_{draw(st.sampled_from('xyz'))}{number}.ndjson", day, tuple(entries)))
    return exports


def load(site: Site, folder: str, exports: Sequence[Export], plan: Sequence[Sequence[int]]) -> None:
    for batch in plan:
        for index in batch:
            site.put_at(f"{folder}/{exports[index].name}", lines(*exports[index].entries))
        for entry in site.sync():
            assert entry.status == "loaded", entry.error
            assert entry.read == sum(count for name, count in entry.counts.items() if name != "read")


def contents(site: Site) -> Any:
    """Tables, contacts and the refusals that stand."""
    contacts = site.query(
        "select c.external_id as commerce, u.external_id as person, n.line_no, n.contact_type, n.value, n.is_primary"
        " from sync.commerces c join sync.commerce_users u on u.commerce_id = c.id"
        " join sync.commerce_user_contacts n on n.commerce_user_id = u.id order by 1, 2, 3"
    )
    refused = [(r["path"], r["position"], r["code"], r["status"]) for r in site.rejects() if r["status"] != "resolved"]
    return site.tables(), contacts, refused


def hold_law_1(fresh_site: Callable[[], Site], folder: str, exports: list[Export], plan: list[list[int]]) -> Any:
    """Loads in version order and by the plan, finds no difference, and returns the contents."""
    clean = fresh_site()
    order = sorted(range(len(exports)), key=lambda i: (exports[i].day, exports[i].name))
    load(clean, folder, exports, [[index] for index in order])
    expected = contents(clean)
    shuffled = fresh_site()
    load(shuffled, folder, exports, plan)
    assert contents(shuffled) == expected
    return expected


# -- Reten -----------------------------------------------------------------------------------------------------

commerce_address = st.builds(
    lambda *fields: {n: v for f in fields for n, v in f.items()},
    maybe("source_ref", st.sampled_from(["1", "2"])),
    maybe("address_alias", st.sampled_from(["Casa", " casa", "Local"])),
    maybe("is_primary", st.booleans()),
    maybe("city", st.sampled_from(["Lima", "Quito"])),
)
contact = st.builds(
    lambda kind, value, primary: {"contact_type": kind, "value": value} | primary,
    st.sampled_from(["PHONE", "EMAIL"]),
    st.sampled_from(["1", "2"]),
    maybe("is_primary", st.booleans()),
)
user = st.builds(
    lambda key, *fields: {"external_id": key} | {n: v for f in fields for n, v in f.items()},
    st.sampled_from(["u", "v"]),
    maybe("name", st.sampled_from(["Ana", "Leo"])),
    maybe("roles", st.lists(st.sampled_from(["OWNER", "BUYER"]), max_size=2)),
    maybe("contacts", st.lists(contact, max_size=2)),
)
commerce = st.builds(
    lambda key, name, *fields: {"external_id": key, "name": name} | {n: v for f in fields for n, v in f.items()},
    st.sampled_from(KEYS),
    st.sampled_from(["One", "Two", ""]),
    maybe("tax_id", st.sampled_from(["01", "02"])),
    maybe("metadata", st.dictionaries(st.sampled_from("ab"), st.sampled_from([1, None, {"x": 1}]), max_size=2)),
    maybe("addresses", st.lists(commerce_address, max_size=2)),
    maybe("users", st.lists(user, max_size=2)),
    maybe("unknown", st.integers(1, 2)),
)


def commerces_of(records: Sequence[Record]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for record in records:
        if record["name"]:
            new: Record = {"name": None, "tax_id": None, "metadata": None, "addresses": [], "users": {}, "unknown": ...}
            take_commerce(found.setdefault(record["external_id"], new), record)
    return found


def take_commerce(row: Record, record: Record) -> None:
    for name in ("name", "tax_id", "unknown"):
        row[name] = record.get(name, row[name])
    if "metadata" in record:
        row["metadata"] = None if record["metadata"] is None else {**(row["metadata"] or {}), **record["metadata"]}
    for address in record.get("addresses") or ():
        if address:
            take_address(row["addresses"], address)
    for person in record.get("users") or ():
        known = row["users"].setdefault(person["external_id"], {"name": None, "roles": None, "contacts": {}})
        known["name"] = person.get("name", known["name"])
        known["roles"] = (person["roles"] or []) if "roles" in person else known["roles"]
        for one in person.get("contacts") or ():
            take_contact(known["contacts"], one)


def take_address(rows: list[Record], sent: Record) -> None:
    def alias(row: Record) -> Any:
        return row["address_alias"].strip().casefold() if row.get("address_alias") else None

    ref, name = sent.get("source_ref"), alias(sent)
    row = next((r for r in rows if ref and r["source_ref"] == ref), None)
    row = row or next((r for r in rows if name and alias(r) == name), None)
    if not ref and not name:
        plain = [r for r in rows if r["source_ref"] is None and r["address_alias"] is None]
        row = next((r for r in plain if r["city"] == sent.get("city")), None)
    if row is None:
        rows.append(row := dict.fromkeys(("source_ref", "address_alias", "is_primary", "city")))
    row.update(sent)
    if sent.get("is_primary"):
        for other in rows:
            other["is_primary"] = True if other is row else (False if other["is_primary"] else other["is_primary"])


def take_contact(rows: dict[tuple[str, str], Any], sent: Record) -> None:
    key = (sent["contact_type"], sent["value"])
    rows[key] = sent.get("is_primary", rows.get(key))
    if sent.get("is_primary"):
        for other in rows:
            if other != key and other[0] == key[0] and rows[other]:
                rows[other] = False


def stored_commerces(found: Any) -> dict[str, Record]:
    tables, contacts, _ = found
    commerces: dict[str, Record] = {}
    for (_, _, key), row in tables["commerces"].items():
        people = {
            u["external_id"]: {"name": u["name"], "roles": u["roles"], "contacts": {}} for u in row["commerce_users"]
        }
        for c in contacts:
            if c["commerce"] == key:
                people[c["person"]]["contacts"][(c["contact_type"], c["value"])] = c["is_primary"]
        addresses = [
            {
                "source_ref": a["source_ref"],
                "address_alias": a["alias"],
                "is_primary": a["is_primary"],
                "city": a["city"],
            }
            for a in row["commerce_addresses"]
        ]
        commerces[key] = {name: row[name] for name in ("name", "tax_id", "metadata")}
        commerces[key] |= {"addresses": addresses, "users": people, "unknown": (row["extra"] or {}).get("unknown", ...)}
    return commerces


@examples(30)
@given(data=st.data())
def test_law_1_of_commerces(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    exports = data.draw(history(commerce, "/api/commerces/sync", "items"))
    plan = data.draw(loading_plan(len(exports)))
    found = hold_law_1(fresh_site, "reten/acme/commerces", exports, plan)
    assert stored_commerces(found) == commerces_of(in_version_order(exports))


# -- Traede ----------------------------------------------------------------------------------------------------

customer_address = st.builds(
    lambda title, city, erp, region: {
        "title": title, "name": "n", "address": "a", "zip": "z", "city": city, "country": "DK", "remote_erp_id": erp,
    } | region,
    st.sampled_from(["Home", " home", "Shop"]),
    st.sampled_from(["Aarhus", "Odense"]),
    st.sampled_from(["1", "2"]),
    maybe("region", st.just("r")),
)  # fmt: skip
address_fields = st.one_of(
    st.just({}),
    st.builds(
        lambda mode, key, addresses: {"addresses_sync_mode": mode, "addresses_sync_key": key, "addresses": addresses},
        st.sampled_from(["replace", "append"]),
        st.sampled_from(["address_title", "remote_erp_id"]),
        st.lists(customer_address, max_size=2),
    ),
)
customer = st.one_of(
    st.builds(lambda key: {"customer_number": key, "delete": True}, st.sampled_from(KEYS)),
    *[
        st.builds(
            lambda key, name, *fields: (
                {"customer_number": key} | name | {n: v for f in fields for n, v in f.items()}
            ),
            st.sampled_from(KEYS),
            names,
            maybe("discount_percentage", st.sampled_from([5, 10])),
            maybe("active", st.booleans()),
            maybe("payment_term", st.sampled_from([{"id": "1"}, {"code": "net"}])),
            address_fields,
        )
        for names in (
            st.just({"name": "x", "currency": "USD"}),
            st.sampled_from([{"name": "y", "currency": "DKK"}, {"name": "z"}, {}]),
        )
    ],
)  # fmt: skip


def address_key(address: Record, way: str) -> str:
    return str(address["title"].strip().casefold() if way == "address_title" else address["remote_erp_id"])


def customers_of(records: Sequence[Record]) -> dict[str, Record | None]:
    """Customers by number; None is a tombstone."""
    found: dict[str, Record | None] = {}
    for record in records:
        key, way = record["customer_number"], record.get("addresses_sync_key", "")
        if record.get("delete"):
            found[key] = None
            continue
        keys = [address_key(address, way) for address in record.get("addresses", ())]
        before = found.get(key)
        if len(keys) != len(set(keys)) or (before is None and not {"name", "currency"} <= record.keys()):
            continue
        new: Record = {"discount_percentage": None, "active": True, "id": None, "code": None, "addresses": []}
        found[key] = with_customer(before or new, record, way)
    return found


def with_customer(before: Record, record: Record, way: str) -> Record:
    row = before | {n: v for n, v in record.items() if n in ("name", "currency", "discount_percentage", "active")}
    if "payment_term" in record:
        term = record["payment_term"] or {}
        row |= {"id": term.get("id"), "code": term.get("code")}
    if record.get("addresses_sync_mode") == "replace":
        row["addresses"] = [{"region": None} | address for address in record["addresses"]]
    elif "addresses" in record:
        row["addresses"] = [dict(address) for address in before["addresses"]]
        for sent in record["addresses"]:
            wanted = address_key(sent, way)
            known = next((a for a in row["addresses"] if address_key(a, way) == wanted), None)
            if known is None:
                row["addresses"].append({"region": None} | sent)
            else:
                known.update(sent)
    return row


def stored_customers(found: Any) -> dict[str, Record | None]:
    customers: dict[str, Record | None] = {}
    for (_, _, key), row in found[0]["customers"].items():
        if row["deleted_at"] is not None:
            assert (row["name"], row["is_active"], row["customer_addresses"]) == (None, None, [])
            customers[key] = None
            continue
        same = {name: row[name] for name in ("name", "currency", "discount_percentage")}
        names = {"active": "is_active", "id": "payment_terms_id", "code": "payment_terms_code"}
        left_out = ("line_no", "extra", "address_2")
        addresses = [{n: v for n, v in a.items() if n not in left_out} for a in row["customer_addresses"]]
        customers[key] = same | {name: row[column] for name, column in names.items()} | {"addresses": addresses}
    return customers


@examples(30)
@given(data=st.data())
def test_law_1_of_customers(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    exports = data.draw(history(customer, "/customers/sync", "customers"))
    plan = data.draw(loading_plan(len(exports)))
    found = hold_law_1(fresh_site, "traede/acme/customers", exports, plan)
    assert stored_customers(found) == customers_of(in_version_order(exports))


def test_the_oracles_are_not_vacuous() -> None:
    day = DAYS[0]
    patch = Export("2024-03-01_b.ndjson", day, ({"customer_number": "A", "active": False},))
    whole = Export("2024-03-01_a.ndjson", day, ({"customer_number": "A", "name": "x", "currency": "USD"},))
    (row,) = customers_of(in_version_order([patch, whole])).values()
    assert row is not None and row["active"] is False
    assert customers_of(in_version_order([patch])) == {}
