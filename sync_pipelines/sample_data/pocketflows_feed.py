"""Pocketflows' exports in the sample: half of the companies as businesses, and people as their customers.

A customer always names its business in the same way: by Pocketflows' id, or by the business's external id.

Belongs here: the content of Pocketflows' exports. Does not belong here: their schedule (`feed`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date

from sync_pipelines.sample_data import words
from sync_pipelines.sample_data.dirt import Dirt, setting, without
from sync_pipelines.sample_data.encode import Layout
from sync_pipelines.sample_data.feed import Feed, Subject
from sync_pipelines.sample_data.sample_files import Record
from sync_pipelines.sample_data.world import Company, build_companies, phone_in, random_for

FOLDER = "pocketflows/cobros-claros"
BUSINESSES = 30
CUSTOMERS = 360
UNDEFINED = 2  # businesses that only customers name


def build_feeds(seed: int, days: int) -> tuple[Feed, Feed]:
    """Returns the exports of the businesses, and those of their customers."""
    companies = build_companies(seed)[: BUSINESSES + UNDEFINED]
    rng = random_for(seed, FOLDER, "first")
    businesses = [(company.code, _business(rng, company)) for company in companies[:BUSINESSES]]
    customers = [_customer(rng, number, rng.choice(companies)) for number in range(1, CUSTOMERS + 1)]
    return (
        BusinessFeed(f"{FOLDER}/businesses", seed, businesses, days),
        CustomerFeed(f"{FOLDER}/customers", seed, [(record["external_id"], record) for record in customers], days),
    )


def _id(company: Company) -> str:
    return f"8{company.code[-4:]}"


def _is_named_by_id(company: Company) -> bool:
    return int(company.code[-4:]) % 3 != 0


def _business(rng: random.Random, company: Company) -> Record:
    known = {"id": _id(company)} if _is_named_by_id(company) else {}
    metadata = {"plan": rng.choice(words.PLANS), "tax_id": company.tax_id, "ciudad": company.place.city.name}
    return known | {"external_id": company.code, "name": company.name, "metadata": metadata}


def _customer(rng: random.Random, number: int, company: Company) -> Record:
    first, last = rng.choice(words.FIRST_NAMES), rng.choice(words.LAST_NAMES)
    known = {"id": str(500_000 + number)} if rng.random() < 0.6 else {}
    of = {"business_id": _id(company)} if _is_named_by_id(company) else {"business_external_id": company.code}
    return (
        known
        | of
        | {
            "external_id": f"cli-{number:05d}",
            "full_name": f"{first} {last}",
            "phone_number": phone_in(rng, company.place.city),
            "email_address": f"cliente{number}@{rng.choice(words.MAIL_DOMAINS)}",
            "metadata": {"canal": rng.choice(words.CHANNELS)},
        }
    )


class WholeFeed(Feed):
    """Every record is the whole record: a change sends all of it again, and a file of cells clears the metadata."""

    def change(self, subject: Subject) -> Record:
        """Changes plan or channel, clears a field by leaving it out, or adds an unknown field."""
        record = dict(subject.record)
        match self.rng.randrange(4):
            case 0:
                record["metadata"] = {"plan": self.rng.choice(words.PLANS), "nota": f"n.º {self.rng.randint(1, 99)}"}
            case 1:
                record.pop("metadata", None)
                record.pop("phone_number", None)
            case 2:
                record["segmento"] = self.rng.choice("ABC")
            case _:
                record |= self.renamed(record)
        subject.record = record
        return record

    def renamed(self, record: Record) -> Record:
        """Another name."""
        raise NotImplementedError


class BusinessFeed(WholeFeed):
    """Businesses: bodies, lines, arrays, CSV, Parquet; one route of the new ones and of the old ones each."""

    route = "/sync/businesses"
    layouts = (
        Layout(".json", envelope="businesses"), Layout(".ndjson"), Layout(".json.gz"), Layout(".csv"),
        Layout(".parquet"), Layout(".jsonl.zst"),
    )  # fmt: skip
    kinds = (
        Dirt(without("name"), True, "typed"),
        Dirt(setting("metadata", ["plan", "pro"]), True, "json"),
        Dirt(setting("name", 7), False, "json"),
    )
    repeated = 0.06
    changed = 0.08
    dirty = 0.05

    def renamed(self, record: Record) -> Record:
        """Another name, and where it has an id sometimes another external id."""
        name = {"name": f"{record['name'].split(' (')[0]} ({self.rng.choice(words.LAST_NAMES)})"}
        return name | ({"external_id": f"{record['external_id'][:8]}-B"} if "id" in record else {})

    def strange(self, day: date, index: int) -> Iterator[Record]:
        """Ids that contradict what is stored, and a record without any."""
        with_id = [subject.record for subject in self.known if "id" in subject.record]
        if index % 5 == 2 and with_id:
            yield with_id[0] | {"id": f"99{index:03d}"}
        if index % 5 == 4 and len(with_id) > 1:
            yield with_id[0] | {"external_id": with_id[1]["external_id"]}
        if index % 9 == 7:
            yield {"name": "Sin Identidad"}

    def requests(self, day: date) -> Iterator[Record]:
        """A call of each route."""
        one, two, three = (self.change(subject) for subject in self.rng.choices(self.known, k=3))
        yield self.call(day, 9, "POST", "/sync/businesses", one)
        yield self.call(day, 10, "POST", "/sync/businesses/batch", {"businesses": [two, {"external_id": "com-0"}]})
        yield self.call(day, 11, "POST", "/businesses", three)
        for subject in [subject for subject in self.known if "id" in subject.record][:1]:
            body = {name: value for name, value in self.change(subject).items() if name != "id"}
            yield self.call(day, 12, "POST", f"/businesses/{subject.record['id']}", body)

    def queued(self, subject: Subject) -> Record:
        """A sync of an earlier day."""
        return self.call(subject.since, 20, "POST", "/sync/businesses", subject.first)


class CustomerFeed(WholeFeed):
    """Customers of businesses: bodies, lines, arrays, CSV, Parquet, Excel; calls of every route."""

    route = "/sync/businesses/80001/customers"
    layouts = (
        Layout(".json", envelope="customers"), Layout(".ndjson.gz"), Layout(".csv", delimiter=";"), Layout(".json"),
        Layout(".parquet"), Layout(".jsonl"), Layout(".xlsx"),
    )  # fmt: skip
    kinds = (
        Dirt(without("external_id"), False, "json"),
        Dirt(setting("metadata", "canal=web"), True, "json"),
        Dirt(setting("email_address", "ana\0@correo.example"), True, "json"),
        Dirt(setting("full_name", 1234), False, "json"),
        Dirt(setting("phone_number", ["+56 2 2345"]), True, "json"),
    )
    repeated = 0.02
    changed = 0.03

    def renamed(self, record: Record) -> Record:
        """Another name and mail address."""
        name = f"{self.rng.choice(words.FIRST_NAMES)} {self.rng.choice(words.LAST_NAMES)}"
        return {"full_name": name, "email_address": f"{record['external_id']}@{self.rng.choice(words.MAIL_DOMAINS)}"}

    def strange(self, day: date, index: int) -> Iterator[Record]:
        """A known external id with another id, and a customer of no business."""
        with_id = [subject.record for subject in self.known if "id" in subject.record]
        if index % 5 == 3 and with_id:
            yield with_id[-1] | {"id": f"77{index:04d}"}
        if index % 6 == 5:
            yield {"external_id": f"cli-x{index}", "full_name": "Nadie de Nada"}

    def requests(self, day: date) -> Iterator[Record]:
        """A call of each route, with the business in the path."""
        routes = (
            "/sync/businesses/{of}/customers", "/sync/businesses/{of}/customers/batch", "/businesses/{of}/customers",
            "/businesses/{of}/customers/batch", "/businesses/{of}/customers/batch_update", "/customers/{id}",
        )  # fmt: skip
        able = [subject for subject in self.known if {"id", "business_id"} <= subject.record.keys()]
        for hour, (path, subject) in enumerate(zip(routes, self.some(able, 0.5)[: len(routes)], strict=False), start=8):
            record = self.change(subject)
            of, own = record["business_id"], record["id"]
            left_out = ("business_id", "id") if "{id}" in path else ("business_id",)
            body = {name: value for name, value in record.items() if name not in left_out}
            is_batch = "batch" in path
            yield self.call(day, hour, "POST", path.format(of=of, id=own), {"customers": [body]} if is_batch else body)
        yield self.call(day, 18, "POST", "/customers/999999", {"full_name": "Nadie"})

    def queued(self, subject: Subject) -> Record | None:
        """A sync of an earlier day; a path names a business by its id only."""
        if "business_id" not in subject.first:
            return None
        body = {name: value for name, value in subject.first.items() if name != "business_id"}
        return self.call(subject.since, 20, "POST", f"/sync/businesses/{subject.first['business_id']}/customers", body)
