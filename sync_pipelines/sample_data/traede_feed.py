"""Traede's exports in the sample: the fashion house's wholesale customers, most of whom place orders.

Belongs here: the content of Traede's exports. Does not belong here: their schedule (`feed`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date

from sync_pipelines.sample_data import words
from sync_pipelines.sample_data.dirt import Dirt, setting, setting_in, without
from sync_pipelines.sample_data.encode import Layout
from sync_pipelines.sample_data.feed import Feed, Subject
from sync_pipelines.sample_data.sample_files import Record
from sync_pipelines.sample_data.world import Person, Shop, build_place, build_shops, random_for

TENANT = "casa-telar"
FOLDER = f"traede/{TENANT}/customers"
DEFINED = 600  # of the fashion house's customers; the others stay placeholders
PROSPECTS = 40  # customers who never order, so that they can be deleted
PATHS = ("/customers/sync", "/production/customers/sync")


def build_feed(seed: int, days: int, buyers: set[str]) -> Feed:
    """Returns the exports of all customers.

    Args:
        seed: of the sample.
        days: the number of days.
        buyers: numbers of customers who have orders, whose deletes are blocked.
    """
    rng = random_for(seed, FOLDER, "first")
    shop = build_shops(seed)[1]
    customers = [(person.number, _record(rng, person.number, person)) for person in shop.people[:DEFINED]]
    for number in range(1, PROSPECTS + 1):
        customers.append((f"PR{number:05d}", _record(rng, f"PR{number:05d}", rng.choice(shop.people))))
    rng.shuffle(customers)
    return CustomerFeed(seed, days, customers, shop, buyers)


def _record(rng: random.Random, number: str, person: Person) -> Record:
    record: Record = {
        "customer_number": number,
        "name": f"{rng.choice(words.BOUTIQUES)} {person.name.split()[1]}",
        "currency": person.country.currency,
        "discount_percentage": rng.choice((0, 0, 5, 7.5, 10, 12.5)),
        "payment_term": {"payment_term_code": rng.choice(words.PAYMENT_TERMS)},
    }
    if rng.random() < 0.2:
        record["payment_terms"] = {"payment_terms_id": f"0{rng.randint(10, 40)}"}
        del record["payment_term"]
    if rng.random() < 0.7:
        record |= _listed("replace", [_address(rng, person, "Primary address", f"{number}-1")])
    return record


def _address(rng: random.Random, person: Person, title: str, erp_id: str) -> Record:
    place = build_place(rng, person.country)
    address = {
        "title": title, "name": person.name, "address": f"{place.street} {place.number}", "zip": place.city.zip_code,
        "city": place.city.name, "region": place.city.region, "country": place.city.country, "remote_erp_id": erp_id,
    }  # fmt: skip
    return address | ({"address_2": "Local 3"} if rng.random() < 0.2 else {})


def _listed(mode: str, addresses: list[Record], key: str = "address_title") -> Record:
    return {"addresses_sync_mode": mode, "addresses_sync_key": key, "addresses": addresses}


def _with_one_address_twice(record: Record) -> None:
    record |= _listed("replace", [*record.get("addresses", []), *record.get("addresses", [])])


class CustomerFeed(Feed):
    """Customers: bodies, lines, arrays, CSV, Parquet and Excel; deletes of prospects, strangers and buyers."""

    route = PATHS[0]
    layouts = (
        Layout(".json", envelope="customers"), Layout(".ndjson"), Layout(".csv.gz"), Layout(".json"),
        Layout(".parquet"), Layout(".json.bz2", envelope="customers"), Layout(".csv", delimiter=";", bom=True),
        Layout(".jsonl.zst"), Layout(".xlsx"),
    )  # fmt: skip
    kinds = (
        Dirt(setting("currency", "PESO"), True, "typed"),
        Dirt(without("addresses_sync_mode"), False, "json"),
        Dirt(setting("discount_percentage", 120), True, "typed"),
        Dirt(setting("payment_terms", {"dias": 30}), True, "json"),
        Dirt(setting_in("addresses", "country", "Chile"), True, "json"),
        Dirt(_with_one_address_twice, False, "json"),
        Dirt(setting("active", "sí"), False, "text"),
        Dirt(setting("customer_number", ""), True, "typed"),
        Dirt(setting("name", None), True, "json"),
        Dirt(setting("customer_number", "CT\x0000001"), True, "json"),
    )
    repeated = 0.015
    changed = 0.03

    def __init__(self, seed: int, days: int, customers: list[tuple[str, Record]], shop: Shop, buyers: set[str]) -> None:
        super().__init__(FOLDER, seed, customers, days)
        self._people = {person.number: person for person in shop.people}
        self._buyers = buyers
        self._someone = shop.people[0]

    def change(self, subject: Subject) -> Record:
        """Changes terms, a discount, addresses or a name, adds an address, or makes the customer inactive."""
        patch = self.rng.choice((self._terms, self._discount, self._shipping, self._moved, self._name, self._rest))(
            subject
        )
        subject.record = subject.record | patch
        return {"customer_number": subject.key} | patch

    def flat(self, record: Record) -> Record:
        """Leaves out how addresses are applied, because cells have no addresses."""
        return {name: value for name, value in super().flat(record).items() if not name.startswith("addresses_")}

    def strange(self, day: date, index: int) -> Iterator[Record]:
        """Deletes that work, of unknown customers, and of customers with orders; a customer without a name."""
        prospects = [subject for subject in self.known if subject.key.startswith("PR")]
        if index % 3 == 1:
            for subject in self.some(prospects, 0.01):
                yield self._delete(subject)
        if index % 6 == 2 and self.gone:
            yield {"customer_number": self.gone[-1].key, "delete": "true"}
        if index % 6 == 3 and self.gone:
            back = self.gone.pop()
            self.known.append(back)
            yield back.record
        if index % 4 == 1:
            yield {"customer_number": f"CT{90_000 + index}", "delete": True}
        if index % 6 == 1:
            buyers = [subject for subject in self.known if subject.key in self._buyers]
            yield from ({"customer_number": subject.key, "delete": True} for subject in self.some(buyers, 0.001))
        if index % 4 == 3:
            yield {"customer_number": f"CT{95_000 + index}", "currency": "CLP", "discount_percentage": 5}

    def requests(self, day: date) -> Iterator[Record]:
        """Syncs by both routes."""
        for hour, path in zip((10, 16), PATHS, strict=True):
            changed = [self.change(subject) for subject in self.some(self.known, 0.01)]
            yield self.call(day, hour, "POST", path, {"customers": changed})
        for subject in self.some([subject for subject in self.known if subject.key.startswith("PR")], 0.01):
            yield self.call(day, 17, "POST", PATHS[0], {"customers": [self._delete(subject)]})

    def queued(self, subject: Subject) -> Record:
        """A sync of an earlier day."""
        return self.call(subject.since, 20, "POST", PATHS[0], {"customers": [subject.first]})

    def _delete(self, subject: Subject) -> Record:
        self.known.remove(subject)
        self.gone.append(subject)
        return {"customer_number": subject.key, "delete": True}

    def _terms(self, subject: Subject) -> Record:
        code = self.rng.choice(words.PAYMENT_TERMS)
        term = {"code": code} if self.rng.random() < 0.7 else {"id": f"0{self.rng.randint(10, 40)}", "code": code}
        name = "payment_terms" if "payment_terms" in subject.record else "payment_term"
        return {name: term}

    def _discount(self, subject: Subject) -> Record:
        return {"discount_percentage": self.rng.choice((0, 2.5, 15, 20, 100, None))}

    def _shipping(self, subject: Subject) -> Record:
        title = self.rng.choice(("Shipping address", " shipping ADDRESS"))
        return _listed("append", [_address(self.rng, self._person(subject), title, f"{subject.key}-2")])

    def _moved(self, subject: Subject) -> Record:
        places = self.rng.randint(0, 2)
        addresses = [
            _address(self.rng, self._person(subject), f"Sucursal {place}", f"{subject.key}-{place}")
            for place in range(1, places + 1)
        ]
        return _listed("replace", addresses, "remote_erp_id")

    def _name(self, subject: Subject) -> Record:
        return {"name": f"{self.rng.choice(words.BOUTIQUES)} {self.rng.choice(words.LAST_NAMES)}"}

    def _rest(self, subject: Subject) -> Record:
        return {"active": not subject.record.get("active", True)}

    def _person(self, subject: Subject) -> Person:
        return self._people.get(subject.key, self._someone)
